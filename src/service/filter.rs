//! The filter stream: options, then a batch in and an answer out, in order.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use prost::Message as _;
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Code, Request, Response, Status, Streaming, async_trait};
use tracing::Span;

use super::{
    Services,
    answered::{Answered, Answers},
    begun::Begun,
    gate::AdmittedStream,
    question::{Asked, revision, scope_name},
    status::{invalid, status},
    totals::{Totals, reason_counts},
    traced::BatchSpan,
};
use crate::{
    audit::Row,
    caps,
    domain::contact::ContactKind,
    engine::{
        audience::{self, AudienceError},
        filter::{FilterError, Session, Verdicts},
        lines::count_lines,
        view::View,
    },
    proto::{
        RecipientBatch,
        v1::{
            self, BatchAnswer, BatchError, BatchErrorCode, FilterRequest, FilterResponse,
            ScopeAnswer, filter_request, filter_response, filter_service_server::FilterService,
        },
    },
    writer::Since,
};

/// How long a stream decides on batches before others get their turn; the batch
/// at hand is finished. With each turn the answers there are go out, and a packet
/// for two costs little more than for one.
const TURN: Duration = Duration::from_micros(500);

#[async_trait]
impl FilterService for Services {
    type FilterStream = Answered<FilterResponse>;

    async fn filter(
        &self,
        request: Request<Streaming<FilterRequest>>,
    ) -> Result<Response<Self::FilterStream>, Status> {
        let requests = self.admit_stream(request)?;
        self.serving()?;
        let (answers, stream) = Answered::channel(caps::ANSWERS_AHEAD, requests.interruption());
        let services = self.clone();
        tokio::spawn(async move {
            let (caller, last) = (requests.caller().clone(), answers.clone());
            let stream = run(services.clone(), requests, answers);
            // In a task of its own: a panic must not end the stream as if all
            // were well.
            let (ended, begun) = tokio::spawn(stream).await.unwrap_or_else(|_| {
                let what = "the server failed; send to nobody";
                (Err(status(Code::Internal, "STREAM_FAILED", what)), Some(Begun::default()))
            });
            if let Some(begun) = begun {
                services.audited_afterwards(&Row::Filter(begun.row(&caller, &ended)));
            }
            if let Err(status) = ended {
                last.end(status).await;
            }
        });
        Ok(Response::new(stream))
    }

    async fn check(
        &self,
        request: Request<v1::CheckRequest>,
    ) -> Result<Response<v1::CheckResponse>, Status> {
        self.check_one(self.admit(request)?).await.map(Response::new)
    }

    async fn describe(
        &self,
        request: Request<v1::DescribeRequest>,
    ) -> Result<Response<v1::DescribeResponse>, Status> {
        self.describe_recipients(self.admit(request)?).await.map(Response::new)
    }

    async fn reach(
        &self,
        request: Request<v1::ReachRequest>,
    ) -> Result<Response<v1::ReachResponse>, Status> {
        self.count_reach(self.admit(request)?).await.map(Response::new)
    }
}

/// Runs one stream to its end. An error is its last message.
async fn run(
    services: Services,
    mut requests: AdmittedStream<FilterRequest>,
    answers: Answers<FilterResponse>,
) -> (Result<(), Status>, Option<Begun>) {
    let (asked, brand, scopes) = match read_options(&services, &mut requests).await {
        Ok(read) => read,
        Err(status) => return (Err(status), None),
    };
    let ticket = services.streams.enter(asked.brand);
    let totals = Totals::of(scopes.into_iter(), asked.reasons);
    let (call, session) = (requests.caller().call().clone(), Session::default());
    let mut stream = Stream { services: &services, call, asked, session, totals };
    let ended = stream.run(&mut requests, &answers).await;
    let totals = stream.totals;
    (ended, Some(Begun::new(ticket, brand, totals)))
}

