//! One session: a filter stream, and what comes of its answers.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use sendgate::{
    client::{ClientError, FilterStream, Recipients, Verdicts},
    proto::v1::{ContactKind, FilterOptions, RecipientType, Revision, Scope},
};
use tokio::sync::watch;

use crate::{
    Args,
    changes::Changes,
    provider::Provider,
    spool::{Batch, Spool},
    trouble::Trouble,
};

/// Batches without an answer. They hide the round trip; more would only grow
/// old while the provider takes its time.
const IN_FLIGHT: usize = 4;

/// The gateway, from one session to the next.
pub struct Gateway {
    args: Args,
    spool: Spool,
    provider: Provider,
    /// True once nothing more is to be sent.
    stop: watch::Receiver<bool>,
    /// The latest that any answer showed. The next session asks for nothing
    /// older: a server whose data was set back must not answer.
    seen: Option<Revision>,
    delivered: u64,
    sent: u64,
    asked_again: u64,
}

/// A batch that was asked about, and when.
struct Asked {
    batch: Batch,
    at: Instant,
}

/// A stream whose first batch is of nobody.
type Stream = FilterStream<Option<Asked>>;

impl Gateway {
    /// A gateway that has done nothing yet.
    pub fn new(args: Args, spool: Spool, provider: Provider, stop: watch::Receiver<bool>) -> Self {
        Self { args, spool, provider, stop, seen: None, delivered: 0, sent: 0, asked_again: 0 }
    }

    /// Batches that are done.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Whether the spool is empty.
    pub fn is_done(&self) -> Result<bool, Trouble> {
        Ok(self.spool.is_empty()?)
    }

    /// What was done, for people.
    pub fn summary(&self) -> String {
        let Self { delivered, sent, asked_again, .. } = self;
        format!("{delivered} batches done, {sent} messages sent, {asked_again} batches asked again")
    }

    /// Works until it is told to stop, the spool is emptied, or something is in
    /// doubt. Whatever is in hand then is asked about again by the next session.
    pub async fn session(&mut self) -> Result<(), Trouble> {
        self.spool.take_back_all();
        let mut stop = self.stop.clone();
        let outcome = tokio::select! {
            biased;
            _ = stop.changed() => Ok(()),
            begun = self.begin() => match begun {
                Ok((stream, changes)) => self.work(stream, changes).await,
                Err(trouble) => Err(trouble),
            },
        };
        if outcome.as_ref().is_err_and(Trouble::is_foreign_epoch) {
            // No answer from the old history is in hand any more; and that the
            // new one may be asked was decided by whoever runs the server.
            self.seen = None;
        }
        outcome
    }

    /// Opens the stream, and follows the changes from before its first answer
    /// on, so that none is missed.
    async fn begin(&mut self) -> Result<(Stream, Changes), Trouble> {
        let client = self.args.server.connect().await?;
        let mut stream = Stream::open(&client, self.options(), IN_FLIGHT).await?;
        // An empty batch asks about nobody, and its answer tells the revision.
        stream.send(None, Recipients::Phones([].into_iter().collect()))?;
        let Some((_, verdicts)) = stream.next().await? else {
            return Err(contract("a summary came where an answer was due"));
        };
        let present = stated(&verdicts)?;
        self.seen = Some(present.clone());
        let changes = if self.args.no_watch {
            Changes::unknown()
        } else {
            Changes::follow(&client, &self.args.brand, present).await?
        };
        Ok((stream, changes))
    }

    /// Keeps the stream filled, and takes its answers one by one.
    async fn work(&mut self, mut stream: Stream, mut changes: Changes) -> Result<(), Trouble> {
        loop {
            tokio::select! {
                biased;
                _ = self.stop.changed() => return Ok(()),
                error = changes.lost() => return Err(error.into()),
                answer = stream.next() => match answer? {
                    Some((Some(asked), verdicts)) => {
                        self.deliver(asked, &verdicts, &changes).await?;
                    }
                    Some((None, _)) => {}
                    // All answers are here, and the server's totals agree.
                    None => return Ok(()),
                },
                batch = self.spool.next(), if stream.has_room() => match batch? {
                    Some(batch) => {
                        let phones = batch.messages.iter().map(|message| message.to).collect();
                        let asked = Asked { batch, at: Instant::now() };
                        stream.send(Some(asked), Recipients::Phones(phones))?;
                    }
                    None => stream.close(),
                },
            }
        }
    }

    fn options(&self) -> FilterOptions {
        let scope = Scope {
            recipient_type: RecipientType::Individual.into(),
            channel: "sms".to_owned(),
            purpose: self.args.purpose.clone(),
        };
        FilterOptions {
            brand: self.args.brand.clone(),
            scopes: vec![scope],
            contact_kind: ContactKind::Phone.into(),
            minimum_revision: self.seen.clone(),
            ..FilterOptions::default()
        }
    }

    /// Sends the permitted messages of an answered batch. As soon as its answer
    /// is too old or overtaken, the rest of it is asked about again.
    ///
    /// That the answer belongs to this batch, by its ID and its place, and has a
    /// bit for each recipient and no more, the stream has verified already.
    async fn deliver(
        &mut self,
        Asked { mut batch, at }: Asked,
        verdicts: &Verdicts,
        changes: &Changes,
    ) -> Result<(), Trouble> {
        let decided_at = self.see(verdicts)?;
        for index in 0..verdicts.recipients() {
            let Some(message) = batch.messages.front() else { break };
            if verdicts.scope(0).is_permitted(index) {
                // First the wait, then the last look: nothing lies between that
                // and the sending.
                self.provider.ready().await;
                if *self.stop.borrow() {
                    return Ok(());
                }
                if !self.is_fresh(at, verdicts)? || changes.concern(message.to, decided_at) {
                    self.asked_again += 1;
                    self.spool.again(batch);
                    return Ok(());
                }
                self.sent += u64::from(self.provider.send(message)?);
            }
            batch.messages.pop_front();
        }
        self.delivered += 1;
        Ok(self.spool.done(&batch)?)
    }

    /// Notes the revision of an answer, which must be of the session's epoch.
    fn see(&mut self, verdicts: &Verdicts) -> Result<u64, Trouble> {
        let revision = stated(verdicts)?;
        if self.seen.as_ref().is_some_and(|seen| seen.epoch != revision.epoch) {
            return Err(contract("the answers of one stream are of two epochs"));
        }
        let decided_at = revision.revision;
        self.seen = Some(revision);
        Ok(decided_at)
    }

    /// Whether an answer may still be used. It is no older than the question;
    /// but that clock stands still while a machine is suspended, so that what
    /// the answer says of itself counts too.
    fn is_fresh(&self, asked: Instant, verdicts: &Verdicts) -> Result<bool, Trouble> {
        let good_for = Duration::from_secs(self.args.good_for);
        if asked.elapsed() > good_for {
            return Ok(false);
        }
        let age_ms = Timestamp::now().as_millisecond().saturating_sub(verdicts.as_of_ms);
        let age = Duration::from_millis(age_ms.try_into().unwrap_or_default());
        if age > good_for {
            let asked = asked.elapsed();
            return Err(Trouble::Doubt(format!(
                "an answer that was asked for {asked:.1?} ago is {age:.1?} old by this machine's \
                 clock: does the server's agree?"
            )));
        }
        Ok(true)
    }
}

fn stated(verdicts: &Verdicts) -> Result<Revision, Trouble> {
    verdicts.revision.clone().ok_or_else(|| contract("an answer without a revision"))
}

fn contract(what: &str) -> Trouble {
    ClientError::Contract(what.to_owned()).into()
}
