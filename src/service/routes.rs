//! Which service a call is for.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use tonic::{
    Status,
    body::Body,
    codegen::{
        BoxFuture, Service,
        http::{Request, Response},
    },
    server::NamedService,
};

type Answering = BoxFuture<Response<Body>, Infallible>;

/// Services by the names that the paths of their calls begin with. Cheap to
/// clone, which happens with each call.
///
/// tonic's own routes are those of a web framework: its patterns, their
/// parameters and its bodies around ours cost a short call several thousand
/// instructions.
#[derive(Clone)]
pub struct Routes(Arc<[Route]>);

/// The way to one service.
struct Route {
    service: &'static str,
    answer: Box<dyn Fn(Request<Body>) -> Answering + Send + Sync>,
}

/// Collects the ways to services.
#[derive(Default)]
pub(super) struct RoutesBuilder(Vec<Route>);

impl RoutesBuilder {
    /// With the way to this service, which must be ready for a call at any time:
    /// it is not asked.
    pub fn to<S>(mut self, service: S) -> Self
    where
        S: NamedService + Clone + Send + Sync + 'static,
        S: Service<Request<Body>, Error = Infallible, Future = Answering>,
    {
        let answer = Box::new(move |request| service.clone().call(request));
        self.0.push(Route { service: S::NAME, answer });
        self
    }

    pub fn build(self) -> Routes {
        Routes(self.0.into())
    }
}

impl Service<Request<Body>> for Routes {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answering {
        let service = service(request.uri().path());
        match self.0.iter().find(|route| Some(route.service) == service) {
            Some(route) => (route.answer)(request),
            None => {
                let unknown = Status::unimplemented("there is no such service").into_http();
                Box::pin(std::future::ready(Ok(unknown)))
            }
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
    #[derive(Clone)]
    struct Named<const FIRST: bool>;

    impl<const FIRST: bool> NamedService for Named<FIRST> {
        const NAME: &'static str = if FIRST { "a.First" } else { "a.First.Second" };
    }

    impl<const FIRST: bool> Service<Request<Body>> for Named<FIRST> {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Answering;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Answering {
            let answer = Status::new(Code::Ok, Self::NAME).into_http();
            Box::pin(std::future::ready(Ok(answer)))
        }
    }

    #[tokio::test]
    async fn a_call_reaches_the_service_that_its_path_names() {
        let routes = RoutesBuilder::default().to(Named::<true>).to(Named::<false>).build();
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
            let answer = routes.clone().call(request).await.unwrap();
            let status = Status::from_header_map(answer.headers()).unwrap();
            match due {
                Some(name) => assert_eq!((status.code(), status.message()), (Code::Ok, name)),
                None => assert_eq!(status.code(), Code::Unimplemented, "{path}"),
            }
        }
    }
}
