//! Lines of text with styles, cut to a width.

use std::fmt::Write as _;

/// How a piece of a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Plain,
    /// Headings.
    Bold,
    /// What is there for the eye to skip.
    Dim,
    /// What goes well.
    Good,
    /// What somebody should look at.
    Warn,
    /// What somebody must look at.
    Bad,
}

impl Style {
    /// The parameter of the escape sequence that begins it.
    fn code(self) -> Option<u8> {
        match self {
            Self::Plain => None,
            Self::Bold => Some(1),
            Self::Dim => Some(2),
            Self::Good => Some(32),
            Self::Warn => Some(33),
            Self::Bad => Some(31),
        }
    }
}

/// A line of pieces. Every character of it takes one column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(Vec<(Style, String)>);

impl Line {
    /// A line of one piece.
    pub fn of(style: Style, text: impl AsRef<str>) -> Self {
        Self::default().and(style, text)
    }

    /// The same line, with a piece behind it.
    #[must_use]
    pub fn and(mut self, style: Style, text: impl AsRef<str>) -> Self {
        // A name that the server has from somewhere must not steer a terminal.
        let harmless = |letter: char| if letter.is_control() { '?' } else { letter };
        self.0.push((style, text.as_ref().chars().map(harmless).collect()));
        self
    }

    /// The same line with a piece at the right edge, if there is room for it.
    #[must_use]
    pub fn and_right(self, style: Style, text: impl AsRef<str>, width: usize) -> Self {
        let taken = self.width() + text.as_ref().chars().count();
        if taken >= width {
            return self;
        }
        self.and(Style::Plain, " ".repeat(width - taken)).and(style, text)
    }

    /// Columns that it takes.
    pub fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.chars().count()).sum()
    }

    /// The line as a terminal takes it, cut to a width; without colours it is
    /// nothing but its text.
    pub fn paint(&self, width: usize, colours: bool) -> String {
        let (mut painted, mut left) = (String::new(), width);
        for (style, text) in &self.0 {
            let text: String = text.chars().take(left).collect();
            left -= text.chars().count();
            match style.code().filter(|_| colours && !text.is_empty()) {
                // Writing to memory does not fail.
                Some(code) => drop(write!(painted, "\x1b[{code}m{text}\x1b[0m")),
                None => painted.push_str(&text),
            }
        }
        painted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_to_its_width_and_painted_if_asked() {
        let line = Line::of(Style::Bold, "µs").and(Style::Plain, " of ").and(Style::Bad, "pain");
        assert_eq!(line.paint(80, false), "µs of pain");
        assert_eq!(line.paint(7, false), "µs of p");
        assert_eq!(line.paint(7, true), "\x1b[1mµs\x1b[0m of \x1b[31mp\x1b[0m");
        assert_eq!(line.paint(0, true), "");
    }

    #[test]
    fn the_right_edge_is_reached_or_left_alone() {
        let line = Line::of(Style::Plain, "left");
        assert_eq!(
            line.clone().and_right(Style::Dim, "right", 12).paint(80, false),
            "left   right"
        );
        assert_eq!(line.clone().and_right(Style::Dim, "right", 9).paint(80, false), "left");
        assert_eq!(line.and_right(Style::Dim, "right", 0).paint(80, false), "left");
    }

    #[test]
    fn no_text_steers_the_terminal() {
        let line = Line::of(Style::Plain, "a\x1b[2Jb\nc");
        assert_eq!(line.paint(80, true), "a?[2Jb?c");
    }
}
