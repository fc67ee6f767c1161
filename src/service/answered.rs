//! Answers of a stream on their way to the transport.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
};

use tokio::sync::{
    OwnedSemaphorePermit,
    mpsc::{self, Permit},
};
use tokio_stream::Stream;
use tonic::Status;

use super::interruption::Interruption;

/// An answer, and the room that it takes until the transport has it.
type Waiting<T> = (Result<T, Status>, Option<OwnedSemaphorePermit>);

/// Where the answers of a stream go. Whoever does not read them is waited for,
/// but no longer than the stream may go on.
pub(super) struct Answers<T> {
    queue: mpsc::Sender<Waiting<T>>,
    /// What the transport has not taken.
    waiting: Weak<Mutex<mpsc::Receiver<Waiting<T>>>>,
    interruption: Arc<Interruption>,
}

/// Hands answers on. Each gives its room back when the transport takes it; from
/// then on the connection counts what its peer has not read.
pub struct Answered<T>(Arc<Mutex<mpsc::Receiver<Waiting<T>>>>);

impl<T> Answered<T> {
    /// A way to the transport, on which so many answers may wait.
    pub(super) fn channel(ahead: usize, interruption: Arc<Interruption>) -> (Answers<T>, Self) {
        let (queue, waiting) = mpsc::channel(ahead);
        let waiting = Arc::new(Mutex::new(waiting));
        (Answers { queue, waiting: Arc::downgrade(&waiting), interruption }, Self(waiting))
    }
}

impl<T> Stream for Answered<T> {
    type Item = Result<T, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        lock(&self.0).poll_recv(context).map(|next| next.map(|(answer, _room)| answer))
    }
}

impl<T> Clone for Answers<T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            waiting: Weak::clone(&self.waiting),
            interruption: Arc::clone(&self.interruption),
        }
    }
}

/// A place for one answer.
pub(super) struct Place<'a, T>(Permit<'a, Waiting<T>>);

impl<T> Place<'_, T> {
    /// Puts an answer there, with the room that it takes.
    pub fn fill(self, answer: T, room: Option<OwnedSemaphorePermit>) {
        self.0.send((Ok(answer), room));
    }
}

impl<T> Answers<T> {
    /// What ends the stream whatever its client does.
    pub fn interruption(&self) -> &Interruption {
        &self.interruption
    }

    /// Waits for a place; none once the client has gone away.
    ///
    /// # Errors
    /// The stream is interrupted.
    pub async fn place(&self) -> Result<Option<Place<'_, T>>, Status> {
        tokio::select! {
            biased;
            place = self.queue.reserve() => Ok(place.ok().map(Place)),
            interrupted = self.interruption.comes() => Err(interrupted),
        }
    }

    /// Waits for a place and fills it; false if the client has gone away.
    ///
    /// # Errors
    /// The stream is interrupted.
    pub async fn send(&self, answer: T) -> Result<bool, Status> {
        let place = self.place().await?;
        Ok(place.map(|place| place.fill(answer, None)).is_some())
    }

    /// Returns once the client has gone away.
    pub async fn closed(&self) {
        self.queue.closed().await;
    }

    /// Ends the stream with this status. It comes behind the answers that wait,
    /// or in their place if they would be waited for in vain: what nobody reads
    /// must not keep its room for as long as the connection is left open.
    pub async fn end(self, status: Status) {
        match self.place().await {
            Ok(Some(Place(place))) => place.send((Err(status), None)),
            Ok(None) => {}
            Err(_) => {
                if let Some(waiting) = self.waiting.upgrade() {
                    let mut waiting = lock(&waiting);
                    while waiting.try_recv().is_ok() {}
                }
                // A client that has gone away needs no status.
                drop(self.queue.try_send((Err(status), None)));
            }
        }
    }
}

fn lock<T>(waiting: &Mutex<mpsc::Receiver<T>>) -> MutexGuard<'_, mpsc::Receiver<T>> {
    // A queue is whole at every moment.
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}
