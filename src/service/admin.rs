//! Policy, statistics, and what is done to the whole store.

use tonic::{Request, Response, Status, async_trait};

use super::{
    Services,
    answered::Answered,
    audited::act,
    convert,
    question::revision,
    status::{status, unreadable},
};
use crate::{
    audit::{Act, Row},
    caps,
    domain::{event::Actor, policy::Policy, scope::Scope},
    engine::view::View,
    proto::v1::{
        self, ApplyPolicyRequest, ApplyPolicyResponse, CheckpointRequest, CheckpointResponse,
        GetPolicyRequest, GetPolicyResponse, GetStatisticsRequest, GetStatisticsResponse,
        admin_service_server::AdminService,
    },
    reader::AppliedPolicy,
    writer::{PolicyProposal, Purged},
};

#[async_trait]
impl AdminService for Services {
    async fn apply_policy(
        &self,
        request: Request<ApplyPolicyRequest>,
    ) -> Result<Response<ApplyPolicyResponse>, Status> {
        let (caller, request) = self.admit(request)?.into_parts();
        let proposal = PolicyProposal {
            text: request.toml,
            permits_more: request.permits_more,
            permits_unknown: request.permits_unknown,
            drops_scopes: request.drops_scopes,
            dry_run: request.dry_run,
            actor: convert::actor(request.actor)?,
            note: convert::text(request.note, "note", caps::NOTE_BYTES)?,
        };
        // Trying a policy out is no act.
        let row = (!proposal.dry_run).then(|| act(&proposal.actor, &caller, "*", None));
        if let Some(row) = &row {
            self.audited(&Row::Policy(row.clone()))?;
        }
        let change = self.writer.apply_policy(proposal).await.map_err(Status::from);
        if let Some(row) = row {
            let about = change.as_ref().ok().map(|change| change.version.clone());
            let row = row.with(change.as_ref().map(|change| change.revision));
            self.audited_afterwards(&Row::Policy(Act { about, ..row }));
        }
        let change = change?;
        let view = self.published.load();
        let changes = change
            .scopes
            .iter()
            .map(|change| v1::ScopeChange {
                brand: view.policy.brand_name(change.scope.brand).to_owned(),
                scope: Some(wire_scope(&view.policy, &change.scope)),
                newly_permitted: change.newly_permitted,
                newly_suppressed: change.newly_suppressed,
                unknown_newly_permitted: change.unknown_newly_permitted,
                planes_changed: change.planes_changed,
            })
            .collect();
        Ok(Response::new(ApplyPolicyResponse {
            policy_version: change.version,
            changes,
            revision: Some(revision(&view, change.revision)),
            refused: change.refused.unwrap_or_default(),
            dropped: change.dropped,
        }))
    }

    async fn get_policy(
        &self,
        request: Request<GetPolicyRequest>,
    ) -> Result<Response<GetPolicyResponse>, Status> {
        self.admit(request)?;
        let view = self.published.load();
        Ok(Response::new(GetPolicyResponse {
            policy_version: view.policy.version().to_owned(),
            toml: view.policy.text().to_owned(),
            revision: Some(revision(&view, view.policy_revision)),
        }))
    }

    async fn list_policies(
        &self,
        request: Request<v1::ListPoliciesRequest>,
    ) -> Result<Response<v1::ListPoliciesResponse>, Status> {
        self.admit(request)?;
        let view = self.published.load();
        let rows = tokio::task::block_in_place(|| {
            self.reader.policies(view.policy_revision, caps::LISTED_POLICIES)
        });
        let policies = rows.map_err(unreadable)?.into_iter().map(|row| applied(&view, row));
        Ok(Response::new(v1::ListPoliciesResponse { policies: policies.collect() }))
    }

    async fn purge(
        &self,
        request: Request<v1::PurgeRequest>,
    ) -> Result<Response<v1::PurgeResponse>, Status> {
        let (caller, _) = self.admit(request)?.into_parts();
        let row = act(&Actor::default(), &caller, "*", None);
        self.audited(&Row::Purge(row.clone()))?;
        let view = self.published.load();
        let purged = match self.writer.purge().await {
            Ok(Purged::Done) => Ok(view.revision),
            Ok(Purged::InUse) => Err(status(
                tonic::Code::FailedPrecondition,
                "STORE_IN_USE",
                "an export, a backup or another purge reads what would be purged: try again when \
                 it has ended",
            )),
            Err(error) => {
                tracing::error!(%error, "a purge failed");
                let what = "the purge failed; purge again";
                Err(status(tonic::Code::Internal, "PURGE_FAILED", what))
            }
        };
        self.audited_afterwards(&Row::Purge(row.with(purged.as_ref().copied())));
        let purged = revision(&view, purged?);
        Ok(Response::new(v1::PurgeResponse { revision: Some(purged) }))
    }

    type BackupStream = Answered<v1::BackupResponse>;

    async fn backup(
        &self,
        request: Request<v1::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        self.start_backup(self.admit(request)?).await.map(Response::new)
    }

    async fn accept_restore(
        &self,
        request: Request<v1::AcceptRestoreRequest>,
    ) -> Result<Response<v1::AcceptRestoreResponse>, Status> {
        self.decide_on_loss(self.admit(request)?).await.map(Response::new)
    }

    async fn get_statistics(
        &self,
        request: Request<GetStatisticsRequest>,
    ) -> Result<Response<GetStatisticsResponse>, Status> {
        let request = self.admit(request)?.into_inner();
        self.statistics(request.without_planes).map(Response::new)
    }

    async fn checkpoint(
        &self,
        request: Request<CheckpointRequest>,
    ) -> Result<Response<CheckpointResponse>, Status> {
        let (caller, _) = self.admit(request)?.into_parts();
        let row = act(&Actor::default(), &caller, "*", None);
        self.audited(&Row::Checkpoint(row.clone()))?;
        let reached = self.writer.checkpoint().await.map_err(Status::from);
        self.audited_afterwards(&Row::Checkpoint(row.with(reached.as_ref().copied())));
        let reached = reached?;
        let view = self.published.load();
        Ok(Response::new(CheckpointResponse { revision: Some(revision(&view, reached)) }))
    }

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        self.create_one_token(self.admit(request)?).map(Response::new)
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        Ok(Response::new(self.all_tokens(self.admit(request)?)))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        self.revoke_one_token(self.admit(request)?).map(Response::new)
    }
}

fn applied(view: &View, row: AppliedPolicy) -> v1::AppliedPolicy {
    v1::AppliedPolicy {
        policy_version: row.version,
        revision: Some(revision(view, row.revision)),
        recorded_time_ms: row.recorded_time,
        actor: Some(v1::Actor { role: row.actor.role as i32, id: row.actor.id }),
        note: row.note,
        toml: row.text,
    }
}

pub(super) fn wire_scope(policy: &Policy, scope: &Scope) -> v1::Scope {
    v1::Scope {
        recipient_type: scope.recipient_type as i32,
        channel: policy.channel_name(scope.channel).to_owned(),
        purpose: policy.purpose_name(scope.purpose).to_owned(),
    }
}
