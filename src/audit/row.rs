//! The rows of the audit log.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::Serialize;

/// A row of the log.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Row {
    /// How far the ledger had come: a later cut or rewrite of the ledger shows
    /// against a copy of this row that is kept elsewhere.
    Head(Head),
    /// The events of a contact were read.
    History(Read),
    /// A verdict was explained.
    Explain(Read),
    /// The contacts of a scope were exported.
    Export(Read),
    /// Committed events were read as they came.
    Watch(Read),
    /// A contact was erased.
    Erase(Act),
    /// A contact was moved to its right address.
    Rectify(Act),
    /// A policy was applied.
    Policy(Act),
    /// The store's files were rewritten.
    Purge(Act),
    /// Changed pages were written to disk.
    Checkpoint(Act),
    /// A backup was taken.
    Backup(Act),
    /// The store was made of a backup: the first row of its log.
    Restore(Restore),
    /// Somebody decided on what a restored store has lost.
    AcceptRestore(Act),
    /// A token was created.
    CreateToken(Act),
    /// A token was revoked.
    RevokeToken(Act),
    /// The tokens that a server starts with, however they came to be.
    Tokens(TokensInForce),
    /// The deciding record of a recipient was read.
    Check(Read),
    /// A filter stream ended.
    Filter(FilterStream),
    /// A call was denied.
    Denied(Denial),
    /// Denials that have no row, because there were so many.
    DenialsLeftOut(LeftOut),
}

/// A point of the ledger.
#[derive(Clone, Debug, Serialize)]
pub struct Head {
    /// When in the server's life: `start`, `running` or `stop`.
    pub when: &'static str,
    /// The name of the history.
    pub epoch: String,
    /// The last revision.
    pub revision: u64,
    /// The chain up to it, in hexadecimal.
    pub chain: String,
}

/// Where a restored store comes from.
#[derive(Clone, Debug, Serialize)]
pub struct Restore {
    /// The epoch of the store that the backup was taken of.
    pub former_epoch: String,
    /// The last revision of it in the backup.
    pub former_revision: u64,
    /// The chain up to it, in hexadecimal.
    pub chain: String,
    /// The epoch of the restored store.
    pub epoch: String,
}

/// Somebody who asks.
#[derive(Clone, Debug, Serialize)]
pub struct Asker {
    /// The role that they claim.
    pub role: &'static str,
    /// The name that they give.
    pub id: String,
    /// The name of the token that they showed; none where none is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Where the connection comes from.
    pub peer: Option<SocketAddr>,
}

/// Something that somebody does to the store. It has two rows: one before,
/// without which it does not happen, and one that says what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Act {
    /// Who does it.
    pub by: Asker,
    /// The brand; `*` for all brands, and for what concerns the whole store.
    pub brand: String,
    /// To whom, masked; or which policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// What came of it: `begun`, `done`, or the code of an error.
    pub outcome: String,
    /// The revision that it has in the ledger; 0 if none.
    pub revision: u64,
}

/// A read of what was recorded of people.
#[derive(Clone, Debug, Serialize)]
pub struct Read {
    /// Who asked.
    pub asked_by: Asker,
    /// The brand; `*` for all brands.
    pub brand: String,
    /// About whom, masked; none where it is about everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The scope asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// What came of it: `answered`, `begun`, `ended`, or the code of an error.
    pub outcome: String,
    /// Events or contacts that were given out by then.
    pub count: u64,
}

/// What a server may be asked by whom, as it starts.
#[derive(Clone, Debug, Serialize)]
pub struct TokensInForce {
    /// False: there are no tokens, and everybody may do everything.
    pub required: bool,
    /// Name, roles and brands of each.
    pub tokens: Vec<String>,
}

/// A filter stream that is over.
#[derive(Clone, Debug, Serialize)]
pub struct FilterStream {
    /// The name of the token that it was opened with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Where the connection comes from.
    pub peer: Option<SocketAddr>,
    /// The brand; empty if the stream never said.
    pub brand: String,
    /// How it ended: `ended`, or the code of an error.
    pub outcome: String,
    /// What was answered; none if the server failed and does not know.
    #[serde(flatten)]
    pub answered: Option<Answered>,
}

/// What a filter stream answered.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Answered {
    /// Batches with verdicts.
    pub batches: u64,
    /// Batches that were refused.
    pub refused_batches: u64,
    /// For each scope, in the order of the stream's options.
    pub scopes: Vec<AnsweredScope>,
    /// The name of the history.
    pub epoch: String,
    /// The revision of the first answer; 0 if there was none.
    pub first_revision: u64,
    /// The revision of the last answer.
    pub last_revision: u64,
    /// The policies that decided, in order; of very many, the first and the last.
    pub policy_versions: Vec<String>,
}

/// What a filter stream answered in one scope.
#[derive(Clone, Debug, Serialize)]
pub struct AnsweredScope {
    /// The scope.
    pub scope: String,
    /// Recipients that were decided on.
    pub recipients: u64,
    /// Those that were permitted.
    pub permitted: u64,
    /// How many for which reason; empty where the stream did not ask for reasons.
    pub reasons: BTreeMap<&'static str, u64>,
}

/// A call that was denied.
#[derive(Clone, Debug, Serialize)]
pub struct Denial {
    /// The method.
    pub method: &'static str,
    /// Why, as in the ErrorInfo of the answer.
    pub reason: &'static str,
    /// The name of the token; none if it was none of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Where the connection comes from.
    pub peer: Option<SocketAddr>,
    /// The brand that was asked for, where that was the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brand: Option<String>,
}

/// Denials without a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Of callers without a valid token.
    pub of_strangers: u64,
    /// Of callers with one.
    pub of_tokens: u64,
}
