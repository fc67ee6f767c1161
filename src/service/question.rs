//! What a stream or a check asks, once its options have been checked.

use tonic::{Code, Status};

use super::{
    Services, convert,
    status::{invalid, not_declared, status},
};
use crate::{
    caps,
    domain::{
        address::Region,
        contact::ContactKind,
        policy::Policy,
        scope::{BrandId, Scope},
    },
    engine::{filter::Question, view::View},
    proto::v1,
};

/// A question that is asked of every batch of a stream.
pub(super) struct Asked {
    pub brand: BrandId,
    /// All of the brand, no two the same.
    pub scopes: Vec<Scope>,
    pub kind: ContactKind,
    pub region: Option<Region>,
    pub reasons: bool,
    pub deduplicate: bool,
    /// The revision that answers must have reached.
    pub minimum: u64,
}

impl Asked {
    /// Checks a stream's options.
    pub fn read(view: &View, options: v1::FilterOptions) -> Result<Self, Status> {
        let form = v1::AnswerForm::try_from(options.answer_form)
            .map_err(|_| invalid("answer_form", "this form is unknown to the server"))?;
        if !(1..=caps::FILTER_SCOPES).contains(&options.scopes.len()) {
            let what =
                format!("name 1 to {} scopes, not {}", caps::FILTER_SCOPES, options.scopes.len());
            return Err(invalid("scopes", what));
        }
        let kind = convert::kind(options.contact_kind, "contact_kind")?;
        let mut scopes = Vec::with_capacity(options.scopes.len());
        for (at, scope) in options.scopes.iter().enumerate() {
            let named = named_scope(view, &options.brand, scope, &format!("scopes[{at}]"), kind)?;
            if let Some(first) = scopes.iter().position(|earlier| *earlier == named) {
                let what = format!("the same as scopes[{first}]; name each once");
                return Err(invalid(&format!("scopes[{at}]"), what));
            }
            scopes.push(named);
        }
        Ok(Self {
            brand: view.policy.brand(&options.brand).map_err(|error| not_declared(&error))?,
            scopes,
            kind,
            region: convert::region(&options.default_region, "default_region")?,
            reasons: form == v1::AnswerForm::Reasons,
            deduplicate: options.deduplicate,
            minimum: minimum(view, options.minimum_revision)?,
        })
    }

    /// The question as this view understands it.
    ///
    /// # Errors
    /// The first scope that its policy no longer has, or that no longer reaches
    /// this kind. Then no scope is answered: half an answer would shift the
    /// rest.
    pub fn of(&self, view: &View) -> Result<Question, Scope> {
        let position = |scope: &Scope| {
            let reaches = view.policy.kinds(scope.channel).contains(&self.kind);
            view.policy.position(scope).filter(|_| reaches).ok_or(*scope)
        };
        Ok(Question {
            brand: self.brand,
            scopes: self.scopes.iter().map(position).collect::<Result<_, _>>()?,
            kind: self.kind,
            region: self.region,
            reasons: self.reasons,
            deduplicate: self.deduplicate,
        })
    }
}

/// A scope for people: `individual/sms/marketing`. Names outlive the policy
/// that declared them.
pub(super) fn scope_name(policy: &Policy, scope: &Scope) -> String {
    format!(
        "{}/{}/{}",
        scope.recipient_type.name(),
        policy.channel_name(scope.channel),
        policy.purpose_name(scope.purpose)
    )
}

/// The scope of these names, for contacts of this kind.
pub(super) fn named_scope(
    view: &View,
    brand: &str,
    scope: &v1::Scope,
    field: &str,
    kind: ContactKind,
) -> Result<Scope, Status> {
    scope_in(&view.policy, brand, scope, field, kind)
}

/// The scope of these names in a policy, for contacts of this kind.
pub(super) fn scope_in(
    policy: &Policy,
    brand: &str,
    scope: &v1::Scope,
    field: &str,
    kind: ContactKind,
) -> Result<Scope, Status> {
    let field = format_args!("{field}.recipient_type");
    let recipient_type = convert::recipient_type(scope.recipient_type, field)?;
    let named = policy
        .scope(brand, recipient_type, &scope.channel, &scope.purpose)
        .map_err(|error| not_declared(&error))?;
    if policy.kinds(named.channel).contains(&kind) {
        Ok(named)
    } else {
        Err(invalid(
            "contact_kind",
            format!(
                "channel \"{}\" does not reach contacts of kind {}",
                scope.channel,
                kind.name()
            ),
        ))
    }
}

/// The minimum revision that was asked for.
pub(super) fn minimum(view: &View, asked: Option<v1::Revision>) -> Result<u64, Status> {
    let asked = asked.map(|asked| {
        in_epoch(view, asked, "the minimum revision", "ask without a minimum, or record anew")
    });
    Ok(asked.transpose()?.unwrap_or(0))
}

/// A revision of this store's history; `what` it is and the
/// `advice` stand in the error.
pub(super) fn in_epoch(
    view: &View,
    asked: v1::Revision,
    what: &str,
    advice: &str,
) -> Result<u64, Status> {
    if *asked.epoch == *view.epoch {
        Ok(asked.revision)
    } else {
        Err(status(
            Code::FailedPrecondition,
            "FOREIGN_EPOCH",
            format!(
                "{what} is of epoch {}, and this store's is {}: it was restored since, or is \
                 another one; {advice}",
                asked.epoch, view.epoch
            ),
        ))
    }
}

/// A revision of the view's epoch.
pub(super) fn revision(view: &View, revision: u64) -> v1::Revision {
    v1::Revision { epoch: String::from(&*view.epoch), revision }
}

impl Services {
    /// Waits until the view has this revision; false if it did not in time.
    pub(super) async fn reached(&self, revision: u64) -> bool {
        self.published.load().revision >= revision
            || tokio::time::timeout(caps::REVISION_WAIT, self.published.reached(revision))
                .await
                .is_ok()
    }
}
