//! Which scopes a run asks about.

use sendgate::{
    client::Client,
    domain::{
        contact::ContactKind as Kind,
        policy::{Names, Policy},
        scope::{RecipientType as Type, Regime},
    },
    proto::v1::{ContactKind, GetPolicyRequest, RecipientType, Scope},
};

use crate::failure::Failure;

/// Chooses `count` scopes of a brand: the one asked for first, then others that
/// reach the same kind of contacts. All of them need consent, so that nobody is
/// permitted of whom nothing is known.
///
/// # Errors
/// The policy has no such scope, or too few of them.
pub async fn choose(
    client: &Client,
    brand: &str,
    kind: ContactKind,
    (channel, purpose): (&str, &str),
    count: usize,
) -> Result<Vec<Scope>, Failure> {
    let answer = client.admin_service().get_policy(GetPolicyRequest {}).await;
    let answer = answer.map_err(sendgate::client::ClientError::from)?.into_inner();
    let policy = Policy::read(&answer.toml, Names::default())
        .map_err(|error| format!("the server's policy cannot be read: {error}"))?;
    let id = policy.brand(brand)?;
    let first = policy.scope(brand, Type::Individual, channel, purpose)?;
    let kind = Kind::from_tag(u8::try_from(i32::from(kind))?).ok_or("no kind of contacts")?;
    let rules = policy.scopes().get(policy.scopes_of(id)).unwrap_or_default();
    let mut fitting: Vec<_> = rules
        .iter()
        .filter(|rules| rules.regime == Regime::OptIn)
        .map(|rules| rules.scope)
        .filter(|scope| scope.recipient_type == Type::Individual)
        .filter(|scope| policy.kinds(scope.channel).contains(&kind))
        .collect();
    fitting.sort_by_key(|scope| *scope != first);
    if fitting.first() != Some(&first) {
        return Err(format!(
            "a load test needs a scope that asks for consent and reaches a {}: {channel} {purpose} \
             of brand {brand} is none. Choose another with --channel and --purpose",
            kind.name()
        )
        .into());
    }
    if fitting.len() < count {
        return Err(format!(
            "brand {brand} has {} scopes that ask for consent and reach a {}, and {count} were \
             asked for: ask for fewer with --scopes, or apply a policy with more purposes",
            fitting.len(),
            kind.name()
        )
        .into());
    }
    fitting.truncate(count);
    let named = |scope: sendgate::domain::scope::Scope| Scope {
        recipient_type: RecipientType::Individual.into(),
        channel: policy.channel_name(scope.channel).to_owned(),
        purpose: policy.purpose_name(scope.purpose).to_owned(),
    };
    Ok(fitting.into_iter().map(named).collect())
}
