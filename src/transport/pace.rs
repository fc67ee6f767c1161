//! Limits of time and memory on every call, whatever it is about.
//!
//! A request must go on by whole messages: who sends a byte now and then does
//! not keep a stream. Handlers see the end of a request that was too slow, too
//! old or too much as its error, and pass it on; streams that only answer are
//! ended here.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::Either;
use hyper::{body::Incoming, service::Service};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{
    Code, Status,
    body::Body,
    codegen::http::{HeaderMap, Request, Response},
    transport::server::TcpConnectInfo,
};
use tonic_types::{ErrorDetails, StatusExt};

use super::{
    connection::Peer,
    expiry::{Expiry, late},
    framing::Framing,
    traffic::{Received, Traffic},
};
use crate::caps::Limits;

/// Services within the limits, as one connection calls them.
pub(super) struct Paced<S> {
    services: S,
    peer: Peer,
    idle: Duration,
    age: Duration,
}

impl<S> Paced<S> {
    /// `services` for this peer.
    pub fn new(services: S, peer: Peer, limits: &Limits) -> Self {
        Self { services, peer, idle: limits.stream_idle, age: limits.stream_age }
    }
}

impl<S> Service<Request<Incoming>> for Paced<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Call<S::Future>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let expiry = match Expiry::of(request.headers(), self.age) {
            Ok(expiry) => expiry,
            Err(status) => return Call::Refused { status },
        };
        let Peer { address, traffic } = &self.peer;
        // Where tonic's `Request::remote_addr` looks.
        let known = TcpConnectInfo { local_addr: None, remote_addr: Some(*address) };
        request.extensions_mut().insert(known);
        let received = Received::nothing(Arc::clone(traffic));
        let answering = self.services.call(request.map(|body| {
            Body::new(Asking {
                body,
                framing: Framing::default(),
                received,
                idle: self.idle,
                expiry,
                waiting: None,
                timer: Timer::default(),
                ended: false,
            })
        }));
        let (traffic, timer) = (Arc::clone(traffic), Timer::default());
        Call::Answering { answering, traffic, expiry, timer }
    }
}

pin_project! {
    /// A call until its answer begins.
    #[project = CallStage]
    pub(super) enum Call<F> {
        Refused { status: Status },
        Answering { #[pin] answering: F, traffic: Arc<Traffic>, expiry: Expiry, timer: Timer },
    }
}

impl<F> Future for Call<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<Answer>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let refused = |status: Status| Poll::Ready(Ok(status.into_http().map(Either::Left)));
        let (answering, traffic, expiry, timer) = match self.project() {
            CallStage::Refused { status } => return refused(status.clone()),
            CallStage::Answering { answering, traffic, expiry, timer } => {
                (answering, traffic, *expiry, timer)
            }
        };
        let response = match answering.poll(context)? {
            Poll::Ready(response) => response,
            // Who has given up is not served any further.
            Poll::Pending
                if expiry.deadline.is_some_and(|deadline| timer.has_passed(deadline, context)) =>
            {
                return refused(late());
            }
            Poll::Pending => return Poll::Pending,
        };
        // A timer only ever becomes later: one set to a deadline behind the age is no use.
        let (traffic, timer) = (Arc::clone(traffic), Timer::default());
        Poll::Ready(Ok(response
            .map(|body| Either::Right(Answering { body, traffic, expiry, timer, ended: false }))))
    }
}

/// A refusal, or an answer within the limits.
type Answer = Either<Body, Answering>;

/// How a call ends that is not within the limits.
pub(super) fn end(code: Code, reason: &str, message: &str) -> Status {
    tracing::debug!(reason, message, "a call ends outside its limits");
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, "sendgate", []))
}

/// A timer that costs nothing until somebody waits for it.
#[derive(Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

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
    body: Incoming,
    framing: Framing,
    received: Received,
    idle: Duration,
    expiry: Expiry,
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
            Poll::Ready(Some(Err(broken))) => {
                Poll::Ready(Some(Err(Status::from_error(broken.into()))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let waiting = *this.waiting.get_or_insert_with(Instant::now);
                let deadline = this.expiry.at.min(waiting + this.idle);
                if !this.timer.has_passed(deadline, context) {
                    return Poll::Pending;
                }
                this.fail(if deadline == this.expiry.at {
                    this.expiry.status()
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
    expiry: Expiry,
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
        let polled = if this.traffic.must_wait(context) {
            Poll::Pending
        } else {
            Pin::new(&mut this.body).poll_frame(context)
        };
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                Poll::Ready(Some(Ok(frame.map_data(|data| this.traffic.track(data)))))
            }
            // Even a body with much to say is pending now and then.
            Poll::Pending if this.timer.has_passed(this.expiry.at, context) => {
                this.ended = true;
                let mut trailers = HeaderMap::new();
                let written = this.expiry.status().add_header(&mut trailers);
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
