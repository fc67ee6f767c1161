//! `erase`, `purge` and `rectify`: the rights of the person (R11).

use std::process::ExitCode;

use serde_json::json;

use super::{
    Failure, REJECTED,
    args::{ActorArgs, AddressArgs},
    output,
};
use crate::{
    client::Client,
    proto::v1::{ActorRole, EraseRequest, Erasure, ErasureResult, PurgeRequest, RectifyRequest},
};

/// Arguments of `erase`.
///
/// Payloads and the address leave the ledger, the planes and the directory. A
/// keyed fingerprint stays, so that no old list brings the person back. The
/// bytes leave the files with --purge, which takes as long as rewriting the
/// store; several erasures need one purge.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct EraseArgs {
    /// The contact, in any accepted spelling
    #[arg(allow_hyphen_values = true)]
    address: String,
    /// The brand; '*' for all brands
    #[arg(long, env = "SENDGATE_BRAND")]
    brand: String,
    #[command(flatten)]
    reading: AddressArgs,
    /// Where the request comes from
    #[arg(long, default_value = "")]
    source: String,
    /// A remark, without personal data: it is kept
    #[arg(long, default_value = "")]
    note: String,
    #[command(flatten)]
    by: ActorArgs,
    /// Also rewrite the store's files, so that no byte is left in them
    #[arg(long)]
    purge: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `purge`.
#[derive(clap::Args)]
pub struct PurgeArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `rectify`.
#[derive(clap::Args)]
pub struct RectifyArgs {
    /// The wrong address
    #[arg(allow_hyphen_values = true)]
    from: String,
    /// The right address
    #[arg(allow_hyphen_values = true)]
    to: String,
    /// The brand
    #[arg(long, env = "SENDGATE_BRAND")]
    brand: String,
    #[command(flatten)]
    reading: AddressArgs,
    /// Where the request comes from
    #[arg(long, default_value = "")]
    source: String,
    #[command(flatten)]
    by: ActorArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Erases a contact.
pub async fn erase(client: &Client, args: EraseArgs) -> Result<ExitCode, Failure> {
    let erasure = Erasure {
        brand: args.brand,
        contact: Some(args.reading.contact(args.address)),
        source: args.source,
        note: args.note,
        actor: args.by.actor(ActorRole::Staff),
    };
    let request = EraseRequest { erasures: vec![erasure] };
    let response = client.consent_service().erase(request).await?.into_inner();
    let [result] = <[ErasureResult; 1]>::try_from(response.results)
        .map_err(|results| Failure::failed(format!("{} results for one", results.len())))?;
    if let Some(rejection) = result.rejection {
        output::line(format!("REJECTED: {}: {}", rejection.field, rejection.message))?;
        return Ok(ExitCode::from(REJECTED));
    }
    let purged = if args.purge { Some(run_purge(client).await?) } else { None };
    if args.json {
        output::json(&json!({
            "revision": result.revision,
            "events": result.events,
            "survivors": result.survivors,
            "purged_up_to": purged,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(format!(
        "erased, revision {}: {} events lost their content, {} blocks outlive it",
        result.revision, result.events, result.survivors
    ))?;
    match purged {
        Some(revision) => output::line(format!("purged up to revision {revision}"))?,
        None => eprintln!("bytes may still stand in the store's files until `sendgate purge`"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Rewrites the store's files.
pub async fn purge(client: &Client, args: PurgeArgs) -> Result<ExitCode, Failure> {
    let revision = run_purge(client).await?;
    if args.json {
        output::json(&json!({ "purged_up_to": revision }))?;
    } else {
        output::line(format!("purged up to revision {revision}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn run_purge(client: &Client) -> Result<u64, Failure> {
    let response = client.admin_service().purge(PurgeRequest {}).await?.into_inner();
    Ok(response.revision.map_or(0, |revision| revision.revision))
}

/// Moves a contact to its right address.
pub async fn rectify(client: &Client, args: RectifyArgs) -> Result<ExitCode, Failure> {
    let request = RectifyRequest {
        brand: args.brand,
        from: Some(args.reading.contact(args.from)),
        to: Some(args.reading.contact(args.to)),
        source: args.source,
        actor: args.by.actor(ActorRole::Staff),
    };
    let done = client.consent_service().rectify(request).await?.into_inner();
    if args.json {
        output::json(&json!({
            "rectification": done.rectification,
            "moved": done.moved,
            "kept": done.kept,
        }))?;
    } else {
        output::line(format!(
            "rectified, revision {}: {} consents moved, {} did not, as the right address has \
             records of its own; the wrong one is withdrawn",
            done.rectification, done.moved, done.kept
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
