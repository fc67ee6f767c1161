//! What commands print.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Failure, REJECTED};
use crate::{
    formats::reason_name,
    proto::v1::{
        EventResult, LedgerRecord, Outcome, Reason, Revision, Scope, ledger_record::Event,
    },
};

/// Prints one result line. Unlike `println!` it does not panic when the reader
/// of a pipe has gone.
pub fn line(text: impl AsRef<str>) -> io::Result<()> {
    writeln!(io::stdout(), "{}", text.as_ref())
}

/// Prints a result for programs.
pub fn json(value: &Value) -> io::Result<()> {
    line(format!("{value:#}"))
}

/// A number for people: 1,234,567.
pub fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

/// A time for people and programs, in RFC 3339.
pub fn time(unix_ms: i64) -> String {
    Timestamp::from_millisecond(unix_ms)
        .map_or_else(|_| unix_ms.to_string(), |time| time.to_string())
}

/// A revision for people.
pub fn revision(revision: Option<&Revision>) -> String {
    match revision {
        Some(Revision { epoch, revision }) => format!("revision {revision} of epoch {epoch}"),
        None => "no revision".to_owned(),
    }
}

/// A revision for programs.
pub fn revision_json(revision: Option<&Revision>) -> Value {
    match revision {
        Some(Revision { epoch, revision }) => json!({ "epoch": epoch, "revision": revision }),
        None => Value::Null,
    }
}

/// A scope for people and programs: `individual/sms/marketing`.
pub fn scope(scope: Option<&Scope>) -> String {
    let Some(scope) = scope else { return "-".to_owned() };
    let recipient_type = enum_name(scope.recipient_type().as_str_name(), "RECIPIENT_TYPE_");
    format!("{}/{}/{}", recipient_type.to_lowercase(), scope.channel, scope.purpose)
}

/// The name of an enum value without the prefix that protobuf asks for.
pub fn enum_name<'a>(name: &'a str, prefix: &str) -> &'a str {
    name.strip_prefix(prefix).unwrap_or(name)
}

/// An event of the ledger for programs, without the address: whoever asks
/// knows it.
pub fn record_json(record: &LedgerRecord) -> Value {
    let event = match &record.event {
        Some(Event::Consent(event)) => json!({
            "event": enum_name(event.status().as_str_name(), "CONSENT_STATUS_"),
            "channel": event.channel,
            "purpose": event.purpose,
            "recipient_type":
                enum_name(event.recipient_type().as_str_name(), "RECIPIENT_TYPE_").to_lowercase(),
            "valid_until": event.valid_until_ms.map(time),
            "source": event.source,
            "legal_basis": event.legal_basis,
            "notice_id": event.notice.as_ref().map(|notice| &notice.id),
            "notice_version": event.notice.as_ref().map(|notice| &notice.version),
            "actor_role": event.actor.as_ref().map(|actor| actor_role(actor.role())),
            "actor_id": event.actor.as_ref().map(|actor| &actor.id),
            "collected_by": event.collected_by,
            "evidence_uri": event.evidence.as_ref().map(|evidence| &evidence.uri),
            "event_key": event.event_key,
        }),
        Some(Event::Suppression(entry)) => json!({
            "event": reason_name(entry.reason()),
            "channel": entry.channel,
            "expires_at": entry.expires_at_ms.map(time),
            "source": entry.source,
            "note": entry.note,
            "event_key": entry.event_key,
        }),
        Some(Event::Lift(lift)) => json!({
            "event": format!("LIFT {}", reason_name(lift.reason())),
            "channel": lift.channel,
            "source": lift.source,
            "note": lift.note,
            "event_key": lift.event_key,
        }),
        Some(Event::Erasure(erasure)) => json!({
            "event": "ERASURE",
            "source": erasure.source,
            "note": erasure.note,
        }),
        Some(Event::Policy(policy)) => json!({
            "event": "POLICY",
            "policy_version": policy.policy_version,
            "note": policy.note,
        }),
        Some(Event::Redaction(redaction)) => json!({
            "event": "REDACTION",
            "events": redaction.events,
        }),
        None => Value::Null,
    };
    json!({
        "revision": record.revision,
        "recorded_time": time(record.recorded_time_ms),
        "effective_time": time(record.effective_time_ms),
        "event": event,
    })
}

fn actor_role(role: crate::proto::v1::ActorRole) -> String {
    enum_name(role.as_str_name(), "ACTOR_ROLE_").to_lowercase()
}

/// Prints what became of one event, and says it by the exit code.
///
/// # Errors
/// There is not one result, or it cannot be printed.
pub fn event_result(
    results: Vec<EventResult>,
    visible_at: Option<&Revision>,
    as_json: bool,
) -> Result<ExitCode, Failure> {
    let [result] = <[EventResult; 1]>::try_from(results)
        .map_err(|results| Failure::failed(format!("{} results for one event", results.len())))?;
    let outcome = enum_name(result.outcome().as_str_name(), "OUTCOME_");
    let rejection = result.rejection.as_ref();
    let code = rejection.map(|it| enum_name(it.code().as_str_name(), "REJECT_CODE_"));
    if as_json {
        json(&json!({
            "outcome": outcome,
            "revision": result.revision,
            "visible_at": revision_json(visible_at),
            "rejection": rejection.map(|rejection| json!({
                "code": code,
                "field": rejection.field,
                "message": rejection.message,
            })),
        }))?;
    } else {
        match rejection {
            None => line(format!("{outcome}, revision {}", result.revision))?,
            Some(rejection) => line(format!(
                "{outcome}, {}: {}: {}",
                code.unwrap_or_default(),
                rejection.field,
                rejection.message
            ))?,
        }
    }
    let recorded = matches!(
        result.outcome(),
        Outcome::Applied | Outcome::Superseded | Outcome::Duplicate | Outcome::KeyReused
    );
    Ok(if recorded { ExitCode::SUCCESS } else { ExitCode::from(REJECTED) })
}

/// The name of the plane that holds a reason.
pub fn plane_name(reason: Reason) -> &'static str {
    match reason {
        Reason::Unspecified => "refused",
        Reason::Permitted => "permitted",
        reason => reason_name(reason),
    }
}

/// A bar over `length` bytes, or a spinner where the length is not known.
/// Draws on standard error, and nothing where that is no terminal.
pub fn progress(length: Option<u64>) -> ProgressBar {
    let (bar, template) = match length {
        Some(length) => (
            ProgressBar::new(length),
            "{bar:32} {percent:>3} %  {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes}  {bytes_per_sec}  {elapsed}"),
    };
    let style = ProgressStyle::with_template(template);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
