//! Answers of a filter stream on their way to the transport.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::Stream;
use tonic::Status;

use crate::{caps, proto::v1::FilterResponse};

/// An answer, and the room that it takes until the transport has it.
type Waiting = (Result<FilterResponse, Status>, Option<OwnedSemaphorePermit>);
/// Where answers go.
pub(super) type Answers = mpsc::Sender<Waiting>;

/// Hands answers on. Each gives its room back when the transport takes it; from
/// then on the connection counts what its peer has not read.
pub struct Answered(mpsc::Receiver<Waiting>);

impl Answered {
    /// A way to the transport.
    pub(super) fn channel() -> (Answers, Self) {
        let (answers, waiting) = mpsc::channel(caps::ANSWERS_AHEAD);
        (answers, Self(waiting))
    }
}

impl Stream for Answered {
    type Item = Result<FilterResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|next| next.map(|(answer, _room)| answer))
    }
}
