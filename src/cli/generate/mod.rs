//! `generate`: makes up data for trials, the same for the same seed.

pub mod consents;
pub mod people;
pub mod random;
pub mod recipients;

use std::{io::Write, path::PathBuf, process::ExitCode};

use indicatif::ProgressBar;

use super::{Failure, files::Output};

/// Subcommands of `generate`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Consents in the daily form of İYS, about three permissions a person
    Consents(consents::Args),
    /// A recipient list in mixed spellings, with duplicates and garbage
    Recipients(recipients::Args),
}

/// Where generated data goes.
#[derive(clap::Args)]
pub struct OutArgs {
    /// The file; - for standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
}

/// Which people are made up.
#[derive(clap::Args)]
pub struct PeopleArgs {
    /// How many people there are
    #[arg(long, default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u64).range(1..=people::MAX_PEOPLE))]
    pub people: u64,
    /// The same seed makes up the same people
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Runs a subcommand of `generate`.
///
/// # Errors
/// The output cannot be written.
pub fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Consents(args) => args.out.write(|output, bar| consents::write(args, output, bar)),
        Command::Recipients(args) => {
            args.out.write(|output, bar| recipients::write(args, output, bar))
        }
    }
}

impl OutArgs {
    fn write(
        &self,
        generate: impl FnOnce(&mut Output, &ProgressBar) -> std::io::Result<()>,
    ) -> Result<ExitCode, Failure> {
        let mut output = Output::create(&self.out)?;
        let bar = ProgressBar::new_spinner();
        generate(&mut output, &bar)?;
        output.flush()?;
        output.finish()?;
        bar.finish_and_clear();
        Ok(ExitCode::SUCCESS)
    }
}
