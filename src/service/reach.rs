//! Counts of permitted contacts, without a list.

use std::time::Instant;

use tonic::{Code, Status};

use super::{
    Services, convert,
    gate::Admitted,
    question::{minimum, named_scope, revision},
    status::{invalid, overloaded, status},
};
use crate::{
    caps,
    domain::contact::ContactKind,
    engine::{
        reach::{self, Query, Reach},
        view::View,
    },
    proto::v1::{ReachCount, ReachQuery, ReachRequest, ReachResponse, Scope},
};

impl Services {
    pub(super) async fn count_reach(
        &self,
        request: Admitted<ReachRequest>,
    ) -> Result<ReachResponse, Status> {
        let request = request.into_inner();
        self.serving()?;
        let minimum = minimum(&self.published.load(), request.minimum_revision.clone())?;
        let reached = self.reached(minimum).await;
        let since = self.published.doubts().begin();
        let view = self.published.load();
        if !reached {
            return Err(Self::not_yet(&view));
        }
        let kind = convert::kind(request.contact_kind, "contact_kind")?;
        let queries = read_queries(&view, kind, &request)?;
        let _place = self.reaches.try_acquire().map_err(|_| {
            let what = format!("{} counts run already; ask again", caps::REACHES);
            overloaded("TOO_MANY_REACHES", what)
        })?;
        let counts = tokio::task::block_in_place(|| count(&view, kind, &queries))?;
        // A count is seldom asked for: any scope in doubt is one too many.
        let scopes: Vec<_> = view.policy.scopes().iter().map(|rules| rules.scope).collect();
        self.undamaged(&since, &scopes)?;
        Ok(ReachResponse {
            counts,
            revision: Some(revision(&view, view.revision)),
            as_of_ms: view.as_of(),
            policy_version: view.policy.version().to_owned(),
        })
    }
}

fn read_queries(
    view: &View,
    kind: ContactKind,
    request: &ReachRequest,
) -> Result<Vec<Query>, Status> {
    let given = request.queries.len();
    if !(1..=caps::REACH_QUERIES).contains(&given) {
        let what = format!("ask 1 to {} queries, not {given}", caps::REACH_QUERIES);
        return Err(invalid("queries", what));
    }
    let positions = |scopes: &[Scope], field: &str| -> Result<Vec<usize>, Status> {
        let position = |(at, scope)| {
            let field = format!("{field}[{at}]");
            let scope = named_scope(view, &request.brand, scope, &field, kind)?;
            // The view that named it has it.
            view.policy.position(&scope).ok_or_else(uncounted)
        };
        scopes.iter().enumerate().map(position).collect()
    };
    let read = |(at, query): (usize, &ReachQuery)| {
        let given = query.permitted.len() + query.suppressed.len();
        if !(1..=caps::REACH_SCOPES).contains(&given) {
            let what = format!("name 1 to {} scopes, not {given}", caps::REACH_SCOPES);
            return Err(invalid(&format!("queries[{at}]"), what));
        }
        Ok(Query {
            permitted: positions(&query.permitted, &format!("queries[{at}].permitted"))?,
            suppressed: positions(&query.suppressed, &format!("queries[{at}].suppressed"))?,
        })
    };
    request.queries.iter().enumerate().map(read).collect()
}

fn count(view: &View, kind: ContactKind, queries: &[Query]) -> Result<Vec<ReachCount>, Status> {
    let begun = Instant::now();
    let mut counts = Vec::with_capacity(queries.len());
    for query in queries {
        if begun.elapsed() > caps::REACH_TIME {
            let what = format!(
                "{} of {} counts took {} s; ask fewer at a time",
                counts.len(),
                queries.len(),
                begun.elapsed().as_secs()
            );
            return Err(status(Code::ResourceExhausted, "REACH_TIME", what));
        }
        counts.push(match reach::reach(view, kind, query).ok_or_else(uncounted)? {
            Reach::Contacts(contacts) => ReachCount { contacts, unbounded: false },
            Reach::Unbounded => ReachCount { contacts: 0, unbounded: true },
        });
    }
    Ok(counts)
}

fn uncounted() -> Status {
    tracing::error!("a view lacks a scope of its own policy");
    status(Code::Internal, "UNCOUNTED", "the server failed to count")
}
