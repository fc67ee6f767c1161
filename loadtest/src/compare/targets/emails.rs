//! P4 and P13: e-mails, which a directory turns into what planes hold.

use std::sync::Arc;

use sendgate::{client::Client, proto::v1::GetStatisticsRequest};

use super::Side;
use crate::{
    compare::{
        Context,
        findings::{Findings, Row, Samples, Target},
        load::{Batches, Driver},
        peers::redis::{Members, Question, Redis},
        population::Refused,
        stores::Holding,
    },
    failure::Failure,
    server::Server,
};

/// Recipients of the list.
const LIST: usize = 1_000_000;
/// How often the list is sent in a round.
const PASSES: usize = 2;
/// Recipients that Redis is asked about in a round.
const REDIS_LIST: usize = 400_000;

const QUESTIONS: [(&str, Question); 2] = [
    ("SMISMEMBER of 100 e-mails", Question::SetMembers(100)),
    ("SMISMEMBER of 1,000 e-mails", Question::SetMembers(1_000)),
];

/// Measures the targets against a server that holds the e-mails.
pub async fn run(
    context: &Context,
    server: &Server,
    findings: &mut Findings,
) -> Result<(), Failure> {
    if context.wants(&["P13"]) {
        memory(server, findings).await?;
    }
    if !context.wants(&["P4"]) {
        return Ok(());
    }
    let population = &context.population;
    let list = population.list(4, LIST, Refused::Strangers);
    let email = |person| population.email(person);
    let lines = Arc::new(Batches::lines(Holding::Emails, population, &list, email));
    let mut redis = Redis::start(&context.cache, Members::Emails, population)?;
    let asked = list.people.get(..REDIS_LIST).unwrap_or_default();
    let commands = QUESTIONS
        .map(|(_, question)| Redis::commands(question, Members::Emails, population, asked));
    let ours_at = Driver::connect(server.endpoint(), server.pid(), true).await?;
    let mut ours = Side::default();
    let mut theirs = QUESTIONS.map(|_| Side::default());
    for round in 0..=context.rounds {
        ours.add(round, ours_at.run(&lines, PASSES).await?);
        if let Some(redis) = &mut redis {
            for (side, commands) in theirs.iter_mut().zip(&commands) {
                side.add(round, redis.ask(commands)?);
            }
        }
    }
    ours.tell("sendgate, lines of e-mails", findings);
    if redis.is_none() {
        findings.skip("P4", super::NO_REDIS);
        return Ok(());
    }
    for ((name, _), side) in QUESTIONS.iter().zip(&theirs) {
        side.tell(&format!("Redis {name}"), findings);
    }
    if let Some((name, side)) = super::best(&QUESTIONS, &theirs, |_| true) {
        let what = format!("lines of e-mails / Redis {name}");
        findings.rates("P4", what, [&ours.wall, &side.wall], Target::AtLeast(6.0));
    }
    Ok(())
}

/// P13: what the directory takes, as the running server counts it.
async fn memory(server: &Server, findings: &mut Findings) -> Result<(), Failure> {
    let client = Client::connect(server.endpoint()).await?;
    let request = GetStatisticsRequest::default();
    let statistics = client.admin_service().get_statistics(request).await?.into_inner();
    let (bytes, emails) = (statistics.directory_bytes as f64, statistics.emails as f64);
    findings.row(Row {
        target: "P13",
        what: format!("directory of {} e-mails, bytes each / 32", statistics.emails),
        ours: bytes / emails,
        theirs: 32.0,
        unit: "B",
        due: Target::AtMost(1.0),
        spread: [0.0; 2],
    });
    let mut resident = Samples::default();
    resident.add(server.memory_bytes()? as f64 / emails);
    findings.took("sendgate's whole process, an e-mail in it", &resident, "B", None);
    Ok(())
}
