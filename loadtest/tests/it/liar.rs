//! A server that passes everything on to a real one, and lies now and then.

use sendgate::{
    client::Client,
    proto::v1::{
        self, FilterRequest, FilterResponse, Reason,
        admin_service_server::{AdminService, AdminServiceServer},
        consent_service_server::ConsentServiceServer,
        filter_response,
        filter_service_server::{FilterService, FilterServiceServer},
    },
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// The batch of a stream that is answered wrongly, from 1, and in it whom.
const BATCH: u64 = 4;
const RECIPIENT: usize = 7;
/// Smaller batches are the load test's questions before a run.
const LEAST: u32 = 2000;

/// A server in front of an honest one.
pub struct Liar {
    /// The honest one.
    pub honest: Client,
}

/// Starts one; returns its endpoint.
pub async fn start(honest: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let liar = || async { Liar { honest: Client::connect(honest).await.unwrap() } };
    let server = Server::builder()
        .add_service(FilterServiceServer::new(liar().await))
        .add_service(ConsentServiceServer::new(liar().await))
        .add_service(AdminServiceServer::new(liar().await));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    endpoint
}

/// Flips one verdict; all that can be checked without knowing the truth agrees.
fn lie(response: &mut FilterResponse) {
    let Some(filter_response::Message::Answer(answer)) = &mut response.message else { return };
    let scope = &mut answer.scopes[0];
    if answer.batch_id != BATCH || scope.recipients < LEAST {
        return;
    }
    let mut bits = scope.permitted.to_vec();
    bits[RECIPIENT / 8] ^= 1 << (RECIPIENT % 8);
    let permitted = bits[RECIPIENT / 8] >> (RECIPIENT % 8) & 1 == 1;
    scope.permitted = bits.into();
    scope.permitted_count =
        if permitted { scope.permitted_count + 1 } else { scope.permitted_count - 1 };
    if !scope.reasons.is_empty() {
        let mut reasons = scope.reasons.to_vec();
        reasons[RECIPIENT] = if permitted { Reason::Permitted } else { Reason::OptedOut } as u8;
        scope.reasons = reasons.into();
    }
}

#[tonic::async_trait]
impl FilterService for Liar {
    type FilterStream = ReceiverStream<Result<FilterResponse, Status>>;

    async fn filter(
        &self,
        request: Request<Streaming<FilterRequest>>,
    ) -> Result<Response<Self::FilterStream>, Status> {
        let (asking, asked) = mpsc::channel(64);
        let mut requests = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                if asking.send(request).await.is_err() {
                    return;
                }
            }
        });
        let mut answers =
            self.honest.filter_service().filter(ReceiverStream::new(asked)).await?.into_inner();
        let (answering, answered) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Some(mut answer) = answers.message().await.transpose() {
                if let Ok(answer) = &mut answer {
                    lie(answer);
                }
                if answering.send(answer).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answered)))
    }

    async fn check(
        &self,
        request: Request<v1::CheckRequest>,
    ) -> Result<Response<v1::CheckResponse>, Status> {
        let mut answer = self.honest.filter_service().check(request.into_inner()).await?;
        answer.get_mut().permitted = true;
        Ok(answer)
    }

    async fn describe(
        &self,
        _: Request<v1::DescribeRequest>,
    ) -> Result<Response<v1::DescribeResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn reach(
        &self,
        _: Request<v1::ReachRequest>,
    ) -> Result<Response<v1::ReachResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }
}

#[tonic::async_trait]
impl AdminService for Liar {
    async fn get_policy(
        &self,
        request: Request<v1::GetPolicyRequest>,
    ) -> Result<Response<v1::GetPolicyResponse>, Status> {
        self.honest.admin_service().get_policy(request.into_inner()).await
    }

    async fn get_statistics(
        &self,
        request: Request<v1::GetStatisticsRequest>,
    ) -> Result<Response<v1::GetStatisticsResponse>, Status> {
        self.honest.admin_service().get_statistics(request.into_inner()).await
    }

    async fn apply_policy(
        &self,
        _: Request<v1::ApplyPolicyRequest>,
    ) -> Result<Response<v1::ApplyPolicyResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn list_policies(
        &self,
        _: Request<v1::ListPoliciesRequest>,
    ) -> Result<Response<v1::ListPoliciesResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn checkpoint(
        &self,
        _: Request<v1::CheckpointRequest>,
    ) -> Result<Response<v1::CheckpointResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn create_token(
        &self,
        _: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn list_tokens(
        &self,
        _: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn revoke_token(
        &self,
        _: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn purge(
        &self,
        _: Request<v1::PurgeRequest>,
    ) -> Result<Response<v1::PurgeResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    type BackupStream = ReceiverStream<Result<v1::BackupResponse, Status>>;

    async fn backup(
        &self,
        _: Request<v1::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn accept_restore(
        &self,
        _: Request<v1::AcceptRestoreRequest>,
    ) -> Result<Response<v1::AcceptRestoreResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }
}
