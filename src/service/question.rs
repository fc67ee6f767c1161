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
        scope::{Scope, ScopeRules},
    },
    engine::{filter::Question, recipients::Reading, view::View},
    proto::v1,
};

/// A question that is asked of every batch of a stream.
pub(super) struct Asked {
    pub scope: Scope,
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
        let [scope] = options.scopes.as_slice() else {
            return Err(invalid(
                "scopes",
                format!("name {} scope, not {}", caps::FILTER_SCOPES, options.scopes.len()),
            ));
        };
        let kind = convert::kind(options.contact_kind, "contact_kind")?;
        let scope = named_scope(view, &options.brand, scope, "scopes", kind)?;
        Ok(Self {
            scope,
            kind,
            region: convert::region(&options.default_region, "default_region")?,
            reasons: form == v1::AnswerForm::Reasons,
            deduplicate: options.deduplicate,
            minimum: minimum(view, options.minimum_revision)?,
        })
    }

    /// The question as this view understands it; none if its policy no longer
    /// has the scope, or no longer reaches this kind.
    pub fn of<'v>(&self, view: &'v View) -> Option<(Question, Reading, &'v ScopeRules)> {
        let position = view.policy.position(&self.scope)?;
        let rules = view.rules(position)?;
        if !view.policy.kinds(self.scope.channel).contains(&self.kind) {
            return None;
        }
        let question = Question {
            scope: position,
            kind: self.kind,
            reasons: self.reasons,
            deduplicate: self.deduplicate,
        };
        Some((
            question,
            Reading { kind: self.kind, region: self.region, regime: rules.regime },
            rules,
        ))
    }
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
    let recipient_type =
        convert::recipient_type(scope.recipient_type, &format!("{field}.recipient_type"))?;
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
    if asked.epoch == epoch(view) {
        Ok(asked.revision)
    } else {
        Err(status(
            Code::FailedPrecondition,
            "FOREIGN_EPOCH",
            format!(
                "{what} is of epoch {}, and this store's is {}: it was restored since, or is \
                 another one; {advice}",
                asked.epoch,
                epoch(view)
            ),
        ))
    }
}

/// The epoch as it travels.
pub(super) fn epoch(view: &View) -> String {
    format!("{:032x}", view.epoch)
}

/// A revision of the view's epoch.
pub(super) fn revision(view: &View, revision: u64) -> v1::Revision {
    v1::Revision { epoch: epoch(view), revision }
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
