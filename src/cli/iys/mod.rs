//! `iys`: what İYS, the Turkish registry of commercial consents, needs and says.

pub mod check;

/// Subcommands of `iys`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Say what the registry would refuse of a file to be uploaded
    Check(check::Args),
}
