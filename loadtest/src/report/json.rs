//! A report as JSON, for programs.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use crate::document::{Cell, Document, Part, Plot, Table};

/// Prints a report.
///
/// # Errors
/// Standard output cannot be written.
pub fn print(document: &Document) -> io::Result<()> {
    writeln!(io::stdout(), "{}", to_string(document))
}

/// The JSON of a report.
pub fn to_string(document: &Document) -> String {
    let facts: Map<String, Value> =
        document.facts.iter().map(|fact| (fact.name.clone(), json!(fact.value))).collect();
    let (mut tables, mut plots, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for part in &document.parts {
        match part {
            Part::Table(table) => tables.push(table_value(table)),
            Part::Plot(plot) => plots.push(plot_value(plot)),
            // Its figures are in a table.
            Part::Bars(_) => {}
            Part::Note(note) => notes.push(json!(note)),
        }
    }
    let report = json!({
        "title": document.title,
        "holds": document.holds,
        "facts": facts,
        "tables": tables,
        "plots": plots,
        "notes": notes,
    });
    format!("{report:#}")
}

/// Rows as objects, so that a program names what it wants.
fn table_value(table: &Table) -> Value {
    let rows = table.rows.iter().map(|row| {
        let cells = table.columns.iter().zip(row).map(|(column, cell)| {
            let value = match cell {
                Cell::Text(text) => json!(text),
                Cell::Number(number) => json!(number),
            };
            (column.clone(), value)
        });
        Value::Object(cells.collect())
    });
    json!({ "caption": table.caption, "rows": rows.collect::<Vec<_>>() })
}

fn plot_value(plot: &Plot) -> Value {
    let series = plot.series.iter().map(|series| {
        let points: Vec<[f64; 2]> = series.points.iter().map(|(x, y)| [*x, *y]).collect();
        json!({ "name": series.name, "points": points })
    });
    json!({
        "caption": plot.caption,
        "x": plot.x.label,
        "y": plot.y.label,
        "series": series.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Axis, Series};

    #[test]
    fn rows_are_objects_and_lines_are_points() {
        let mut document = Document::new("Trial");
        document.fact("seed", 1);
        document.parts.push(Part::Table(Table {
            caption: "rates".to_owned(),
            columns: vec!["what".to_owned(), "per second".to_owned()],
            rows: vec![vec!["recipients".into(), 1.5.into()]],
        }));
        document.parts.push(Part::Plot(Plot {
            caption: "latency".to_owned(),
            x: Axis::percentiles(),
            y: Axis { label: "µs".to_owned(), logarithmic: true },
            series: vec![Series { name: "all".to_owned(), points: vec![(1.0, 2.0)] }],
        }));
        document.parts.push(Part::Note("a note".to_owned()));
        let value: Value = serde_json::from_str(&to_string(&document)).unwrap();
        assert_eq!(value["facts"]["seed"], "1");
        assert_eq!(value["tables"][0]["rows"][0]["per second"], 1.5);
        assert_eq!(value["plots"][0]["series"][0]["points"][0], json!([1.0, 2.0]));
        assert_eq!(value["notes"][0], "a note");
        assert_eq!(value["holds"], true);
    }
}
