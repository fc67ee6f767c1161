//! PostgreSQL: an indexed table of phones that batches are joined with, and a
//! table of current consents that events are inserted into.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    pin::pin,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::SinkExt;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls, types::ToSql};

use crate::{
    compare::{
        child::Child,
        population::{Population, SEED},
    },
    failure::Failure,
};

/// Where Debian puts its programs, newest first.
const FOLDERS: [&str; 4] = [
    "/usr/lib/postgresql/18/bin",
    "/usr/lib/postgresql/17/bin",
    "/usr/lib/postgresql/16/bin",
    "/usr/lib/postgresql/15/bin",
];
/// It refuses to run as root; the package makes this user.
const USER: &str = "postgres";
/// Events of one INSERT.
const BATCH: usize = 1_000;
/// Settings that differ from the defaults: memory for the whole table, and no
/// checkpoints in the middle of a round. A commit is synced, as ours is.
const SETTINGS: [&str; 8] = [
    "listen_addresses=",
    "shared_buffers=2GB",
    "work_mem=64MB",
    "max_wal_size=4GB",
    "synchronous_commit=on",
    "fsync=on",
    "jit=off",
    "log_min_messages=log",
];

/// A running PostgreSQL.
pub struct Postgres {
    client: Client,
    /// Carries what the client says until that is dropped.
    connection: JoinHandle<()>,
    child: Child,
    /// Holds the socket.
    _folder: TempDir,
}

/// Whom its programs run as: the user and group IDs, if not as us.
type Owner = Option<(u32, u32)>;

impl Postgres {
    /// Starts it on what was kept from an earlier run, or fills it. `None` where
    /// it is not installed, or we are root and its user is missing.
    pub async fn start(cache: &Path, population: &Population) -> Result<Option<Self>, Failure> {
        let Some(programs) = FOLDERS.iter().map(Path::new).find(|it| it.join("initdb").exists())
        else {
            return Ok(None);
        };
        let is_root = rustix::process::geteuid().is_root();
        let owner = if is_root { user()? } else { None };
        if is_root && owner.is_none() {
            return Ok(None);
        }
        let data = cache.join(format!("postgres-1-{SEED}-{}", population.permitted));
        let done = data.with_extension("done");
        if !done.exists() {
            make(programs, &data, owner)?;
        }
        let folder = tempfile::tempdir()?;
        own(folder.path(), owner)?;
        let mut command = program(&programs.join("postgres"), owner);
        command.arg("-D").arg(&data).arg("-k").arg(folder.path());
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        let child = Child::start("postgres", command)?;
        child.wait_for("ready to accept", Duration::from_secs(120))?;
        let (client, connection) = connect(folder.path()).await?;
        let mut postgres = Self { client, connection, child, _folder: folder };
        if !done.exists() {
            eprintln!("filling PostgreSQL with {} phones, once", population.permitted);
            postgres.fill(population).await?;
            fs::File::create(&done)?.sync_all()?;
        }
        Ok(Some(postgres))
    }

    /// Its version.
    pub async fn version(&self) -> Result<String, Failure> {
        Ok(self.client.query_one("SHOW server_version", &[]).await?.try_get(0)?)
    }

    /// Joins batches with the table, each sent as an array; whether each phone is
    /// in it, in order.
    pub async fn join_arrays(&self, batches: &[Vec<i64>]) -> Result<(f64, Vec<bool>), Failure> {
        let statement = self
            .client
            .prepare(
                "SELECT p.phone IS NOT NULL \
                 FROM unnest($1::bigint[]) WITH ORDINALITY AS list (phone, place) \
                 LEFT JOIN people p ON p.phone = list.phone ORDER BY place",
            )
            .await?;
        let (begun, mut answers) = (Instant::now(), Vec::new());
        for batch in batches {
            for row in self.client.query(&statement, &[batch]).await? {
                answers.push(row.try_get(0)?);
            }
        }
        let taken = begun.elapsed().as_secs_f64() * 1e9 / answers.len() as f64;
        Ok((taken, answers))
    }

    /// Joins batches with the table, each copied into a temporary table first;
    /// whether each phone is in it, in order.
    pub async fn join_copies(&self, batches: &[Vec<i64>]) -> Result<(f64, Vec<bool>), Failure> {
        self.client
            .batch_execute("CREATE TEMPORARY TABLE IF NOT EXISTS list (phone bigint, place int)")
            .await?;
        let statement = self
            .client
            .prepare(
                "SELECT p.phone IS NOT NULL FROM list LEFT JOIN people p USING (phone) \
                 ORDER BY place",
            )
            .await?;
        let (begun, mut answers) = (Instant::now(), Vec::new());
        for batch in batches {
            self.client.batch_execute("TRUNCATE list").await?;
            let rows = batch.iter().enumerate().map(|(place, phone)| format!("{phone}\t{place}\n"));
            let mut sink = pin!(self.client.copy_in("COPY list FROM STDIN").await?);
            sink.send(Bytes::from(rows.collect::<String>())).await?;
            sink.close().await?;
            for row in self.client.query(&statement, &[]).await? {
                answers.push(row.try_get(0)?);
            }
        }
        let taken = begun.elapsed().as_secs_f64() * 1e9 / answers.len() as f64;
        Ok((taken, answers))
    }

