//! Tokens of a store that no server runs on.

use std::{path::Path, process::ExitCode};

use super::{CreateArgs, Failure, RevokeArgs, Role, print_revoked, print_token};
use crate::{
    audit::{Act, Asker, Audit, Row},
    clock::Clock,
    proto::v1::{TokenInfo, TokenRole},
    tokens::{self, Brands, Grant, NotAGrant, Tokens, TokensError},
};

/// Makes a token; the folder too, if it is missing.
pub(super) fn create(folder: &Path, args: CreateArgs) -> Result<ExitCode, Failure> {
    let grant = Grant {
        name: args.name,
        brands: Brands::from_names(&args.brand).map_err(not_a_grant)?,
        roles: args.role.iter().map(|role| role.granted()).collect(),
        created_at: Clock::System.now(),
        expires_at: args.expires.map(|expires| expires.unix_ms),
    };
    grant.check().map_err(not_a_grant)?;
    let tokens = Tokens::open(folder, Clock::System).map_err(failed)?;
    let log = Log::of(folder, args.place.asker.actor().id, grant.to_string());
    log.tell(Row::CreateToken, "begun")?;
    let name = grant.name.clone();
    let token = tokens.create(grant).map_err(failed)?;
    log.tell(Row::CreateToken, "done")?;
    print_token(&name, token.expose())
}

/// What the tokens of a folder are for.
pub(super) fn list(folder: &Path) -> Result<Vec<TokenInfo>, Failure> {
    let info = |grant: Grant| TokenInfo {
        brands: grant.brands.names(),
        roles: grant.roles.iter().map(|role| wire(*role).into()).collect(),
        created_at_ms: grant.created_at,
        expires_at_ms: grant.expires_at,
        name: grant.name,
    };
    Ok(existing(folder)?.list().into_iter().map(info).collect())
}

/// Ends a token.
pub(super) fn revoke(folder: &Path, args: &RevokeArgs) -> Result<ExitCode, Failure> {
    let tokens = existing(folder)?;
    let log = Log::of(folder, args.place.asker.actor().id, args.name.clone());
    log.tell(Row::RevokeToken, "begun")?;
    tokens.revoke(&args.name).map_err(failed)?;
    log.tell(Row::RevokeToken, "done")?;
    print_revoked(&args.name)
}

/// The tokens of a folder that has some.
fn existing(folder: &Path) -> Result<Tokens, Failure> {
    if !Tokens::are_required(folder) {
        return Err(Failure::failed(format!("{} has no tokens", folder.display())));
    }
    Tokens::open(folder, Clock::System).map_err(failed)
}

/// The audit log of the store, if there is one already; the next start tells
/// the tokens in any case.
struct Log {
    audit: Option<Audit>,
    id: String,
    about: String,
}

impl Log {
    fn of(folder: &Path, id: String, about: String) -> Self {
        let has_store = folder.join("CURRENT").exists();
        Self { audit: has_store.then(|| Audit::new(folder, Clock::System)), id, about }
    }

    fn tell(&self, row: fn(Act) -> Row, outcome: &str) -> Result<(), Failure> {
        let Some(audit) = &self.audit else { return Ok(()) };
        let by = Asker { role: "staff", id: self.id.clone(), token: None, peer: None };
        let act = Act {
            by,
            brand: "*".to_owned(),
            about: Some(self.about.clone()),
            outcome: outcome.to_owned(),
            revision: 0,
        };
        audit
            .record(&row(act))
            .map_err(|error| Failure::failed(format!("the audit log cannot be written: {error}")))
    }
}

impl Role {
    fn granted(self) -> tokens::Role {
        match self {
            Self::Filter => tokens::Role::Filter,
            Self::Record => tokens::Role::Record,
            Self::Admin => tokens::Role::Admin,
        }
    }
}

fn wire(role: tokens::Role) -> TokenRole {
    match role {
        tokens::Role::Filter => TokenRole::Filter,
        tokens::Role::Record => TokenRole::Record,
        tokens::Role::Admin => TokenRole::Admin,
    }
}

fn not_a_grant(error: NotAGrant) -> Failure {
    failed(TokensError::Grant(error))
}

fn failed(error: TokensError) -> Failure {
    Failure::failed(error.to_string())
}
