//! A server that acknowledges withdrawals and forgets them; the rest it passes
//! on to a real one.

use std::pin::Pin;

use sendgate::proto::v1::{
    self, EventResult, Outcome, RecordRequest, RecordResponse,
    consent_service_server::ConsentService,
};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::liar::Liar;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl ConsentService for Liar {
    async fn record(
        &self,
        request: Request<RecordRequest>,
    ) -> Result<Response<RecordResponse>, Status> {
        let applied =
            EventResult { outcome: Outcome::Applied.into(), revision: 1, rejection: None };
        let results = vec![applied; request.into_inner().events.len()];
        Ok(Response::new(RecordResponse { results, revision: None }))
    }

    type ImportStream = Answers<v1::ImportResponse>;

    async fn import(
        &self,
        request: Request<Streaming<v1::ImportRequest>>,
    ) -> Result<Response<Self::ImportStream>, Status> {
        let chunks = request.into_inner().map_while(Result::ok);
        let answers = self.honest.consent_service().import(chunks).await?;
        Ok(answers.map(|answers| -> Self::ImportStream { Box::pin(answers) }))
    }

    async fn suppress(
        &self,
        _: Request<v1::SuppressRequest>,
    ) -> Result<Response<v1::SuppressResponse>, Status> {
        Err(nobody_asks())
    }

    async fn lift(
        &self,
        _: Request<v1::LiftRequest>,
    ) -> Result<Response<v1::LiftResponse>, Status> {
        Err(nobody_asks())
    }

    async fn erase(
        &self,
        _: Request<v1::EraseRequest>,
    ) -> Result<Response<v1::EraseResponse>, Status> {
        Err(nobody_asks())
    }

    async fn rectify(
        &self,
        _: Request<v1::RectifyRequest>,
    ) -> Result<Response<v1::RectifyResponse>, Status> {
        Err(nobody_asks())
    }

    async fn history(
        &self,
        _: Request<v1::HistoryRequest>,
    ) -> Result<Response<v1::HistoryResponse>, Status> {
        Err(nobody_asks())
    }

    async fn explain(
        &self,
        _: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        Err(nobody_asks())
    }

    type ExportStream = Answers<v1::ExportResponse>;

    async fn export(
        &self,
        _: Request<v1::ExportRequest>,
    ) -> Result<Response<Self::ExportStream>, Status> {
        Err(nobody_asks())
    }

    type WatchStream = Answers<v1::WatchResponse>;

    async fn watch(
        &self,
        _: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(nobody_asks())
    }
}

fn nobody_asks() -> Status {
    Status::unimplemented("nobody asks")
}
