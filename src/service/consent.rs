//! Recording: each event gets a result of its own.

use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{
    Services,
    answered::{Answered, Answers},
    convert,
    gate::AdmittedStream,
    question::revision,
    refusal::{Refusal, result},
    replay::has_erasures,
    status::invalid,
    supervised::supervised,
};
use crate::{
    caps,
    domain::{
        event::{Change, ChangeKind},
        policy::Policy,
    },
    proto::v1::{
        EraseRequest, EraseResponse, EventResult, ExplainRequest, ExplainResponse, ExportRequest,
        ExportResponse, HistoryRequest, HistoryResponse, ImportItem, ImportRequest, ImportResponse,
        LiftRequest, LiftResponse, Outcome, RecordRequest, RecordResponse, RectifyRequest,
        RectifyResponse, RejectedItem, SuppressRequest, SuppressResponse, WatchRequest,
        WatchResponse, consent_service_server::ConsentService, import_item,
    },
    writer::{Committed, Enqueued, Outcome as WriterOutcome},
};

#[async_trait]
impl ConsentService for Services {
    async fn record(
        &self,
        request: Request<RecordRequest>,
    ) -> Result<Response<RecordResponse>, Status> {
        let events = self.admit(request)?.into_inner().events;
        let (results, revision) = self.write(events, "events", convert::consent).await?;
        Ok(Response::new(RecordResponse { results, revision }))
    }

    async fn suppress(
        &self,
        request: Request<SuppressRequest>,
    ) -> Result<Response<SuppressResponse>, Status> {
        let entries = self.admit(request)?.into_inner().suppressions;
        let (results, revision) = self.write(entries, "suppressions", convert::suppression).await?;
        Ok(Response::new(SuppressResponse { results, revision }))
    }

    async fn lift(&self, request: Request<LiftRequest>) -> Result<Response<LiftResponse>, Status> {
        let lifts = self.admit(request)?.into_inner().lifts;
        let (results, revision) = self.write(lifts, "lifts", convert::lift).await?;
        Ok(Response::new(LiftResponse { results, revision }))
    }

    async fn erase(
        &self,
        request: Request<EraseRequest>,
    ) -> Result<Response<EraseResponse>, Status> {
        self.erase_contacts(self.admit(request)?).await.map(Response::new)
    }

    async fn rectify(
        &self,
        request: Request<RectifyRequest>,
    ) -> Result<Response<RectifyResponse>, Status> {
        self.rectify_contact(self.admit(request)?).await.map(Response::new)
    }

    async fn history(
        &self,
        request: Request<HistoryRequest>,
    ) -> Result<Response<HistoryResponse>, Status> {
        self.read_history(self.admit(request)?).await.map(Response::new)
    }

    async fn explain(
        &self,
        request: Request<ExplainRequest>,
    ) -> Result<Response<ExplainResponse>, Status> {
        self.explain_verdict(self.admit(request)?).await.map(Response::new)
    }

    type ExportStream = Answered<ExportResponse>;

    async fn export(
        &self,
        request: Request<ExportRequest>,
    ) -> Result<Response<Self::ExportStream>, Status> {
        self.start_export(self.admit(request)?).await.map(Response::new)
    }

    type WatchStream = Answered<WatchResponse>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.start_watch(self.admit(request)?).await.map(Response::new)
    }

    type ImportStream = Answered<ImportResponse>;

    async fn import(
        &self,
        request: Request<Streaming<ImportRequest>>,
    ) -> Result<Response<Self::ImportStream>, Status> {
        let (services, chunks) = (self.clone(), self.admit_stream(request)?);
        self.tally.import();
        let acknowledged = supervised(caps::IMPORT_AHEAD, chunks.interruption(), |answers| {
            services.run_import(chunks, answers)
        });
        Ok(Response::new(acknowledged))
    }
}

/// A chunk on its way: what became of its items, in order, once it is known.
enum Pending {
    /// It is known already.
    Done(Vec<EventResult>),
    /// None if nothing was left to commit.
    Submitted(Vec<Checked>, Option<Enqueued>),
}

/// An event that was submitted, by the name of the field that holds its time,
/// or why it was not.
pub(super) type Checked = Result<&'static str, Refusal>;

impl Services {
    async fn write<T>(
        &self,
        events: Vec<T>,
        field: &str,
        read: impl Fn(&Policy, T) -> Result<Change, Refusal>,
    ) -> Result<(Vec<EventResult>, Option<crate::proto::v1::Revision>), Status> {
        if events.len() > caps::RECORD_EVENTS {
            let what =
                format!("{} given; at most {} are accepted", events.len(), caps::RECORD_EVENTS);
            return Err(invalid(field, what));
        }
        let view = self.published.load();
        let (changes, checked) = check(&view.policy, events, read);
        let committed = if changes.is_empty() {
            Committed { outcomes: Vec::new(), revision: view.revision }
        } else {
            self.writer.submit(changes).await?
        };
        let reached = committed.revision;
        Ok((results(checked, committed.outcomes), Some(revision(&view, reached))))
    }

