//! A report as one page that needs nothing else.

use std::{fmt::Write, fs, io, path::Path};

use super::{number, svg, terminal::shown};
use crate::document::{Bars, Cell, Document, Part, Plot, Table};

const STYLE: &str = include_str!("page.css");
/// How many times what is due the longest bar shows; the page's style has the
/// line of what is due at its half.
const FULL: f64 = 2.0;

/// Writes a report as a page.
///
/// # Errors
/// The file cannot be written.
pub fn write(document: &Document, path: &Path) -> io::Result<()> {
    fs::write(path, to_string(document))
}

/// The page of a report.
pub fn to_string(document: &Document) -> String {
    let title = escape(&document.title);
    let (class, verdict) = if document.holds {
        ("holds", "everything holds: no wrong answer, no missed target")
    } else {
        ("fails", "something does not hold; see below")
    };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header><h1>{title}</h1><p class=\"verdict {class}\">{verdict}</p></header>\n"
    );
    for part in &document.parts {
        match part {
            Part::Table(table) => write_table(&mut page, table),
            Part::Plot(plot) => write_plot(&mut page, plot),
            Part::Bars(bars) => write_bars(&mut page, bars),
            Part::Note(note) => {
                // Writing to a string does not fail, here and below.
                let _ = writeln!(page, "<p class=\"note\">{}</p>", escape(note));
            }
        }
    }
    page.push_str("<section><h2>What the numbers depend on</h2>\n<dl>\n");
    for fact in &document.facts {
        let (name, value) = (escape(&fact.name), escape(&fact.value));
        let _ = writeln!(page, "<dt>{name}</dt><dd>{value}</dd>");
    }
    page.push_str("</dl></section>\n</main>\n</body>\n</html>\n");
    page
}

fn write_table(page: &mut String, table: &Table) {
    // A column is set to the right if all of it is numbers.
    let class = |column: usize| {
        let mut cells = table.rows.iter().filter_map(|row| row.get(column));
        let is_number = cells.all(|cell| matches!(cell, Cell::Number(_)));
        if is_number { " class=\"number\"" } else { "" }
    };
    let caption = escape(&table.caption);
    let _ = writeln!(page, "<section><h2>{caption}</h2>\n<div class=\"wide\"><table><thead><tr>");
    for (column, heading) in table.columns.iter().enumerate() {
        let _ = write!(page, "<th{}>{}</th>", class(column), escape(heading));
    }
    page.push_str("</tr></thead><tbody>\n");
    for row in &table.rows {
        page.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let _ = write!(page, "<td{}>{}</td>", class(column), escape(&shown(cell)));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div></section>\n");
}

fn write_plot(page: &mut String, plot: &Plot) {
    let _ = writeln!(page, "<section><h2>{}</h2>\n<figure>", escape(&plot.caption));
    let _ =
        writeln!(page, "<p class=\"legend\"><span class=\"unit\">{}</span>", escape(&plot.y.label));
    if plot.series.len() > 1 {
        for (number, series) in plot.series.iter().enumerate() {
            let (colour, name) = (number % svg::COLOURS, escape(&series.name));
            let _ = write!(page, "<span class=\"key\"><i class=\"c{colour}\"></i>{name}</span>");
        }
    }
    let _ = writeln!(page, "</p>\n{}\n</figure></section>", svg::picture(plot));
}

/// Bars up to [`FULL`]; a line marks what is due.
fn write_bars(page: &mut String, bars: &Bars) {
    let caption = escape(&bars.caption);
    let _ = writeln!(page, "<section><h2>{caption}</h2>\n<div class=\"bars\">");
    for (name, share) in &bars.bars {
        // Comparisons with what is no number are false: such a bar is empty, and fails.
        let class = if *share >= 1.0 { "reached" } else { "short" };
        let width = if *share > 0.0 { share.min(FULL) / FULL * 100.0 } else { 0.0 };
        let (name, share) = (escape(name), number::show(*share));
        let _ = writeln!(
            page,
            "<span>{name}</span><span class=\"bar\"><i class=\"{class}\" \
             style=\"width:{width:.1}%\"></i></span><span class=\"share\">{share}</span>"
        );
    }
    page.push_str("</div></section>\n");
}

/// Text as it may stand in a page, also within quotes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Axis, Series};

    #[test]
    fn a_page_needs_nothing_else_and_runs_nothing() {
        let mut document = Document::new("<b>Trial</b>");
        document.fact("machine", "a & b");
        document.parts.push(Part::Note("\"quoted\"".to_owned()));
        document.parts.push(Part::Plot(Plot {
            caption: "latency".to_owned(),
            x: Axis::percentiles(),
            y: Axis { label: "µs".to_owned(), logarithmic: true },
            series: ["one", "two"]
                .map(|name| Series { name: name.to_owned(), points: vec![(1.0, 5.0), (9.0, 50.0)] })
                .into(),
        }));
        let bars = [("enough", 1.0), ("<half>", 0.5), ("much", 40.0), ("none", f64::NAN)];
        document.parts.push(Part::Bars(Bars {
            caption: "shares".to_owned(),
            bars: bars.map(|(name, share)| (name.to_owned(), share)).into(),
        }));
        let page = to_string(&document);
        for bar in [
            "\"reached\" style=\"width:50.0%\"",
            "&lt;half&gt;</span><span class=\"bar\"><i class=\"short\" style=\"width:25.0%\"",
            "\"reached\" style=\"width:100.0%\"",
            "\"short\" style=\"width:0.0%\"",
        ] {
            assert!(page.contains(bar), "{bar}");
        }
        for absent in ["<script", "http:", "https:", "url(", "@import", "<b>"] {
            assert!(!page.contains(absent), "{absent}");
        }
        assert!(page.contains("a &amp; b") && page.contains("&quot;quoted&quot;"));
        assert_eq!(page.matches("<polyline").count(), 2);
        document.holds = false;
        assert!(to_string(&document).contains("does not hold"));
    }
}
