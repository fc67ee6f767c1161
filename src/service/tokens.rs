//! Tokens, created, listed and revoked while the server runs.

use tonic::{Code, Status};

use super::{
    Services,
    audited::act,
    convert,
    gate::Admitted,
    status::{invalid, not_declared, status},
};
use crate::{
    audit::Row,
    caps,
    proto::v1::{
        CreateTokenRequest, CreateTokenResponse, ListTokensRequest, ListTokensResponse,
        RevokeTokenRequest, RevokeTokenResponse, TokenInfo, TokenRole,
    },
    tokens::{Brands, Grant, NotAGrant, Role, TokensError},
};

impl Services {
    pub(super) fn create_one_token(
        &self,
        request: Admitted<CreateTokenRequest>,
    ) -> Result<CreateTokenResponse, Status> {
        let (caller, request) = request.into_parts();
        let actor = convert::actor(request.actor)?;
        let brands = Brands::from_names(&request.brands).map_err(not_a_grant)?;
        if let Brands::Named(names) = &brands {
            // A slip of the pen would be a token for nothing.
            let view = self.published.load();
            for name in names {
                view.policy.brand(name).map_err(|error| not_declared(&error))?;
            }
        }
        let roles = request.roles.iter().map(|role| read_role(*role)).collect::<Result<_, _>>()?;
        let grant = Grant {
            name: request.name,
            brands,
            roles,
            created_at: self.tokens.now(),
            expires_at: request.expires_at_ms,
        };
        grant.check().map_err(not_a_grant)?;
        if self.tokens.are_open() && !grant.runs_the_server() {
            return Err(status(
                Code::FailedPrecondition,
                "FIRST_TOKEN_NOT_ADMIN",
                "from the first token on every call needs one, so the first must be able to create \
                 the next: with the role admin, for all brands",
            ));
        }
        let row = act(&actor, &caller, "*", Some(grant.to_string()));
        self.audited(&Row::CreateToken(row.clone()))?;
        let created = tokio::task::block_in_place(|| self.tokens.create(grant)).map_err(refused);
        let outcome = created.as_ref().map(|_| 0);
        self.audited_afterwards(&Row::CreateToken(row.with(outcome)));
        Ok(CreateTokenResponse { token: created?.expose().to_owned() })
    }

    pub(super) fn all_tokens(&self, _: Admitted<ListTokensRequest>) -> ListTokensResponse {
        ListTokensResponse { tokens: self.tokens.list().into_iter().map(info).collect() }
    }

    pub(super) fn revoke_one_token(
        &self,
        request: Admitted<RevokeTokenRequest>,
    ) -> Result<RevokeTokenResponse, Status> {
        let (caller, request) = request.into_parts();
        let actor = convert::actor(request.actor)?;
        let name = convert::text(request.name, "name", caps::TOKEN_NAME_BYTES)?;
        let row = act(&actor, &caller, "*", Some(name.clone()));
        // A revocation waits for no log: whoever asks for it is in a hurry.
        self.audited_afterwards(&Row::RevokeToken(row.clone()));
        let revoked = tokio::task::block_in_place(|| self.tokens.revoke(&name)).map_err(refused);
        self.audited_afterwards(&Row::RevokeToken(row.with(revoked.as_ref().map(|()| 0))));
        revoked.map(|()| RevokeTokenResponse {})
    }
}

fn read_role(value: i32) -> Result<Role, Status> {
    match TokenRole::try_from(value) {
        Ok(TokenRole::Filter) => Ok(Role::Filter),
        Ok(TokenRole::Record) => Ok(Role::Record),
        Ok(TokenRole::Admin) => Ok(Role::Admin),
        Ok(TokenRole::Unspecified) | Err(_) => {
            Err(invalid("roles", "a role is filter, record or admin; others are unknown"))
        }
    }
}

fn info(grant: Grant) -> TokenInfo {
    let role = |role: &Role| match role {
        Role::Filter => TokenRole::Filter.into(),
        Role::Record => TokenRole::Record.into(),
        Role::Admin => TokenRole::Admin.into(),
    };
    TokenInfo {
        brands: grant.brands.names(),
        roles: grant.roles.iter().map(role).collect(),
        created_at_ms: grant.created_at,
        expires_at_ms: grant.expires_at,
        name: grant.name,
    }
}

fn not_a_grant(error: NotAGrant) -> Status {
    invalid(error.field, error.what)
}

fn refused(error: TokensError) -> Status {
    let message = error.to_string();
    match error {
        TokensError::Grant(error) => not_a_grant(error),
        TokensError::Exists(_) => status(Code::AlreadyExists, "TOKEN_EXISTS", message),
        TokensError::Missing(_) => status(Code::NotFound, "NO_SUCH_TOKEN", message),
        TokensError::Full => status(Code::ResourceExhausted, "TOO_MANY_TOKENS", message),
        TokensError::Locked(_)
        | TokensError::Read(..)
        | TokensError::Write(..)
        | TokensError::Unwritten(_)
        | TokensError::Invalid(..) => {
            tracing::error!(error = message, "the tokens could not be changed");
            status(Code::Internal, "TOKENS_NOT_WRITTEN", message)
        }
    }
}
