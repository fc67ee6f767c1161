//! Backups, streamed; and what a restored store waits for.

use std::io::Read;

use sha2::{Digest, Sha256};
use tokio::time::timeout;
use tonic::{Code, Status};

use super::{
    Services,
    answered::{Answered, Answers},
    audited::act,
    convert,
    gate::Admitted,
    question::revision,
    status::{invalid, status},
    supervised::supervised,
};
use crate::{
    audit::{Act, Row},
    caps,
    proto::v1::{
        self, AcceptRestoreRequest, AcceptRestoreResponse, BackupFile, BackupRequest,
        BackupResponse, BackupSummary, accept_restore_request, backup_response::Part,
    },
    writer::{Backup, Loss, Restored},
};

impl Services {
    pub(super) async fn start_backup(
        &self,
        request: Admitted<BackupRequest>,
    ) -> Result<Answered<BackupResponse>, Status> {
        let (caller, request) = request.into_parts();
        let actor = convert::actor(request.actor)?;
        if self.published.restoration().is_some_and(|restored| restored.is_undecided()) {
            // Restored from again, it would have forgotten the first loss.
            return Err(status(
                Code::FailedPrecondition,
                "RESTORED",
                "the store was restored and nobody has decided on its loss: keep the backup that \
                 it was made of, and take another one when the store serves",
            ));
        }
        let row = act(&actor, &caller, "*", None);
        self.audited(&Row::Backup(row.clone()))?;
        let backup = self.writer.backup().await.map_err(|error| {
            tracing::error!(%error, "a backup could not be begun");
            let what = "the server could not copy its ledger: look at its disk and its log";
            status(Code::Internal, "BACKUP_FAILED", what)
        });
        let backup = backup.and_then(|backup| {
            let what = "another backup or a purge runs: try again when it has ended";
            backup.ok_or_else(|| status(Code::FailedPrecondition, "STORE_IN_USE", what))
        });
        let backup = match backup {
            Ok(backup) => backup,
            Err(status) => {
                self.audited_afterwards(&Row::Backup(row.with(Err(&status))));
                return Err(status);
            }
        };
        let (services, interruption) = (self.clone(), self.when_stopped(&caller));
        Ok(supervised(caps::MESSAGES_AHEAD, interruption, move |answers| async move {
            let ended = answers.interruption().or(services.send_backup(&backup, &answers)).await;
            let reached = ended.as_ref().map(|()| backup.head().revision);
            // Its files take the disk a while: others get this thread.
            tokio::task::block_in_place(|| drop(backup));
            services.audited_afterwards(&Row::Backup(row.with(reached)));
            ended
        }))
    }

    async fn send_backup(
        &self,
        backup: &Backup,
        answers: &Answers<BackupResponse>,
    ) -> Result<(), Status> {
        let mut files = Vec::with_capacity(backup.files().len());
        for (name, bytes) in backup.files() {
            let begun =
                BackupFile { name: name.clone(), bytes: *bytes, sha256: Default::default() };
            send(answers, Part::File(begun)).await?;
            let mut file = backup.open(name).map_err(unreadable)?;
            let (mut digest, mut sent) = (Sha256::new(), 0);
            loop {
                let part = tokio::task::block_in_place(|| {
                    let mut part = Vec::with_capacity(caps::BACKUP_BYTES);
                    file.by_ref().take(caps::BACKUP_BYTES as u64).read_to_end(&mut part)?;
                    digest.update(&part);
                    Ok(part)
                });
                let part: Vec<u8> = part.map_err(unreadable)?;
                if part.is_empty() {
                    break;
                }
                sent += part.len() as u64;
                send(answers, Part::Data(part.into())).await?;
            }
            let sha256 = digest.finalize().to_vec().into();
            files.push(BackupFile { name: name.clone(), bytes: sent, sha256 });
        }
        let head = backup.head();
        let summary = BackupSummary {
            revision: Some(revision(&self.published.load(), head.revision)),
            chain_head: head.chain.iter().map(|byte| format!("{byte:02x}")).collect(),
            created_time_ms: self.published.load().as_of(),
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            files,
        };
        send(answers, Part::Summary(summary)).await
    }

    pub(super) async fn decide_on_loss(
        &self,
        request: Admitted<AcceptRestoreRequest>,
    ) -> Result<AcceptRestoreResponse, Status> {
        let (caller, request) = request.into_parts();
        use accept_restore_request::Loss as Asked;
        let actor = convert::actor(request.actor)?;
        let (loss, of, about) = match request.loss {
            Some(Asked::ReplayedTo(of)) => {
                (Loss::ReplayedTo(of.revision), of.epoch, format!("replayed to {}", of.revision))
            }
            Some(Asked::LostSince(of)) => {
                (Loss::AcceptedSince(of.revision), of.epoch, format!("lost since {}", of.revision))
            }
            None => return Err(invalid("loss", "say what became of the events after the backup")),
        };
        let restored = self.published.restoration();
        if let Some(restored) = restored.filter(|it| format!("{:032x}", it.former_epoch) != of) {
            let what = format!(
                "the revision is of epoch {of:?}, and the backup of epoch {:032x}: name a revision \
                 of that one",
                restored.former_epoch
            );
            return Err(status(Code::FailedPrecondition, "FOREIGN_EPOCH", what));
        }
        let row = Act { about: Some(about), ..act(&actor, &caller, "*", None) };
        self.audited(&Row::AcceptRestore(row.clone()))?;
        let accepted = self.writer.accept_restore(loss).await.map_err(Status::from);
        self.audited_afterwards(&Row::AcceptRestore(row.with(accepted.as_ref().copied())));
        let view = self.published.load();
        Ok(AcceptRestoreResponse { revision: Some(revision(&view, accepted?)) })
    }
}

/// Where a restored store comes from, as it travels.
pub(super) fn restored_from(restored: Restored) -> v1::RestoredFrom {
    let (replayed_to, lost_since) = match restored.loss {
        Loss::Unknown => (None, None),
        Loss::ReplayedTo(revision) => (Some(revision), None),
        Loss::AcceptedSince(revision) => (None, Some(revision)),
    };
    v1::RestoredFrom {
        backup: Some(v1::Revision {
            epoch: format!("{:032x}", restored.former_epoch),
            revision: restored.former_revision,
        }),
        restored_time_ms: restored.restored_at,
        replayed_to,
        lost_since,
    }
}

fn unreadable(error: std::io::Error) -> Status {
    tracing::error!(%error, "the copy for a backup could not be read");
    status(Code::Internal, "BACKUP_FAILED", "the server could not read its copy of the ledger")
}

/// Waits a while for a slow reader, and not for ever.
async fn send(answers: &Answers<BackupResponse>, part: Part) -> Result<(), Status> {
    let part = BackupResponse { part: Some(part) };
    let sent = timeout(caps::BACKUP_PATIENCE, answers.send(part)).await;
    let has_reader = sent.map_err(|_| {
        let what = "the backup waited a minute for its reader and ended; begin anew";
        status(Code::Aborted, "READER_TOO_SLOW", what)
    })??;
    if has_reader {
        Ok(())
    } else {
        Err(status(Code::Cancelled, "GONE", "the client has gone away"))
    }
}
