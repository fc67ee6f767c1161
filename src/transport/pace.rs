//! Limits of time and memory on every call, whatever it is about.
//!
//! A request must go on by whole messages: who sends a byte now and then does
//! not keep a stream. Handlers see the end of a request that was too slow, too
//! old or too much as its error, and pass it on; streams that only answer are
//! ended here.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::Either;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{
    Code, Status,
    body::Body,
    codegen::http::{HeaderMap, Request, Response},
    transport::server::TcpConnectInfo,
};
use tonic_types::{ErrorDetails, StatusExt};
use tower::{Layer, Service};

use super::{
    connection::Peer,
    framing::Framing,
    traffic::{Received, Traffic},
};
use crate::caps::Limits;

/// Puts the limits around a service.
#[derive(Clone)]
pub(super) struct PaceLayer {
    idle: Duration,
    age: Duration,
}

impl PaceLayer {
    pub fn new(limits: &Limits) -> Self {
        Self { idle: limits.stream_idle, age: limits.stream_age }
    }
}

impl<S> Layer<S> for PaceLayer {
    type Service = Paced<S>;

    fn layer(&self, service: S) -> Paced<S> {
        Paced { service, pace: self.clone() }
    }
}

/// A service within the limits.
#[derive(Clone)]
pub(super) struct Paced<S> {
    service: S,
    pace: PaceLayer,
}

impl<S> Service<Request<Body>> for Paced<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Answer>;
    type Error = S::Error;
    type Future = Call<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // Nothing but our listener brings connections, and it names their peers.
        let Some(peer) = request.extensions().get::<Peer>() else {
            let nobody = end(Code::Internal, "NO_PEER", "the connection has no peer");
            return Call::Refused { status: nobody };
        };
        let traffic = Arc::clone(&peer.traffic);
        // Where tonic's `Request::remote_addr` looks. With the peer and what the
        // gate adds these are as many extensions as the smallest table for them
        // holds.
        let known = TcpConnectInfo { local_addr: None, remote_addr: Some(peer.address) };
        request.extensions_mut().insert(known);
        let received = Received::nothing(Arc::clone(&traffic));
        let (idle, too_old) = (self.pace.idle, Instant::now() + self.pace.age);
        let answering = self.service.call(request.map(|body| {
            Body::new(Asking {
                body,
                framing: Framing::default(),
                received,
                idle,
                too_old,
                waiting: None,
                timer: Timer::default(),
                ended: false,
            })
        }));
        Call::Answering { answering, traffic, too_old }
    }
}

pin_project! {
    /// A call until its answer begins.
    #[project = CallStage]
    pub(super) enum Call<F> {
        Refused { status: Status },
        Answering { #[pin] answering: F, traffic: Arc<Traffic>, too_old: Instant },
    }
}

impl<F, E> Future for Call<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = Result<Response<Answer>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (answering, traffic, too_old) = match self.project() {
            CallStage::Refused { status } => {
                return Poll::Ready(Ok(status.clone().into_http().map(Either::Left)));
            }
            CallStage::Answering { answering, traffic, too_old } => (answering, traffic, *too_old),
        };
        let response = ready!(answering.poll(context))?;
        let traffic = Arc::clone(traffic);
        Poll::Ready(Ok(response.map(|body| {
            let (timer, ended) = (Timer::default(), false);
            Either::Right(Answering { body, traffic, too_old, timer, ended })
        })))
    }
}

/// A refusal, or an answer within the limits.
type Answer = Either<Body, Answering>;

/// How a stream ends that went over a limit.
fn end(code: Code, reason: &str, message: &str) -> Status {
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, "sendgate", []))
}

fn too_old() -> Status {
    end(Code::Aborted, "STREAM_AGE", "the stream has been open for too long; go on in a new one")
}

/// A timer that costs nothing until somebody waits for it.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Whether `deadline` has passed; wakes the task if it has not. Deadlines
    /// of one timer only ever become later, so that it is seldom set anew.
    fn has_passed(&mut self, deadline: Instant, context: &mut Context<'_>) -> bool {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        while sleep.as_mut().poll(context).is_ready() {
            if Instant::now() >= deadline {
                return true;
            }
            sleep.as_mut().reset(deadline);
        }
        false
    }
}

/// The body of a request.
struct Asking {
    body: Body,
    framing: Framing,
    received: Received,
    idle: Duration,
    too_old: Instant,
    /// Since when the handler waits for the next whole message.
    waiting: Option<Instant>,
    timer: Timer,
    ended: bool,
}

impl Asking {
    fn fail(&mut self, status: Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.ended = true;
        self.received.set(0);
        Poll::Ready(Some(Err(status)))
    }
}

impl http_body::Body for Asking {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    if this.framing.follow(data) {
                        this.waiting = None;
                    }
                    if !this.received.set(this.framing.unfinished()) {
                        return this.fail(end(
                            Code::ResourceExhausted,
                            "TRANSPORT_FULL",
                            "too many large messages are on their way at once; send it again later",
                        ));
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(last) => Poll::Ready(last),
            Poll::Pending => {
                let waiting = *this.waiting.get_or_insert_with(Instant::now);
                let deadline = this.too_old.min(waiting + this.idle);
                if !this.timer.has_passed(deadline, context) {
                    return Poll::Pending;
                }
                this.fail(if deadline == this.too_old {
                    too_old()
                } else {
                    end(
                        Code::Aborted,
                        "STREAM_IDLE",
                        "no whole message came for too long; go on in a new stream",
                    )
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a response.
pub(super) struct Answering {
    body: Body,
    traffic: Arc<Traffic>,
    too_old: Instant,
    timer: Timer,
    ended: bool,
}

impl http_body::Body for Answering {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        // The connection ends itself if its answers stay unread.
        if this.traffic.must_wait(context) {
            return Poll::Pending;
        }
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                Poll::Ready(Some(Ok(frame.map_data(|data| this.traffic.track(data)))))
            }
            Poll::Pending if this.timer.has_passed(this.too_old, context) => {
                this.ended = true;
                let mut trailers = HeaderMap::new();
                let written = too_old().add_header(&mut trailers);
                Poll::Ready(Some(written.map(|()| Frame::trailers(trailers))))
            }
            other => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
