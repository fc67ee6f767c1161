//! Streams that the server fills from a task of its own.

use std::future::Future;

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::{Services, status::status};
use crate::caps;

/// Where a stream's messages go.
pub(super) type Answers<T> = mpsc::Sender<Result<T, Status>>;
/// The stream that the transport reads.
pub(super) type Stream<T> = ReceiverStream<Result<T, Status>>;

/// Runs what fills a stream; its error becomes the last message. A panic must
/// not end a stream as if all were well (A1).
pub(super) fn supervised<T, F>(run: impl FnOnce(Answers<T>) -> F) -> Stream<T>
where
    T: Send + 'static,
    F: Future<Output = Result<(), Status>> + Send + 'static,
{
    let (answers, stream) = mpsc::channel(caps::MESSAGES_AHEAD);
    let last = answers.clone();
    let running = tokio::spawn(run(answers));
    tokio::spawn(async move {
        let ended = running.await.unwrap_or_else(|_| {
            Err(status(
                Code::Internal,
                "STREAM_FAILED",
                "the server failed; the stream is not whole",
            ))
        });
        if let Err(status) = ended {
            // A client that has gone away needs no status.
            drop(last.send(Err(status)).await);
        }
    });
    ReceiverStream::new(stream)
}

impl Services {
    /// Returns once the server is asked to stop.
    pub(super) async fn stopped(&self) -> Status {
        turns_true(&self.stopping).await
    }

    /// Returns once the server waits for nobody any more.
    pub(super) async fn cut_off(&self) -> Status {
        turns_true(&self.cutting).await
    }
}

async fn turns_true(signal: &watch::Receiver<bool>) -> Status {
    // An error means that the server is gone, which is the same.
    drop(signal.clone().wait_for(|is_true| *is_true).await);
    status(Code::Unavailable, "STOPPING", "the server is stopping; ask again later")
}
