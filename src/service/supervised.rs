//! Streams that the server fills from a task of its own.

use std::{future::Future, sync::Arc};

use tonic::{Code, Status};

use super::{
    answered::{Answered, Answers},
    interruption::Interruption,
    status::status,
};

/// Runs what fills a stream, on which so many answers may wait; its error
/// becomes the last message. A panic must not end a stream as if all were well
/// (A1).
pub(super) fn supervised<T, F>(
    ahead: usize,
    interruption: Arc<Interruption>,
    run: impl FnOnce(Answers<T>) -> F,
) -> Answered<T>
where
    T: Send + 'static,
    F: Future<Output = Result<(), Status>> + Send + 'static,
{
    let (answers, stream) = Answered::channel(ahead, interruption);
    let last = answers.clone();
    let running = tokio::spawn(run(answers));
    tokio::spawn(async move {
        let ended = running.await.unwrap_or_else(|_| {
            let what = "the server failed; the stream is not whole";
            Err(status(Code::Internal, "STREAM_FAILED", what))
        });
        if let Err(status) = ended {
            last.end(status).await;
        }
    });
    stream
}
