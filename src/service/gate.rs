//! The gate that every call goes through: who calls, in which role, for which
//! brand.
//!
//! It has two steps, because a request's bytes are read in between. [`Gated`]
//! stands before a service and lets in whoever shows a token with the method's
//! role. [`Services::admit`] then holds what the request is about against the
//! token's brands. Handlers take nothing but what was admitted.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tonic::{
    Code, Request, Status, Streaming,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::NamedService,
    transport::server::TcpConnectInfo,
};
use tracing::Span;

use super::{
    Services,
    access::{Concern, Concerns, Method, method},
    interruption::Interruption,
    status::{refused, status},
    traced::traced,
};
use crate::{
    audit::{Audit, Denial},
    caps,
    tokens::{Credential, Over, Role, Stranger, Tokens},
    traces,
};

/// A service behind the gate.
#[derive(Clone)]
pub(super) struct Gated<S> {
    service: S,
    tokens: Arc<Tokens>,
    audit: Arc<Audit>,
}

/// A call that was let in, as the request carries it to its handler. Only
/// [`Services::admit`] makes a [`Caller`] of it.
#[derive(Clone)]
struct LetIn {
    credential: Arc<Credential>,
    method: &'static Method,
    peer: Option<SocketAddr>,
    call: Span,
}

impl<S> Gated<S> {
    pub fn new(service: S, services: &Services) -> Self {
        Self { service, tokens: Arc::clone(&services.tokens), audit: Arc::clone(&services.audit) }
    }

    fn let_in(
        &self,
        request: &http::Request<Body>,
        method: &Method,
        peer: Option<SocketAddr>,
    ) -> Result<Arc<Credential>, Box<(Denial, Code, String)>> {
        let denied = |token: Option<&Credential>, code, reason, message: String| {
            let token = token.map(|credential| credential.grant().name.clone());
            let denial = Denial { method: method.path, reason, token, peer, brand: None };
            Box::new((denial, code, message))
        };
        let credential = self.tokens.authenticate(shown(request)).map_err(|stranger| {
            let (reason, message) = match stranger {
                Stranger::NoToken => (
                    "TOKEN_MISSING",
                    "show a token: authorization: Bearer TOKEN; commands take --token-file or \
                     SENDGATE_TOKEN",
                ),
                Stranger::Unknown => {
                    ("TOKEN_UNKNOWN", "this is no token of this server, or it was revoked")
                }
                Stranger::Expired => ("TOKEN_EXPIRED", EXPIRED),
            };
            denied(None, Code::Unauthenticated, reason, message.to_owned())
        })?;
        match method.role {
            Some(role) if !credential.grant().roles.contains(&role) => {
                let what = needs(role);
                Err(denied(Some(&credential), Code::PermissionDenied, "ROLE_NOT_GRANTED", what))
            }
            _ => Ok(credential),
        }
    }
}

fn needs(role: Role) -> String {
    format!("this needs a token with the role {}", role.name())
}

const EXPIRED: &str = "this token's time is over: have another one created";

impl<S> Service<http::Request<Body>> for Gated<S>
where
    S: Service<
            http::Request<Body>,
            Response = http::Response<Body>,
            Error = Infallible,
            Future = BoxFuture<http::Response<Body>, Infallible>,
        >,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        // Unknown to the table is unknown to everybody.
        let Some(method) = method(request.uri().path()) else {
            return refused(Status::unimplemented("there is no such method"));
        };
        let call = traces::call(method.path);
        #[cfg(feature = "otel")]
        traces::export::follow(&call, request.headers());
        let peer = request.extensions().get::<TcpConnectInfo>().and_then(|peer| peer.remote_addr);
        let answering = match self.let_in(&request, method, peer) {
            Ok(credential) => {
                // Nobody behind the gate needs it, or could log it.
                request.headers_mut().remove(http::header::AUTHORIZATION);
                let let_in = LetIn { credential, method, peer, call: call.clone() };
                request.extensions_mut().insert(let_in);
                self.service.call(request)
            }
            Err(refusal) => {
                let (denial, code, message) = *refusal;
                let audit = Arc::clone(&self.audit);
                // Not before the call has a task of its own: a disk that stalls
                // must not hold up everybody else on its connection (F8).
                Box::pin(async move { Ok(deny(&audit, denial, code, message).into_http()) })
            }
        };
        traced(call, answering)
    }
}

impl<S: NamedService> NamedService for Gated<S> {
    const NAME: &'static str = S::NAME;
}

/// The token in a request's headers, or what stands there in its place.
fn shown(request: &http::Request<Body>) -> Option<&str> {
    let value = request.headers().get(http::header::AUTHORIZATION)?;
    // What is no text is no token either.
    let (scheme, token) = value.to_str().unwrap_or_default().split_once(' ').unwrap_or_default();
    Some(if scheme.eq_ignore_ascii_case("bearer") { token.trim() } else { "" })
}

/// The status of a denial, which leaves a row. A denial that cannot be logged
/// is a denial all the same.
fn deny(audit: &Audit, denial: Denial, code: Code, message: String) -> Status {
    let answer = status(code, denial.reason, message);
    if let Err(error) = tokio::task::block_in_place(|| audit.denied(denial)) {
        tracing::error!(%error, "the audit log could not be written: a denial is missing");
    }
    answer
}

/// Whoever makes a call.
#[derive(Clone)]
pub(super) struct Caller {
    credential: Arc<Credential>,
    method: &'static Method,
    peer: Option<SocketAddr>,
    call: Span,
}

impl Caller {
    /// The name of the token; none where none is asked for.
    pub fn token(&self) -> Option<String> {
        let name = &self.credential.grant().name;
        (!name.is_empty()).then(|| name.clone())
    }