    /// Makes an empty table of current consents.
    pub async fn make_consents(&mut self) -> Result<(), Failure> {
        let table = "DROP TABLE IF EXISTS consents; CREATE TABLE consents (\
                     brand text, phone bigint, recipient_type smallint, channel text, \
                     purpose text, granted boolean, consent_time bigint, source text, \
                     recorded_time timestamptz DEFAULT now(), \
                     PRIMARY KEY (brand, phone, recipient_type, channel, purpose))";
        Ok(self.client.batch_execute(table).await?)
    }

    /// Inserts grants of phones, each batch a synced transaction: a newer one
    /// replaces an older.
    pub async fn insert(&self, phones: &[u64], time_ms: i64) -> Result<(), Failure> {
        let statement = self
            .client
            .prepare(
                "INSERT INTO consents \
                 SELECT 'main', phone, 1, 'sms', 'marketing', true, time, 'loadtest' \
                 FROM unnest($1::bigint[], $2::bigint[]) AS list (phone, time) \
                 ON CONFLICT (brand, phone, recipient_type, channel, purpose) DO UPDATE \
                 SET granted = excluded.granted, consent_time = excluded.consent_time, \
                     source = excluded.source, recorded_time = now() \
                 WHERE excluded.consent_time > consents.consent_time",
            )
            .await?;
        for batch in phones.chunks(BATCH) {
            let phones = numbers(batch);
            let times = vec![time_ms; batch.len()];
            let parameters: [&(dyn ToSql + Sync); 2] = [&phones, &times];
            let written = self.client.execute(&statement, &parameters).await?;
            if written != batch.len() as u64 {
                return Err(format!("PostgreSQL wrote {written} of {} events", batch.len()).into());
            }
        }
        Ok(())
    }

    /// Ends it in good order, so that it starts quickly next time.
    pub async fn stop(self) -> Result<(), Failure> {
        drop(self.client);
        // Its last words are on the way.
        self.connection.await?;
        self.child.stop(Signal::INT)
    }

    async fn fill(&mut self, population: &Population) -> Result<(), Failure> {
        self.client.batch_execute("CREATE TABLE people (phone bigint)").await?;
        let mut sink = pin!(self.client.copy_in("COPY people FROM STDIN").await?);
        let phones: Vec<u64> = population.permitted_phones().collect();
        for phones in phones.chunks(BATCH) {
            let lines: String = phones.iter().map(|phone| format!("{phone}\n")).collect();
            sink.send(Bytes::from(lines)).await?;
        }
        sink.close().await?;
        self.client.batch_execute("ALTER TABLE people ADD PRIMARY KEY (phone)").await?;
        self.client.batch_execute("VACUUM ANALYZE people").await?;
        Ok(())
    }
}

/// Numbers as PostgreSQL takes them.
pub fn numbers(phones: &[u64]) -> Vec<i64> {
    phones.iter().filter_map(|phone| i64::try_from(*phone).ok()).collect()
}

async fn connect(socket: &Path) -> Result<(Client, JoinHandle<()>), Failure> {
    let (client, connection) =
        Config::new().host_path(socket).user(USER).dbname("postgres").connect(NoTls).await?;
    let connection = tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("the connection to PostgreSQL ended: {error}");
        }
    });
    Ok((client, connection))
}

/// Makes an empty database.
fn make(programs: &Path, data: &PathBuf, owner: Owner) -> Result<(), Failure> {
    if data.exists() {
        fs::remove_dir_all(data)?;
    }
    fs::create_dir(data)?;
    own(data, owner)?;
    let mut command = program(&programs.join("initdb"), owner);
    command.args(["--locale=C", "--encoding=UTF8", "--auth=trust", "--username", USER, "-D"]);
    let made = command.arg(data).stdin(Stdio::null()).output()?;
    if made.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&made.stderr).trim().to_owned();
    Err(format!(
        "PostgreSQL makes no database in {}: {why}. Its user must be able to enter the folders \
         above: choose another with --cache",
        data.display()
    )
    .into())
}

fn program(path: &Path, owner: Owner) -> Command {
    let mut command = Command::new(path);
    command.current_dir("/");
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command
}

fn own(folder: &Path, owner: Owner) -> Result<(), Failure> {
    match owner {
        Some((user, group)) => Ok(chown(folder, Some(user), Some(group))?),
        None => Ok(()),
    }
}

/// The IDs of PostgreSQL's user.
fn user() -> Result<Owner, Failure> {
    let users = fs::read_to_string("/etc/passwd")?;
    let mut fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    Ok(fields.find_map(|fields| match fields.as_slice() {
        [USER, _, user, group, ..] => user.parse().ok().zip(group.parse().ok()),
        _ => None,
    }))
}