    /// Takes chunks as they come, several ahead of the writer, and answers in
    /// order. A stream is either all for real or all dry.
    async fn run_import(
        self,
        mut chunks: AdmittedStream<ImportRequest>,
        answers: Answers<ImportResponse>,
    ) -> Result<(), Status> {
        let (ahead, mut pending) = mpsc::channel::<Result<Pending, Status>>(caps::IMPORT_AHEAD);
        let services = self.clone();
        let reading = async move {
            let mut dry_run = None;
            loop {
                let chunk = match chunks.message().await {
                    Ok(Some(chunk)) if *dry_run.get_or_insert(chunk.dry_run) != chunk.dry_run => {
                        Err(invalid("dry_run", "is not the same in every chunk".to_owned()))
                    }
                    Ok(Some(chunk)) => services.start_chunk(chunk).await,
                    Ok(None) => return,
                    Err(status) => Err(status),
                };
                let failed = chunk.is_err();
                if ahead.send(chunk).await.is_err() || failed {
                    return;
                }
            }
        };
        let answering = async move {
            let mut totals = ImportResponse::default();
            while let Some(chunk) = pending.recv().await {
                let answer = self.finish_chunk(chunk?, &mut totals).await?;
                if !answers.send(answer).await? {
                    break;
                }
            }
            Ok(())
        };
        tokio::pin!(answering);
        tokio::select! {
            ended = &mut answering => ended,
            () = reading => answering.await,
        }
    }

    async fn start_chunk(&self, chunk: ImportRequest) -> Result<Pending, Status> {
        if chunk.items.len() > caps::IMPORT_ITEMS {
            let what = format!(
                "{} in one chunk; at most {} are accepted",
                chunk.items.len(),
                caps::IMPORT_ITEMS
            );
            return Err(invalid("items", what));
        }
        let view = self.published.load();
        if has_erasures(&chunk.items) {
            return Ok(Pending::Done(self.replay(&view, chunk.items, chunk.dry_run).await?));
        }
        let (changes, checked) = check(&view.policy, chunk.items, import_item);
        let committed = match chunk.dry_run {
            _ if changes.is_empty() => None,
            true => Some(self.writer.enqueue_trial(changes).await?),
            false => Some(self.writer.enqueue(changes).await?),
        };
        Ok(Pending::Submitted(checked, committed))
    }

    async fn finish_chunk(
        &self,
        chunk: Pending,
        totals: &mut ImportResponse,
    ) -> Result<ImportResponse, Status> {
        let visible = || self.published.load().revision;
        let (results, reached) = match chunk {
            Pending::Done(done) => (done, visible()),
            Pending::Submitted(checked, None) => (results(checked, Vec::new()), visible()),
            Pending::Submitted(checked, Some(enqueued)) => {
                let Committed { outcomes, revision } = enqueued.outcome().await?;
                (results(checked, outcomes), revision)
            }
        };
        totals.rejections.clear();
        for result in results {
            let index = totals.done;
            totals.done += 1;
            match result.outcome() {
                Outcome::Applied => totals.applied += 1,
                Outcome::Superseded => totals.superseded += 1,
                Outcome::Duplicate => totals.duplicate += 1,
                Outcome::KeyReused => totals.key_reused += 1,
                Outcome::Rejected | Outcome::Unspecified => {
                    totals.rejected += 1;
                    totals.rejections.push(RejectedItem { index, rejection: result.rejection });
                }
            }
        }
        totals.revision = Some(revision(&self.published.load(), reached));
        Ok(totals.clone())
    }
}

/// Checks events: the changes to submit, and for each event whether it is among them.
pub(super) fn check<T>(
    policy: &Policy,
    events: Vec<T>,
    read: impl Fn(&Policy, T) -> Result<Change, Refusal>,
) -> (Vec<Change>, Vec<Checked>) {
    let mut changes = Vec::with_capacity(events.len());
    let checked = events
        .into_iter()
        .map(|event| {
            let change = read(policy, event)?;
            let time = match &change.kind {
                ChangeKind::Consent(_) => "consent_time",
                ChangeKind::Suppression(_) => "since",
                ChangeKind::Lift(_) => "time",
            };
            changes.push(change);
            Ok(time)
        })
        .collect();
    (changes, checked)
}

/// One result per event, in order.
pub(super) fn results(checked: Vec<Checked>, outcomes: Vec<WriterOutcome>) -> Vec<EventResult> {
    let mut outcomes = outcomes.into_iter();
    checked
        .into_iter()
        .map(|checked| match checked {
            Err(refusal) => result(Err(refusal), ""),
            Ok(time) => {
                let outcome = outcomes.next().ok_or_else(|| {
                    // The writer answers every change; without an answer nothing
                    // may be taken for recorded.
                    Refusal::invalid("", "the server lost the outcome: repeat the event")
                });
                result(outcome, time)
            }
        })
        .collect()
}

/// An item that is a change; erasures are replayed.
pub(super) fn import_item(policy: &Policy, item: ImportItem) -> Result<Change, Refusal> {
    match item.change {
        Some(import_item::Change::Consent(event)) => convert::consent(policy, event),
        Some(import_item::Change::Suppression(entry)) => convert::suppression(policy, entry),
        Some(import_item::Change::Lift(lift)) => convert::lift(policy, lift),
        Some(import_item::Change::Erasure(_)) | None => {
            Err(Refusal::invalid("change", "the item is empty, or newer than this server"))
        }
    }
}
