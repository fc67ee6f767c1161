//! Which service a call is for.

use std::{convert::Infallible, sync::Arc};

use hyper::service::Service;
use tonic::{
    Status,
    body::Body,
    codegen::{
        self, BoxFuture,
        http::{Request, Response},
    },
    server::NamedService,
};

use super::status::refused;

type Answering = BoxFuture<Response<Body>, Infallible>;

/// Services by the names that the paths of their calls begin with. Cheap to
/// clone, which happens with each connection.
///
/// tonic's own routes are those of a web framework: its patterns, their
/// parameters and its bodies around ours cost a short call several thousand
/// instructions.
#[derive(Clone)]
pub struct Routes(Arc<[Route]>);

impl Routes {
    pub(super) fn of(routes: impl Into<Arc<[Route]>>) -> Self {
        Self(routes.into())
    }
}

/// The way to one service.
pub(super) struct Route {
    service: &'static str,
    answer: Box<dyn Fn(Request<Body>) -> Answering + Send + Sync>,
}

impl Route {
    /// The way to this service, which must be ready for a call at any time: it
    /// is not asked.
    pub fn to<S>(service: S) -> Self
    where
        S: NamedService + Clone + Send + Sync + 'static,
        S: codegen::Service<Request<Body>, Error = Infallible, Future = Answering>,
    {
        let answer = Box::new(move |request| service.clone().call(request));
        Self { service: S::NAME, answer }
    }
}

impl Service<Request<Body>> for Routes {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Body>) -> Answering {
        let service = service(request.uri().path());
        match self.0.iter().find(|route| Some(route.service) == service) {
            Some(route) => (route.answer)(request),
            None => refused(Status::unimplemented("there is no such service")),
        }
    }
}

/// The name of the service in a path such as `/sendgate.v1.FilterService/Check`.
fn service(path: &str) -> Option<&str> {
    let (service, _method) = path.strip_prefix('/')?.split_once('/')?;
    Some(service)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    /// Answers with its name.
    fn named(service: &'static str) -> Route {
        Route { service, answer: Box::new(move |_| refused(Status::new(Code::Ok, service))) }
    }

    #[tokio::test]
    async fn a_call_reaches_the_service_that_its_path_names() {
        let routes = Routes::of([named("a.First"), named("a.First.Second")]);
        for (path, due) in [
            ("/a.First/Method", Some("a.First")),
            ("/a.First/", Some("a.First")),
            ("/a.First/Method/More", Some("a.First")),
            ("/a.First.Second/Method", Some("a.First.Second")),
            ("/a.First", None),
            ("/a.First.Third/Method", None),
            ("/a/First/Method", None),
            ("//a.First/Method", None),
            ("/", None),
            ("*", None),
        ] {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            let answer = routes.call(request).await.unwrap();
            let status = Status::from_header_map(answer.headers()).unwrap();
            match due {
                Some(name) => assert_eq!((status.code(), status.message()), (Code::Ok, name)),
                None => assert_eq!(status.code(), Code::Unimplemented, "{path}"),
            }
        }
    }
}
