//! Grants consent to the population through `Import`.

use std::time::{Duration, Instant};

use sendgate::{
    cli::generate::people::People,
    client::{Client, ClientError, ImportStream},
    proto::v1::{
        ConsentEvent, ConsentStatus, Contact, ContactKind, ImportItem, RecipientType, Scope,
        StatedTime, import_item,
    },
};

/// Items of one chunk: the server's cap.
const CHUNK_ITEMS: u64 = 10_000;
const IN_FLIGHT: usize = 4;
/// When everybody consented. Fixed, so that populating again changes nothing.
const CONSENTED_MS: i64 = 1_700_000_000_000;

/// Imports a grant for each of `count` people; returns how long it took.
pub async fn populate(
    client: &Client,
    brand: &str,
    scope: &Scope,
    people: &People,
    count: u64,
) -> Result<Duration, ClientError> {
    let begun = Instant::now();
    let mut stream = ImportStream::new(client.clone(), IN_FLIGHT);
    let mut next = 0;
    loop {
        while next < count && stream.has_room() {
            let end = count.min(next + CHUNK_ITEMS);
            let mobiles = (next..end).filter_map(|person| people.mobile(person));
            stream.send((), mobiles.map(|phone| grant(brand, scope, phone)).collect());
            next = end;
        }
        if next == count {
            stream.close();
        }
        match stream.next().await? {
            Some(chunk) if chunk.counts.rejected > 0 => {
                let reason = chunk.rejections.into_iter().find_map(|item| item.rejection);
                let message = reason.map(|reason| reason.message).unwrap_or_default();
                return Err(ClientError::Contract(format!("a grant was rejected: {message}")));
            }
            Some(_) => {}
            None => return Ok(begun.elapsed()),
        }
    }
}

fn grant(brand: &str, scope: &Scope, phone: u64) -> ImportItem {
    let event = ConsentEvent {
        brand: brand.to_owned(),
        contact: Some(Contact {
            kind: ContactKind::Phone.into(),
            address: format!("+{phone}"),
            default_region: String::new(),
        }),
        recipient_type: RecipientType::Individual.into(),
        channel: scope.channel.clone(),
        purpose: scope.purpose.clone(),
        status: ConsentStatus::Granted.into(),
        consent_time: Some(StatedTime { unix_ms: CONSENTED_MS, ..Default::default() }),
        source: "loadtest".to_owned(),
        ..Default::default()
    };
    ImportItem { change: Some(import_item::Change::Consent(event)) }
}