    /// Where the connection comes from.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The span of the call.
    pub fn call(&self) -> &Span {
        &self.call
    }

    /// Returns once its token is over.
    pub async fn over(&self) -> Over {
        self.credential.ended().await
    }
}

/// A request whose caller may make it.
pub(super) struct Admitted<T> {
    caller: Caller,
    message: T,
}

impl<T> Admitted<T> {
    /// Who asks, and what.
    pub fn into_parts(self) -> (Caller, T) {
        (self.caller, self.message)
    }

    /// What is asked.
    pub fn into_inner(self) -> T {
        self.message
    }
}

/// A stream of requests, each of which is admitted before it is seen.
pub(super) struct AdmittedStream<T> {
    services: Services,
    caller: Caller,
    messages: Streaming<T>,
    interruption: Arc<Interruption>,
    /// That it comes; made once for all messages.
    interrupted: Pin<Box<dyn Future<Output = Status> + Send>>,
}

impl<T: Concerns> AdmittedStream<T> {
    /// Who sends it.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What ends it whatever its client does.
    pub fn interruption(&self) -> Arc<Interruption> {
        Arc::clone(&self.interruption)
    }

    /// The next message; none at the end.
    ///
    /// # Errors
    /// The stream broke, its token is over, or the message is about a brand
    /// that the token is not for.
    pub async fn message(&mut self) -> Result<Option<T>, Status> {
        let message = tokio::select! {
            biased;
            interrupted = &mut self.interrupted => return Err(interrupted),
            message = self.messages.message() => message?,
        };
        // Whatever came meanwhile: what is read after a revocation is not answered.
        if self.services.tokens.over(&self.caller.credential).is_some() {
            return Err(self.interruption.comes().await);
        }
        if let Some(message) = &message {
            self.services.may(&self.caller, message)?;
        }
        Ok(message)
    }
}

impl Services {
    /// Holds a request against the brands of its caller's token.
    ///
    /// # Errors
    /// PERMISSION_DENIED, whether or not the brand exists.
    pub(super) fn admit<T: Concerns>(&self, request: Request<T>) -> Result<Admitted<T>, Status> {
        let caller = caller(&request)?;
        let message = request.into_inner();
        self.may(&caller, &message)?;
        Ok(Admitted { caller, message })
    }

    /// As [`admit`](Self::admit), for each message of a stream.
    ///
    /// # Errors
    /// The call did not come through the gate.
    pub(super) fn admit_stream<T>(
        &self,
        request: Request<Streaming<T>>,
    ) -> Result<AdmittedStream<T>, Status> {
        let caller = caller(&request)?;
        let interruption = self.when_cut_off(&caller);
        let comes = Arc::clone(&interruption);
        Ok(AdmittedStream {
            services: self.clone(),
            caller,
            messages: request.into_inner(),
            interruption,
            interrupted: Box::pin(async move { comes.comes().await }),
        })
    }

    fn may(&self, caller: &Caller, request: &impl Concerns) -> Result<(), Status> {
        let grant = caller.credential.grant();
        if let Some(role) = request.further_role().filter(|role| !grant.roles.contains(role)) {
            let denial = caller.denial("ROLE_NOT_GRANTED");
            return Err(deny(&self.audit, denial, Code::PermissionDenied, needs(role)));
        }
        let brands = &grant.brands;
        let (field, brand) = match request.concern() {
            Concern::SameStream => return Ok(()),
            Concern::Store if brands.include("*") => return Ok(()),
            Concern::Store => {
                return Err(self.not_granted(
                    caller,
                    None,
                    "this concerns the whole store, and needs a token for all brands".to_owned(),
                ));
            }
            Concern::Brand(brand) if brands.include(brand) => return Ok(()),
            Concern::Brand(brand) => ("brand".to_owned(), brand),
            Concern::Items(field, mut named) => {
                let Some((at, brand)) = named.find(|(_, brand)| !brands.include(brand)) else {
                    return Ok(());
                };
                (format!("{field}[{at}].brand"), brand)
            }
        };
        // The name is not repeated: the answer is the same for every brand.
        let what = format!("{field}: this token is not for that brand; nothing was done");
        Err(self.not_granted(caller, Some(brand), what))
    }

    fn not_granted(&self, caller: &Caller, brand: Option<&str>, message: String) -> Status {
        let brand = brand.map(|brand| {
            let letters = brand.char_indices();
            let fits =
                letters.take_while(|(at, it)| at + it.len_utf8() <= caps::AUDITED_NAME_BYTES);
            fits.map(|(_, letter)| letter).collect()
        });
        let denial = Denial { brand, ..caller.denial("BRAND_NOT_GRANTED") };
        deny(&self.audit, denial, Code::PermissionDenied, message)
    }

    /// The status of a stream whose token is over.
    pub(super) fn over(&self, caller: &Caller, over: Over) -> Status {
        let (reason, what) = match over {
            Over::Revoked => ("TOKEN_REVOKED", "this token was revoked"),
            Over::Expired => ("TOKEN_EXPIRED", EXPIRED),
        };
        deny(&self.audit, caller.denial(reason), Code::Unauthenticated, what.to_owned())
    }
}

impl Caller {
    fn denial(&self, reason: &'static str) -> Denial {
        let (token, peer) = (self.token(), self.peer);
        Denial { method: self.method.path, reason, token, peer, brand: None }
    }
}

/// Whoever was let in.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let let_in = request.extensions().get::<LetIn>().cloned().ok_or_else(|| {
        tracing::error!("a service does not stand behind the gate");
        status(Code::Unauthenticated, "TOKEN_UNKNOWN", "the server does not know who calls")
    })?;
    let LetIn { credential, method, peer, call } = let_in;
    Ok(Caller { credential, method, peer, call })
}
