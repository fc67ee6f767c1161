//! A report as tables on the terminal.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use super::number;
use crate::document::{Cell, Document, Part, Table};

/// Prints a report. Plots are left to the browser.
///
/// # Errors
/// Standard output cannot be written.
pub fn print(document: &Document) -> io::Result<()> {
    io::stdout().lock().write_all(to_string(document).as_bytes())
}

/// The text of a report.
pub fn to_string(document: &Document) -> String {
    let mut text = format!("{}\n\n", document.title);
    let width = document.facts.iter().map(|fact| fact.name.chars().count()).max().unwrap_or(0);
    for fact in &document.facts {
        // Writing to a string does not fail, here and below.
        let _ = writeln!(text, "{:<width$}  {}", fact.name, fact.value);
    }
    for part in &document.parts {
        match part {
            Part::Table(table) => write_table(&mut text, table),
            Part::Note(note) => {
                let _ = writeln!(text, "\n{note}");
            }
            Part::Plot(_) | Part::Bars(_) => {}
        }
    }
    if !document.holds {
        text.push_str("\nSomething does NOT hold: see above.\n");
    }
    text
}

/// A cell as text.
pub(super) fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => text.clone(),
        Cell::Number(value) => number::show(*value),
    }
}

fn write_table(text: &mut String, table: &Table) {
    let rows: Vec<Vec<String>> =
        table.rows.iter().map(|row| row.iter().map(shown).collect()).collect();
    let width_of = |column: usize, heading: &String| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.chain([heading]).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> =
        table.columns.iter().enumerate().map(|(at, heading)| width_of(at, heading)).collect();
    let is_number = |column: usize| {
        let cells = table.rows.iter().filter_map(|row| row.get(column));
        cells.clone().count() > 0 && cells.clone().all(|cell| matches!(cell, Cell::Number(_)))
    };
    let line = |cells: &[String]| {
        let mut line = String::from(" ");
        for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            let _ = if is_number(column) {
                write!(line, " {cell:>width$} ")
            } else {
                write!(line, " {cell:<width$} ")
            };
        }
        line.trim_end().to_owned()
    };
    let _ = writeln!(text, "\n{}\n{}", table.caption, line(&table.columns));
    for row in &rows {
        let _ = writeln!(text, "{}", line(row));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_under_each_other() {
        let mut document = Document::new("Trial");
        document.fact("seed", 1);
        document.parts.push(Part::Table(Table {
            caption: "latencies".to_owned(),
            columns: vec!["percentile".to_owned(), "µs".to_owned()],
            rows: vec![vec!["p50".into(), 12.34.into()], vec!["max".into(), 12_345.0.into()]],
        }));
        let expected = "Trial\n\nseed  1\n\nlatencies\n  percentile      µs\n  p50           12.3\n  \
                        max         12,300\n";
        assert_eq!(to_string(&document), expected);
        document.holds = false;
        assert!(to_string(&document).contains("NOT hold"));
    }
}
