//! The known contacts of a scope, streamed.

use std::sync::Arc;

use tokio::time::timeout;
use tonic::{Code, Status};

use super::{
    Services,
    answered::{Answered, Answers},
    audited::{read, scope_text},
    convert,
    convert_record::address_text,
    gate::Admitted,
    moment::is_recipient,
    question::named_scope,
    status::{invalid, overloaded, status},
    supervised::supervised,
};
use crate::{
    audit::{Read, Row},
    caps,
    domain::{contact::ContactKind, reason::Reason, scope::Scope},
    proto::v1::{ExportRequest, ExportResponse, ExportSelection, ExportedContact},
    reader::Exported,
};

/// What is exported.
#[derive(Clone, Copy)]
struct Asked {
    scope: Scope,
    kind: ContactKind,
    permitted: bool,
}

impl Services {
    pub(super) async fn start_export(
        &self,
        request: Admitted<ExportRequest>,
    ) -> Result<Answered<ExportResponse>, Status> {
        let (caller, request) = request.into_parts();
        self.serving()?;
        let selection = request.selection();
        let asker = convert::asked_by(request.asked_by)?;
        let permitted = match selection {
            ExportSelection::Permitted => true,
            ExportSelection::Suppressed => false,
            ExportSelection::Unspecified => {
                return Err(invalid("selection", "say which: the permitted or the suppressed"));
            }
        };
        let wire_scope = request.scope.ok_or_else(|| invalid("scope", "name the scope"))?;
        let kind = convert::kind(request.contact_kind, "contact_kind")?;
        let scope =
            named_scope(&self.published.load(), &request.brand, &wire_scope, "scope", kind)?;
        let place = Arc::clone(&self.exports).try_acquire_owned().map_err(|_| {
            let what = format!("{} exports run already; wait for one to end", caps::EXPORTS);
            overloaded("TOO_MANY_EXPORTS", what)
        })?;
        let row =
            Read { scope: Some(scope_text(&wire_scope)), ..read(asker, &caller, &request.brand) };
        self.audited(&Row::Export(row.clone()))?;

        let asked = Asked { scope, kind, permitted };
        let (services, interruption) = (self.clone(), self.when_stopped(&caller));
        Ok(supervised(caps::MESSAGES_AHEAD, interruption, move |answers| async move {
            let _place = place;
            let mut sent = 0;
            let ended =
                answers.interruption().or(services.export(asked, &answers, &mut sent)).await;
            services.audited_afterwards(&Row::Export(row.ended(&ended, sent)));
            ended
        }))
    }

    async fn export(
        &self,
        asked: Asked,
        answers: &Answers<ExportResponse>,
        sent: &mut u64,
    ) -> Result<(), Status> {
        let moment = self.moment().await?;
        let rules = *moment.policy.rules(&asked.scope).ok_or_else(|| {
            status(Code::NotFound, "NOT_DECLARED", "the policy no longer has this scope")
        })?;
        let (now, ledger) = (moment.view.now, &moment.ledger);
        let mut slices = ledger.export(rules, asked.kind, now, caps::EXPORT_CONTACTS)?;
        let selected = |(address, decision): Exported| {
            let is_recipient = is_recipient(&address, rules.regime);
            let reason = if is_recipient { decision.reason } else { Reason::InvalidRecipient };
            ((reason == Reason::Permitted) == asked.permitted).then(|| ExportedContact {
                address: address_text(&address),
                reason: reason as i32,
                since_ms: decision.since,
                revision: decision.revision.unwrap_or(0),
            })
        };
        let mut is_first = true;
        loop {
            let slice = tokio::task::block_in_place(|| slices.next().transpose())?;
            let is_last = slice.is_none();
            let contacts: Vec<ExportedContact> =
                slice.into_iter().flatten().filter_map(selected).collect();
            // An export of nobody has one part too, which says as of when.
            if !contacts.is_empty() || is_last && is_first {
                is_first = false;
                *sent += contacts.len() as u64;
                let part = ExportResponse {
                    contacts,
                    revision: Some(moment.revision()),
                    as_of_ms: moment.view.as_of(),
                    policy_version: moment.policy.version().to_owned(),
                };
                let sent = timeout(caps::EXPORT_PATIENCE, answers.send(part)).await;
                let has_reader = sent.map_err(|_| {
                    let what = "the export waited a minute for its reader and ended; begin anew";
                    status(Code::Aborted, "READER_TOO_SLOW", what)
                })??;
                if !has_reader {
                    return Ok(());
                }
            }
            if is_last {
                return Ok(());
            }
            // A reader who keeps up is never waited for; whoever may interrupt
            // gets a turn all the same.
            tokio::task::yield_now().await;
        }
    }
}
