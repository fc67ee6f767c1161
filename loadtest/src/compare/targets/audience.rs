//! P6: an audience as a Roaring bitmap, beside Roaring's own intersection.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use roaring::RoaringTreemap;
use sendgate::{
    client::Client,
    proto::v1::{FilterOptions, FilterRequest, RecipientBatch, filter_request, filter_response},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Side;
use crate::{
    compare::{
        Context, cores,
        findings::{Findings, Row, Samples, Target},
        load::{Batches, Taken},
        population::Refused,
        stores::Holding,
    },
    failure::Failure,
    server::Server,
};

/// Recipients of the audience.
const LIST: usize = 4_000_000;
/// Members of a part: its bytes stay below a message's cap.
const PART: usize = 1_400_000;
/// How often the audience is sent in a round.
const PASSES: usize = 10;

/// A part of the audience, and who of it is permitted.
struct Part {
    bytes: Bytes,
    members: u32,
    permitted: RoaringTreemap,
}

/// Measures the target against a server that holds the phones.
pub async fn run(
    context: &Context,
    server: &Server,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let population = &context.population;
    let list = population.list(6, LIST, Refused::Strangers);
    let mut permitted: Vec<u64> = population.permitted_phones().collect();
    permitted.sort_unstable();
    let permitted = RoaringTreemap::from_sorted_iter(permitted)?;
    let audience: RoaringTreemap =
        list.people.iter().map(|person| population.phone(*person)).collect();
    let parts = Arc::new(parts(&audience, &permitted)?);
    let client = Client::connect(server.endpoint()).await?;
    let (mut ours, mut theirs) = (Side::default(), Samples::default());
    for round in 0..=context.rounds {
        ours.add(round, ask(&client, server.pid(), &parts).await?);
        let begun = Instant::now();
        for _ in 0..PASSES {
            let both = &audience & &permitted;
            if both.len() != parts.iter().map(|part| part.permitted.len()).sum::<u64>() {
                return Err("Roaring's intersection is not that of its parts".into());
            }
        }
        if round > 0 {
            let taken = begun.elapsed().as_secs_f64();
            theirs.add(taken * 1e9 / (PASSES as f64 * audience.len() as f64));
        }
    }
    ours.tell("sendgate, roaring audience", findings);
    findings.took("Roaring AND in process, with its result", &theirs, "ns", None);
    let rate = 1e3 / ours.wall.median();
    findings.row(Row {
        target: "P6",
        what: format!("audience of {} in {} parts / 100 M/s", audience.len(), parts.len()),
        ours: rate,
        theirs: 100.0,
        unit: "M/s",
        due: Target::AtLeast(1.0),
        spread: [ours.wall.spread(), 0.0],
    });
    let what = "audience over gRPC / Roaring AND in process";
    findings.rates("P6", what, [&ours.wall, &theirs], Target::AtLeast(0.5));
    Ok(())
}

/// The audience in parts that end at multiples of 2^16.
fn parts(audience: &RoaringTreemap, permitted: &RoaringTreemap) -> Result<Vec<Part>, Failure> {
    let members: Vec<u64> = audience.iter().collect();
    let pages = members.chunk_by(|a, b| a >> 16 == b >> 16);
    let (mut parts, mut part) = (Vec::new(), Vec::new());
    for page in pages {
        if part.len() + page.len() > PART {
            parts.push(std::mem::take(&mut part));
        }
        part.extend_from_slice(page);
    }
    parts.push(part);
    let made = parts.into_iter().map(|members| {
        let part = RoaringTreemap::from_sorted_iter(members)?;
        let mut bytes = Vec::new();
        part.serialize_into(&mut bytes)?;
        let permitted = &part & permitted;
        Ok(Part { bytes: bytes.into(), members: u32::try_from(part.len())?, permitted })
    });
    made.collect()
}

/// Sends the audience `PASSES` times, all parts of it in flight. Not through the
/// client's own stream, which holds every member of an answer against those
/// asked about: that takes it longer than the server takes to answer.
async fn ask(client: &Client, pid: i32, parts: &Arc<Vec<Part>>) -> Result<Taken, Failure> {
    let options: FilterOptions = Batches::options(Holding::Phones, false);
    let (requests, outgoing) = mpsc::channel(parts.len());
    let (begun, cpu) = (Instant::now(), cores::cpu_time(pid)?);
    let sent = Arc::clone(parts);
    let sending = tokio::spawn(async move {
        let message = Some(filter_request::Message::Options(options));
        // It fails only where the server ended the stream, which then says why.
        let _ = requests.send(FilterRequest { message }).await;
        for part in (0..PASSES).flat_map(|_| sent.iter()) {
            let batch = RecipientBatch { roaring: part.bytes.clone(), ..Default::default() };
            let message = Some(filter_request::Message::Batch(batch));
            if requests.send(FilterRequest { message }).await.is_err() {
                return;
            }
        }
    });
    let mut answers =
        client.filter_service().filter(ReceiverStream::new(outgoing)).await?.into_inner();
    // Read off now and held against the truth once the clock has stopped.
    let mut permitted = Vec::new();
    let mut summary = None;
    while let Some(answer) = answers.message().await? {
        match answer.message {
            Some(filter_response::Message::Answer(answer)) => {
                let scope = answer.scopes.into_iter().next().ok_or("an audience was refused")?;
                permitted.push(scope.permitted);
            }
            Some(filter_response::Message::Summary(it)) => summary = Some(it),
            None => {}
        }
    }
    sending.await?;
    let (wall, cpu) = (begun.elapsed(), cores::cpu_time(pid)?.saturating_sub(cpu));
    if summary.is_none() || permitted.len() != PASSES * parts.len() {
        return Err("the stream ended without all answers".into());
    }
    for (at, (bytes, part)) in permitted.iter().zip(parts.iter().cycle()).enumerate() {
        // Every pass must give the same bytes; they are read once.
        let is_right = match permitted.get(at % parts.len()) {
            Some(first) if at >= parts.len() => first == bytes,
            _ => RoaringTreemap::deserialize_from(bytes.as_ref())? == part.permitted,
        };
        if !is_right {
            return Err("an audience was answered wrongly".into());
        }
    }
    let members: u32 = parts.iter().map(|part| part.members).sum();
    let each = 1e9 / (PASSES as f64 * f64::from(members));
    Ok(Taken { wall: wall.as_secs_f64() * each, cpu: cpu.as_secs_f64() * each })
}
