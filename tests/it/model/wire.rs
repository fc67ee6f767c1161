//! The model's words on the wire, and the server's answers back.

use sendgate::proto::v1::{
    Actor, ActorRole, AnswerForm, BatchAnswer, ConsentEvent, ConsentStatus, Contact, ContactKind,
    FilterOptions, FilterRequest, FilterSummary, ImportItem, Lift, Precision as WirePrecision,
    RecipientBatch, RecipientType, Scope as WireScope, StatedTime, Suppression, filter_request,
    filter_response, import_item,
};

use super::words::{Precision, Role, Said, Scope, Stated, Type, What};
use crate::support::TestServer;

/// A contact in one of its spellings.
pub fn contact(kind: ContactKind, address: &str) -> Contact {
    let default_region = if kind == ContactKind::Phone { "TR" } else { "" };
    Contact {
        kind: kind.into(),
        address: address.to_owned(),
        default_region: default_region.to_owned(),
    }
}

/// An event as the caller sends it, with the address in one of its spellings.
pub fn item(said: &Said, kind: ContactKind, address: &str) -> ImportItem {
    let contact = Some(contact(kind, address));
    let brand = said.brand.unwrap_or("*").to_owned();
    let time = said.time.map(stated);
    let (event_key, source) = (said.key.to_owned(), said.source.to_owned());
    let actor = Some(Actor { role: role(said.role).into(), id: String::new() });
    let any = |name: Option<&str>| name.unwrap_or_default().to_owned();
    let change = match said.what {
        What::Consent { granted, types, level, until } => {
            let status = if granted { ConsentStatus::Granted } else { ConsentStatus::Withdrawn };
            import_item::Change::Consent(ConsentEvent {
                brand,
                contact,
                recipient_type: types.map_or(0, |each| recipient_type(each).into()),
                channel: any(level.channel),
                purpose: any(level.purpose),
                status: status.into(),
                consent_time: time,
                valid_until_ms: until,
                source,
                actor,
                event_key,
                ..ConsentEvent::default()
            })
        }
        What::Suppression { channel, reason, end } => {
            import_item::Change::Suppression(Suppression {
                brand,
                contact,
                channel: any(channel),
                reason: reason.into(),
                since: time,
                expires_at_ms: end,
                source,
                actor,
                event_key,
                ..Suppression::default()
            })
        }
        What::Lift { channel, reason } => import_item::Change::Lift(Lift {
            brand,
            contact,
            channel: any(channel),
            reason: reason.into(),
            time,
            source,
            actor,
            event_key,
            ..Lift::default()
        }),
    };
    ImportItem { change: Some(change) }
}

/// Asks one stream; returns its answers and its summary.
pub async fn ask(
    server: &TestServer,
    scope: &Scope,
    kind: ContactKind,
    form: AnswerForm,
    deduplicate: bool,
    batches: Vec<RecipientBatch>,
) -> (Vec<BatchAnswer>, FilterSummary) {
    let options = FilterOptions {
        brand: scope.brand.to_owned(),
        scopes: vec![wire_scope(scope)],
        contact_kind: kind.into(),
        default_region: if kind == ContactKind::Phone { "TR".to_owned() } else { String::new() },
        answer_form: form.into(),
        deduplicate,
        ..FilterOptions::default()
    };
    let batches = batches.into_iter().map(filter_request::Message::Batch);
    let messages = std::iter::once(filter_request::Message::Options(options)).chain(batches);
    let requests: Vec<FilterRequest> =
        messages.map(|message| FilterRequest { message: Some(message) }).collect();
    let mut stream =
        server.filter().filter(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let mut answers = Vec::new();
    while let Some(response) = stream.message().await.unwrap() {
        match response.message.unwrap() {
            filter_response::Message::Answer(answer) => answers.push(answer),
            filter_response::Message::Summary(summary) => return (answers, summary),
        }
    }
    panic!("the stream ended without a summary");
}

pub fn wire_scope(scope: &Scope) -> WireScope {
    WireScope {
        recipient_type: recipient_type(scope.recipient_type).into(),
        channel: scope.channel.to_owned(),
        purpose: scope.purpose.to_owned(),
    }
}

fn recipient_type(each: Type) -> RecipientType {
    match each {
        Type::Individual => RecipientType::Individual,
        Type::Merchant => RecipientType::Merchant,
    }
}

fn stated(time: Stated) -> StatedTime {
    let precision = match time.precision {
        Precision::Millisecond => WirePrecision::Millisecond,
        Precision::Second => WirePrecision::Second,
        Precision::Minute => WirePrecision::Minute,
        Precision::Day => WirePrecision::Day,
    };
    StatedTime { unix_ms: time.at, precision: precision.into() }
}

fn role(role: Role) -> ActorRole {
    match role {
        Role::Customer => ActorRole::Customer,
        Role::Staff => ActorRole::Staff,
        Role::System => ActorRole::System,
    }
}