/// The options of a stream, with the names of its brand and scopes.
async fn read_options(
    services: &Services,
    requests: &mut AdmittedStream<FilterRequest>,
) -> Result<(Asked, String, Vec<String>), Status> {
    let first = requests.message().await?.and_then(|request| request.message);
    let Some(filter_request::Message::Options(options)) = first else {
        return Err(invalid("options", "the first message of a stream must be its options"));
    };
    let (view, brand) = (services.published.load(), options.brand.clone());
    let asked = Asked::read(&view, options)?;
    let scopes = asked.scopes.iter().map(|scope| scope_name(&view.policy, scope)).collect();
    Ok((asked, brand, scopes))
}

struct Stream<'a> {
    services: &'a Services,
    call: Span,
    asked: Asked,
    session: Session,
    totals: Totals,
}

/// Why a batch is refused: the code, the field, and a sentence.
type Refused = (BatchErrorCode, &'static str, String);

impl Stream<'_> {
    /// Answers batch after batch, then sends the summary.
    async fn run(
        &mut self,
        requests: &mut AdmittedStream<FilterRequest>,
        answers: &Answers<FilterResponse>,
    ) -> Result<(), Status> {
        let mut worked = Duration::ZERO;
        while let Some(request) = requests.message().await? {
            let begun = Instant::now();
            let batch = match request.message {
                Some(filter_request::Message::Batch(batch)) => batch,
                Some(filter_request::Message::Options(_)) => {
                    let what = "options may be sent once, as the first message";
                    return Err(invalid("options", what));
                }
                None => {
                    return Err(invalid(
                        "message",
                        "neither options nor a batch: is the client newer than this server?",
                    ));
                }
            };
            let (answer, room) = self.answer(batch, begun).await;
            // Whoever waits for a place lets others have their turn anyway.
            worked += begun.elapsed();
            let message = Some(filter_response::Message::Answer(answer));
            let Some(place) = answers.place().await? else { return Ok(()) };
            place.fill(FilterResponse { message }, room);
            // Dozens of batches may be waiting. Others get their turn between two
            // of them: a withdrawal must not wait until a list is through.
            if worked >= TURN {
                worked = Duration::ZERO;
                tokio::task::yield_now().await;
            }
        }
        let message = Some(filter_response::Message::Summary(self.totals.summary()));
        answers.send(FilterResponse { message }).await.map(drop)
    }

    /// Answers one batch; whatever is wrong with it, the stream lives. With the
    /// answer comes the room that it takes.
    async fn answer(
        &mut self,
        batch: RecipientBatch,
        begun: Instant,
    ) -> (BatchAnswer, Option<OwnedSemaphorePermit>) {
        let batch_id = batch.batch_id;
        let span = BatchSpan::begin(&self.call);
        let reached = self.services.reached(self.asked.minimum).await;
        let since = self.services.published.doubts().begin();
        // The one view that the batch is answered from (A11). It is loaded
        // after the batch was received, so it shows every withdrawal that was
        // acknowledged before (A3).
        let view = self.services.published.load();
        let verdicts = if reached {
            self.decide_undamaged(&since, &view, batch)
        } else {
            Err((
                BatchErrorCode::NotYet,
                "",
                format!("the server is at revision {}; send the batch again", view.revision),
            ))
        };
        let mut answer = BatchAnswer {
            batch_id,
            revision: Some(revision(&view, view.revision)),
            as_of_ms: view.as_of(),
            policy_version: view.policy.version().to_owned(),
            ..BatchAnswer::default()
        };
        match verdicts {
            Ok((verdicts, mut room)) => {
                let reasons = self.asked.reasons;
                self.services.tally.answered(&verdicts, reasons, begun);
                span.answered(view.revision, &verdicts);
                self.totals.add(&verdicts, &answer);
                let answers = verdicts.into_iter().map(|it| scope_answer(it, reasons));
                answer.scopes = answers.collect();
                let kib = answer.encoded_len() / 1_024 + 1;
                // What the batch took beyond its answer is free again.
                let room = room.split(kib.min(room.num_permits()));
                (answer, room)
            }
            Err((code, field, message)) => {
                self.services.tally.refused(code);
                span.refused(view.revision, code);
                self.totals.refuse();
                answer.error =
                    Some(BatchError { code: code.into(), message, field: field.to_owned() });
                (answer, None)
            }
        }
    }

    /// Decides from planes that are not known to be damaged, before or behind
    /// (A1).
    fn decide_undamaged(
        &mut self,
        since: &Since,
        view: &View,
        batch: RecipientBatch,
    ) -> Result<(Vec<Verdicts>, OwnedSemaphorePermit), Refused> {
        let doubts = self.services.published.doubts();
        let damaged = || {
            let what = "a page in memory was damaged and is being rebuilt; send the batch again";
            (BatchErrorCode::NotYet, "", what.to_owned())
        };
        if !doubts.allow(since, &self.asked.scopes) {
            return Err(damaged());
        }
        let decided = self.decide(view, batch);
        let is_allowed = doubts.allow(since, &self.asked.scopes);
        if !is_allowed {
            // Whoever sends the batch again is answered for the first time.
            self.session.forget(self.asked.kind);
        }
        self.session.shrink();
        let verdicts = decided?;
        if is_allowed { Ok(verdicts) } else { Err(damaged()) }
    }

    fn decide(
        &mut self,
        view: &View,
        batch: RecipientBatch,
    ) -> Result<(Vec<Verdicts>, OwnedSemaphorePermit), Refused> {
        let scopes = self.asked.scopes.len();
        let (field, count) = self.check_columns(&batch)?;
        self.check_answer(&batch, field, count)?;
        let room = reserve(self.services, &batch, count, scopes)?;
        let verdicts = if count * scopes > caps::LONG_BATCH {
            tokio::task::block_in_place(|| self.filter(view, &batch))
        } else {
            self.filter(view, &batch)
        };
        Ok((verdicts?, room))
    }

    /// Checks that at most one column is filled, that it fits the kind, and
    /// that the count is right; returns the column's name and the count.
    fn check_columns(&self, batch: &RecipientBatch) -> Result<(&'static str, usize), Refused> {
        let filled = [
            !batch.phones.is_empty(),
            !batch.contact_ids.is_empty(),
            !batch.lines.is_empty(),
            !batch.roaring.is_empty(),
        ];
        if filled.into_iter().filter(|filled| *filled).count() > 1 {
            let what = "fill one of phones, contact_ids, lines and roaring".to_owned();
            return Err((BatchErrorCode::SeveralColumns, "", what));
        }
        let kind = self.asked.kind;
        let wrong_kind = |field| {
            let what = format!("the stream asks about contacts of kind {}", kind.name());
            Err((BatchErrorCode::WrongKind, field, what))
        };
        let (field, count) = match filled {
            [true, ..] if kind != ContactKind::Phone => return wrong_kind("phones"),
            [_, true, ..] if kind != ContactKind::ContactId => return wrong_kind("contact_ids"),
            [_, _, _, true] if !kind.is_direct() => return wrong_kind("roaring"),
            [_, _, _, true] => {
                let members = audience::count(&batch.roaring, caps::AUDIENCE_MEMBERS);
                let members = members.map_err(bad_audience)?;
                ("roaring", usize::try_from(members).unwrap_or(usize::MAX))
            }
            [true, ..] => ("phones", batch.phones.len()),
            [_, true, ..] => ("contact_ids", batch.contact_ids.len()),
            _ => ("lines", count_lines(&batch.lines)),
        };
        if field != "roaring" && count > caps::BATCH_RECIPIENTS {
            let what =
                format!("{count} recipients; a batch holds at most {}", caps::BATCH_RECIPIENTS);
            return Err((BatchErrorCode::TooManyRecipients, field, what));
        }
        // A shifted bit would send to the wrong person.
        let needs_count = field == "lines" || batch.count != 0;
        if needs_count && batch.count as usize != count {
            let what = format!("count says {}, and {field} has {count}", batch.count);
            return Err((BatchErrorCode::CountMismatch, "count", what));
        }
        Ok((field, count))
    }

    /// Checks that the answers for all scopes together are within bounds.
    fn check_answer(
        &self,
        batch: &RecipientBatch,
        field: &'static str,
        count: usize,
    ) -> Result<(), Refused> {
        let scopes = self.asked.scopes.len();
        let over = |size: usize, unit: &str, cap: usize| {
            let what = format!(
                "{size} {unit} in {scopes} scopes; {unit} times scopes may be at most {cap}: \
                 split the batch, or ask about fewer scopes"
            );
            Err((BatchErrorCode::TooManyRecipients, field, what))
        };
        let is_long = self.asked.reasons || !batch.roaring.is_empty();
        if is_long && count * scopes > caps::BATCH_VERDICTS {
            return over(count, "recipients", caps::BATCH_VERDICTS);
        }
        if batch.roaring.len() * scopes > caps::AUDIENCE_BYTES {
            return over(batch.roaring.len(), "bytes", caps::AUDIENCE_BYTES);
        }
        Ok(())
    }

    fn filter(&mut self, view: &View, batch: &RecipientBatch) -> Result<Vec<Verdicts>, Refused> {
        let question = self.asked.of(view).map_err(|gone| {
            let policy = &view.policy;
            let what = format!(
                "policy \"{}\" no longer has the stream's scope {} for contacts of kind {}",
                policy.version(),
                scope_name(policy, &gone),
                self.asked.kind.name()
            );
            (BatchErrorCode::ScopeGone, "", what)
        })?;
        let session = &mut self.session;
        let verdicts = if !batch.roaring.is_empty() {
            session.filter_roaring(view, &question, &batch.roaring, caps::AUDIENCE_MEMBERS)
        } else {
            if !batch.phones.is_empty() {
                session.read_column(batch.phones.as_bytes(), &question, view);
            } else if !batch.contact_ids.is_empty() {
                session.read_column(batch.contact_ids.as_bytes(), &question, view);
            } else {
                session.read_lines(&batch.lines, &question, view);
            }
            session.filter(view, &question)
        };
        verdicts.map_err(|error| match error {
            FilterError::SeenLimit => (
                BatchErrorCode::DeduplicateLimit,
                "",
                "the stream has more contacts than it can remember; go on in a new stream"
                    .to_owned(),
            ),
            FilterError::Audience(error) => bad_audience(error),
            FilterError::Contradiction | FilterError::NoScope => {
                tracing::error!(?error, "a batch could not be decided on");
                (BatchErrorCode::Internal, "", "the server failed; nothing is permitted".to_owned())
            }
        })
    }
}

