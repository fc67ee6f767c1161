//! Why, of several recipients, from the ledger.

use tonic::{Code, Status};

use super::{
    Services, convert,
    gate::Admitted,
    moment::{Moment, is_recipient},
    question::{minimum, named_scope},
    status::{invalid, status},
};
use crate::{
    caps,
    domain::{
        address::{Accept, Region},
        contact::ContactKind,
        decide::Decision,
        reason::Reason,
        scope::ScopeRules,
    },
    proto::v1::{DescribeRequest, DescribeResponse, Description},
    reader::Subject,
};

impl Services {
    pub(super) async fn describe_recipients(
        &self,
        request: Admitted<DescribeRequest>,
    ) -> Result<DescribeResponse, Status> {
        let request = request.into_inner();
        self.serving()?;
        let count = request.addresses.len();
        if count > caps::DESCRIBE_ADDRESSES {
            let what = format!("{count} given; at most {} are accepted", caps::DESCRIBE_ADDRESSES);
            return Err(invalid("addresses", what));
        }
        let scope = request.scope.ok_or_else(|| invalid("scope", "name the scope"))?;
        let kind = convert::kind(request.contact_kind, "contact_kind")?;
        let region = convert::region(&request.default_region, "default_region")?;
        let view = self.published.load();
        let scope = named_scope(&view, &request.brand, &scope, "scope", kind)?;
        if !self.reached(minimum(&view, request.minimum_revision)?).await {
            return Err(Self::not_yet(&self.published.load()));
        }
        let moment = self.moment().await?;
        let rules = moment.policy.rules(&scope).ok_or_else(|| {
            status(Code::NotFound, "NOT_DECLARED", "the policy no longer has this scope")
        })?;
        let decisions = tokio::task::block_in_place(|| {
            decide(&moment, &request.addresses, kind, region, rules)
        })?;
        Ok(DescribeResponse {
            descriptions: decisions.into_iter().map(description).collect(),
            revision: Some(moment.revision()),
            as_of_ms: moment.view.as_of(),
            policy_version: moment.policy.version().to_owned(),
        })
    }
}

fn decide(
    moment: &Moment<'_>,
    addresses: &[String],
    kind: ContactKind,
    region: Option<Region>,
    rules: &ScopeRules,
) -> Result<Vec<Decision>, Status> {
    let read = |text: &String| {
        let address = convert::read_address(kind, text, region, Accept::Valid).ok()?;
        is_recipient(&address, rules.regime).then(|| moment.subject(address))
    };
    let subjects: Vec<Option<Subject>> = addresses.iter().map(read).collect();
    let is_known: Vec<bool> = subjects.iter().map(Option::is_some).collect();
    let subjects: Vec<Subject> = subjects.into_iter().flatten().collect();
    let mut decided = moment.ledger.decide(&subjects, rules, moment.view.now)?.into_iter();
    let invalid = || Decision::unrecorded(Reason::InvalidRecipient);
    let decision = |is_known| if is_known { decided.next() } else { None }.unwrap_or_else(invalid);
    Ok(is_known.into_iter().map(decision).collect())
}

fn description(decision: Decision) -> Description {
    Description {
        reason: decision.reason as i32,
        since_ms: decision.since,
        revision: decision.revision.unwrap_or(0),
    }
}
