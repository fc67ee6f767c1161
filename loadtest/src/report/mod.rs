//! Shows a report.

pub mod html;
pub mod json;
pub mod number;
mod svg;
pub mod terminal;

use std::{path::PathBuf, process::ExitCode};

use crate::{document::Document, failure::Failure};

/// How a report is shown.
#[derive(Clone, Debug, clap::Args)]
pub struct Output {
    /// Print JSON instead of tables
    #[arg(long)]
    pub json: bool,
    /// Also write a page with plots for the browser
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// Shows a report; the exit code says whether it holds.
///
/// # Errors
/// It cannot be written.
pub fn show(document: &Document, output: &Output) -> Result<ExitCode, Failure> {
    if output.json {
        json::print(document)?;
    } else {
        terminal::print(document)?;
    }
    if let Some(path) = &output.html {
        html::write(document, path)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    }
    Ok(if document.holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