/// Reserves memory for a batch: its bytes, and what it expands to.
fn reserve(
    services: &Services,
    batch: &RecipientBatch,
    count: usize,
    scopes: usize,
) -> Result<OwnedSemaphorePermit, Refused> {
    // Once: an ID, a fingerprint, the refused columns. In each scope: a reason
    // and a bit, or two bytes of the permitted bitmap and its containers.
    let bytes = batch.lines.len() + batch.roaring.len() * (1 + scopes) + count * (48 + 4 * scopes);
    let permits = u32::try_from(bytes / 1_024 + 1).unwrap_or(u32::MAX);
    Arc::clone(&services.room).try_acquire_many_owned(permits).map_err(|_| {
        let what = "the server filters as much as its memory allows; send the batch again later";
        (BatchErrorCode::Overloaded, "", what.to_owned())
    })
}

fn bad_audience(error: AudienceError) -> Refused {
    match error {
        AudienceError::Malformed => (
            BatchErrorCode::BadRoaring,
            "roaring",
            "not a portable 64-bit Roaring bitmap (RoaringTreemap)".to_owned(),
        ),
        AudienceError::TooMany => (
            BatchErrorCode::TooManyRecipients,
            "roaring",
            format!("an audience holds at most {} members; split it", caps::AUDIENCE_MEMBERS),
        ),
    }
}

fn scope_answer(verdicts: Verdicts, reasons: bool) -> ScopeAnswer {
    ScopeAnswer {
        recipients: u32::try_from(verdicts.recipients).unwrap_or(u32::MAX),
        permitted_count: u32::try_from(verdicts.permitted).unwrap_or(u32::MAX),
        permitted: verdicts.bits.into(),
        reasons: verdicts.reasons.into(),
        reason_counts: if reasons { reason_counts(&verdicts.counts) } else { Vec::new() },
    }
}
