//! `token`: creates, lists and revokes what callers show.
//!
//! A running server is asked, and heeds it at once. The first token is made
//! beside a store that no server runs on, by `--data`.

mod offline;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::json;

use super::{
    Failure,
    args::{self, AskerArgs},
    output,
};
use crate::{
    client::Client,
    proto::v1::{
        CreateTokenRequest, ListTokensRequest, RevokeTokenRequest, StatedTime, TokenInfo, TokenRole,
    },
    tokens::{Token, read_token},
};

/// Subcommands of `token`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Create a token and print it: this once, and on standard output alone
    Create(CreateArgs),
    /// List what the tokens are for; none of them is kept, so none is printed
    List(ListArgs),
    /// End a token at once, for open streams too
    Revoke(RevokeArgs),
}

/// Arguments of `token create`.
#[derive(clap::Args)]
pub struct CreateArgs {
    /// Its name, for logs and for revoking it
    name: String,
    /// A brand that it is for; several may be given. '*' for all brands
    #[arg(long, required = true)]
    brand: Vec<String>,
    /// What it allows; several may be given
    #[arg(long, required = true, value_enum)]
    role: Vec<Role>,
    /// From when on it is over, as a time or a day; without it, it has no end
    /// of its own
    #[arg(long, value_name = "TIME", value_parser = args::time)]
    expires: Option<StatedTime>,
    #[command(flatten)]
    place: Place,
}

/// Arguments of `token list`.
#[derive(clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    place: Place,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `token revoke`.
#[derive(clap::Args)]
pub struct RevokeArgs {
    /// The token's name
    name: String,
    #[command(flatten)]
    place: Place,
}

/// Where the tokens are.
#[derive(clap::Args)]
struct Place {
    /// Folder of a store that no server runs on; without it, the server is
    /// asked
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    asker: AskerArgs,
}

/// A role by name.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Role {
    /// Ask for verdicts: filter, check, reach
    Filter,
    /// Record, import, suppress and lift
    Record,
    /// Read what was recorded of people, erase, rectify; with all brands, run
    /// the server
    Admin,
}

impl Command {
    /// The folder that it works on without a server.
    pub fn offline(&self) -> Option<&Path> {
        let place = match self {
            Self::Create(args) => &args.place,
            Self::List(args) => &args.place,
            Self::Revoke(args) => &args.place,
        };
        place.data.as_deref()
    }
}

/// Runs a subcommand beside a store that no server runs on.
pub fn run_offline(folder: &Path, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Create(args) => offline::create(folder, args),
        Command::List(args) => print_list(&offline::list(folder)?, args.json),
        Command::Revoke(args) => offline::revoke(folder, &args),
    }
}

/// Runs a subcommand by asking a server.
pub async fn run(client: &Client, command: Command) -> Result<ExitCode, Failure> {
    let mut admin = client.admin_service();
    match command {
        Command::Create(args) => {
            let role = |role: &Role| match role {
                Role::Filter => TokenRole::Filter.into(),
                Role::Record => TokenRole::Record.into(),
                Role::Admin => TokenRole::Admin.into(),
            };
            let request = CreateTokenRequest {
                name: args.name.clone(),
                brands: args.brand,
                roles: args.role.iter().map(role).collect(),
                expires_at_ms: args.expires.map(|expires| expires.unix_ms),
                actor: Some(args.place.asker.actor()),
            };
            let token = admin.create_token(request).await?.into_inner().token;
            print_token(&args.name, &token)
        }
        Command::List(args) => {
            let response = admin.list_tokens(ListTokensRequest {}).await?;
            print_list(&response.into_inner().tokens, args.json)
        }
        Command::Revoke(args) => {
            let actor = Some(args.place.asker.actor());
            admin.revoke_token(RevokeTokenRequest { name: args.name.clone(), actor }).await?;
            print_revoked(&args.name)
        }
    }
}

/// The token that this process shows: of the file, or else of the environment.
///
/// # Errors
/// The file cannot be read, others can read it, or there is no token in it.
pub fn shown(file: Option<&Path>) -> Result<Option<Token>, Failure> {
    let (token, place) = match file {
        Some(path) => (read_token(path).map(Some), format!("--token-file {}", path.display())),
        None => (Token::of_environment(), "SENDGATE_TOKEN".to_owned()),
    };
    token.map_err(|error| Failure::usage(format!("{place}: {error}")))
}

fn print_token(name: &str, token: &str) -> Result<ExitCode, Failure> {
    eprintln!("created token {name}; it is kept nowhere, and will not be shown again");
    output::line(token)?;
    Ok(ExitCode::SUCCESS)
}

fn print_revoked(name: &str) -> Result<ExitCode, Failure> {
    eprintln!("revoked token {name}");
    Ok(ExitCode::SUCCESS)
}

fn print_list(tokens: &[TokenInfo], json: bool) -> Result<ExitCode, Failure> {
    let roles = |token: &TokenInfo| -> Vec<String> {
        let name = |role: TokenRole| output::enum_name(role.as_str_name(), "TOKEN_ROLE_");
        token.roles().map(|role| name(role).to_lowercase()).collect()
    };
    if json {
        let token = |token: &TokenInfo| {
            json!({
                "name": token.name,
                "brands": token.brands,
                "roles": roles(token),
                "created": output::time(token.created_at_ms),
                "expires": token.expires_at_ms.map(output::time),
            })
        };
        output::json(&tokens.iter().map(token).collect())?;
        return Ok(ExitCode::SUCCESS);
    }
    for token in tokens {
        let expires = token.expires_at_ms.map_or("never".to_owned(), output::time);
        output::line(format!(
            "{}  {} for {}  created {}  expires {expires}",
            token.name,
            roles(token).join(","),
            token.brands.join(","),
            output::time(token.created_at_ms),
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
