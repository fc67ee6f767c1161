//! The change feed: committed events in order, from any revision on.

use std::sync::Arc;

use prost::Message;
use tonic::{Code, Status};

use super::{
    Services,
    answered::{Answered, Answers},
    audited::read,
    convert,
    convert_record::{erasure_marks, ledger_record},
    gate::Admitted,
    question::{in_epoch, revision},
    status::{not_declared, overloaded, status},
    supervised::supervised,
};
use crate::{
    audit::Row,
    caps,
    domain::scope::BrandId,
    engine::view::View,
    proto::v1::{LedgerRecord, WatchRequest, WatchResponse},
    reader::Record,
};

/// What a stream watches.
#[derive(Clone, Copy)]
struct Watched {
    /// The brand; none for every brand.
    brand: Option<BrandId>,
    /// The next revision to look at.
    next: u64,
    /// The last revision to look at; none to go on.
    until: Option<u64>,
    /// Events sent.
    sent: u64,
}

impl Services {
    pub(super) async fn start_watch(
        &self,
        request: Admitted<WatchRequest>,
    ) -> Result<Answered<WatchResponse>, Status> {
        let (caller, request) = request.into_parts();
        let asker = convert::asked_by(request.asked_by)?;
        let view = self.published.load();
        let brand = match request.brand.as_str() {
            "*" => None,
            name => Some(view.policy.brand(name).map_err(|error| not_declared(&error))?),
        };
        let after = request
            .after
            .map(|after| in_epoch(&view, after, "after", "begin anew, from the first event on"));
        let after = after.transpose()?.unwrap_or(0);
        if after > view.revision {
            return Err(status(
                Code::OutOfRange,
                "NOT_RECORDED",
                format!("after: the ledger ends at revision {}, not {after}", view.revision),
            ));
        }
        let place = Arc::clone(&self.watches).try_acquire_owned().map_err(|_| {
            let what = format!("{} watch streams are open already; close one", caps::WATCHES);
            overloaded("TOO_MANY_WATCHES", what)
        })?;
        let row = read(asker, &caller, &request.brand);
        self.audited(&Row::Watch(row.clone()))?;

        let until = request.until_now.then_some(view.revision);
        let mut watched = Watched { brand, next: after + 1, until, sent: 0 };
        let (services, interruption) = (self.clone(), self.when_stopped(&caller));
        Ok(supervised(caps::MESSAGES_AHEAD, interruption, |answers| async move {
            let _place = place;
            let ended = answers.interruption().or(services.watch_on(&mut watched, &answers)).await;
            services.audited_afterwards(&Row::Watch(row.ended(&ended, watched.sent)));
            ended
        }))
    }

    /// Sends slice after slice. Between slices nothing of the store is held, so
    /// that a slow reader costs nobody anything.
    async fn watch_on(
        &self,
        watched: &mut Watched,
        answers: &Answers<WatchResponse>,
    ) -> Result<(), Status> {
        loop {
            // Room first: nothing is read ahead for a reader who does not read.
            let Some(place) = answers.place().await? else { return Ok(()) };
            if watched.until.is_none() {
                tokio::select! {
                    () = self.published.reached(watched.next) => {}
                    () = answers.closed() => return Ok(()),
                }
            }
            // Not what is committed but what is visible is shown (A2).
            let view = self.published.load();
            let slice = tokio::task::block_in_place(|| self.slice(watched, &view))?;
            place.fill(slice, None);
            if watched.until.is_some_and(|until| watched.next > until) {
                return Ok(());
            }
            // A reader who keeps up is never waited for; whoever may interrupt
            // gets a turn all the same.
            tokio::task::yield_now().await;
        }
    }

    /// The next events, as many as one message holds.
    fn slice(&self, watched: &mut Watched, view: &View) -> Result<WatchResponse, Status> {
        let last = watched.until.unwrap_or(view.revision).min(view.revision);
        let left = last.saturating_add(1).saturating_sub(watched.next);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(caps::WATCH_EVENTS);
        let (mut records, mut bytes) = (Vec::new(), 0);
        if count > 0 {
            let ledger = self.reader.ledger()?;
            for record in ledger.events_from(watched.next)?.take(count) {
                let record = record?;
                if watched.is_about(&record) {
                    let (erasure_marks, erasure_names) = match watched.brand {
                        None => erasure_marks(&view.policy, &record),
                        Some(_) => Default::default(),
                    };
                    let record = LedgerRecord {
                        erasure_marks,
                        erasure_names,
                        ..ledger_record(&view.policy, record)
                    };
                    // Tag and length of the record come on top of its own bytes.
                    bytes += record.encoded_len() + 8;
                    if bytes > caps::RECORDS_BYTES {
                        break;
                    }
                    records.push(record);
                }
                watched.next += 1;
            }
        }
        watched.sent += records.len() as u64;
        Ok(WatchResponse { records, through: Some(revision(view, watched.next - 1)) })
    }
}

impl Watched {
    /// Whether an event is for this reader. An event whose content was erased
    /// names no brand, and is shown to those alone who may see every brand.
    fn is_about(&self, record: &Record) -> bool {
        let Some(brand) = self.brand else { return true };
        record.brand().is_some_and(|of| of == brand || of == BrandId::ALL)
    }
}
