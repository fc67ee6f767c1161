//! The sendgate stores of a comparison: made once, through `Import` as anybody
//! would, and kept in the cache.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use rustix::{fs::FlockOperation, io::Errno};
use sendgate::{
    client::{Client, ImportStream},
    proto::v1::{
        ApplyPolicyRequest, ConsentEvent, ConsentStatus, Contact, ContactKind, ImportItem, Reason,
        RecipientType, Scope, StatedTime, Suppression, import_item,
    },
};
use tempfile::TempDir;

use super::{
    cores,
    population::{Population, SEED},
};
use crate::{
    failure::Failure,
    server::{Options, Server},
};

/// Raised when what is imported changes, so that older stores are made anew. Under 1, runs of
/// `compare` withdrew from the stores themselves.
const FORMAT: u32 = 2;
/// Items of one chunk: the server's cap.
const CHUNK_ITEMS: u64 = 10_000;
const IN_FLIGHT: usize = 8;
/// What the names of folders begin with that are not kept.
const SCRATCH: &str = "scratch-";
/// When everybody consented. Fixed, so that importing again changes nothing.
const CONSENTED_MS: i64 = 1_700_000_000_000;
/// When the refused ones withdrew.
const WITHDREW_MS: i64 = 1_710_000_000_000;

/// The brand of all comparisons.
pub const BRAND: &str = "main";
/// Channels for phones, and purposes: 64 scopes a phone can be permitted in.
const PHONE_CHANNELS: [&str; 8] =
    ["sms", "call", "mms", "rcs", "whatsapp", "viber", "signal", "fax"];
const PURPOSES: [&str; 8] =
    ["marketing", "newsletter", "tracking", "survey", "events", "partners", "product", "loyalty"];

/// What a store holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// Permitted and refused phones.
    Phones,
    /// Permitted e-mails.
    Emails,
}

impl Holding {
    fn name(self) -> &'static str {
        match self {
            Self::Phones => "phones",
            Self::Emails => "emails",
        }
    }

    /// The scope in which its people are permitted.
    pub fn scope(self) -> Scope {
        let channel = match self {
            Self::Phones => "sms",
            Self::Emails => "email",
        };
        Scope {
            recipient_type: RecipientType::Individual.into(),
            channel: channel.to_owned(),
            purpose: "marketing".to_owned(),
        }
    }

    /// The kind of its contacts.
    pub fn kind(self) -> ContactKind {
        match self {
            Self::Phones => ContactKind::Phone,
            Self::Emails => ContactKind::Email,
        }
    }

    fn items(self, population: &Population) -> u64 {
        match self {
            Self::Phones => population.spare(),
            Self::Emails => population.permitted,
        }
    }

    /// What is imported of a person.
    fn item(self, population: &Population, person: u64) -> ImportItem {
        match (self, population.reason(person)) {
            (Self::Emails, _) => {
                let email = population.email(person);
                item(event(&self.scope(), ContactKind::Email, email, CONSENTED_MS))
            }
            (Self::Phones, Reason::ManualBlock) => suppressed(population.phone(person)),
            (Self::Phones, reason) => {
                let phone = population.phone(person);
                let permitted = reason == Reason::Permitted;
                let time = if permitted { CONSENTED_MS } else { WITHDREW_MS };
                consent(&self.scope(), permitted, phone, time)
            }
        }
    }
}

/// Serves a cached store, which is made first where it is missing or unusable.
pub async fn serve(
    cache: &Path,
    holding: Holding,
    population: &Population,
) -> Result<Server, Failure> {
    let folder = folder(cache, holding, population);
    let done = folder.with_extension("done");
    refuse_open(&folder)?;
    if done.exists() {
        match start(&folder).await {
            Ok(server) => return Ok(server),
            Err(error) => eprintln!("the cached store {} is made anew: {error}", folder.display()),
        }
    }
    let _ = fs::remove_file(&done);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let server = start(&folder).await?;
    let client = Client::connect(server.endpoint()).await?;
    apply_policy(&client).await?;
    import(&client, holding, population).await?;
    fs::File::create(&done)?.sync_all()?;
    Ok(server)
}

/// Serves a copy of a cached store, which is gone with the folder: for what
/// changes it. A withdrawal changes most the first time, so that a run on what
/// others left behind would have less to do.
pub async fn serve_copy(
    cache: &Path,
    holding: Holding,
    population: &Population,
) -> Result<(TempDir, Server), Failure> {
    serve(cache, holding, population).await?.stop()?;
    let copy = scratch(cache)?;
    for entry in fs::read_dir(folder(cache, holding, population))? {
        let entry = entry?;
        let (from, to) = (entry.path(), copy.path().join(entry.file_name()));
        // RocksDB never changes a table: it writes another one.
        if from.extension().is_some_and(|extension| extension == "sst") {
            fs::hard_link(from, to)?;
        } else {
            fs::copy(from, to)?;
        }
    }
    let server = start(copy.path()).await?;
    Ok((copy, server))
}

/// Refuses a store that a process has open: it cannot be served a second time,
/// and must not be removed.
fn refuse_open(folder: &Path) -> Result<(), Failure> {
    // RocksDB holds a lock on this file for as long as it has the store open.
    let file = match fs::File::options().write(true).open(folder.join("LOCK")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::ACCESS | Errno::AGAIN) => {
            let folder = folder.display();
            Err(format!("a process has the store {folder} open: stop it first, or say --cache"))?
        }
        locked => Ok(locked?),
    }
}

fn folder(cache: &Path, holding: Holding, population: &Population) -> PathBuf {
    let name = holding.name();
    cache.join(format!("sendgate-{FORMAT}-{SEED}-{name}-{}", population.permitted))
}

/// Where the cached stores are, and how old.
pub fn age(cache: &Path, population: &Population) -> String {
    let ages = [Holding::Phones, Holding::Emails].into_iter().filter_map(|holding| {
        let done = folder(cache, holding, population).with_extension("done");
        let age = fs::metadata(done).ok()?.modified().ok()?.elapsed().ok()?;
        Some(format!("{} imported {} hours ago", holding.name(), age.as_secs() / 3600))
    });
    let ages: Vec<String> = ages.collect();
    format!(
        "in {}: {}",
        cache.display(),
        if ages.is_empty() { "none".into() } else { ages.join(", ") }
    )
}

/// Serves a store in this folder, on the server's core. The server is this
/// program itself, so that what is compared is always what was built.
pub async fn start(folder: &Path) -> Result<Server, Failure> {
    let mut options = Options::new(folder);
    options.binary = Some(std::env::current_exe()?);
    options.core = Some(cores::SERVER);
    Server::start(options).await
}

/// A new folder for a store that is not kept, on the same disk as the others.
pub fn scratch(cache: &Path) -> Result<TempDir, Failure> {
    Ok(tempfile::Builder::new().prefix(SCRATCH).tempdir_in(cache)?)
}

/// Takes the cache for this run, until the result is dropped, and removes the
/// scratch folders of one that was interrupted.
pub fn take(cache: &Path) -> Result<fs::File, Failure> {
    let lock = fs::File::create(cache.join("lock"))?;
    lock.try_lock().map_err(|error| {
        format!(
            "{} is in use by another comparison ({error}): wait, or say --cache",
            cache.display()
        )
    })?;
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(SCRATCH) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(lock)
}

/// Where comparisons keep their data when nobody said otherwise. Root's is
/// outside its home, which servers under other users may not enter.
pub fn default_cache() -> Result<PathBuf, Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok("/var/cache/sendgate/compare".into());
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = cache.or_else(home).ok_or("neither HOME nor XDG_CACHE_HOME is set: say --cache")?;
    Ok(cache.join("sendgate/compare"))
}

/// Replaces the policy by one with 64 scopes for phones.
async fn apply_policy(client: &Client) -> Result<(), Failure> {
    let mut toml = "version = \"compare-1\"\n".to_owned();
    for channel in PHONE_CHANNELS {
        toml += &format!("[channels.{channel}]\nkinds = [\"phone\"]\n");
    }
    toml += "[channels.email]\nkinds = [\"email\"]\n";
    for purpose in PURPOSES {
        toml += &format!("[purposes.{purpose}]\nindividual = \"opt_in\"\n");
    }
    toml += &format!("[brands.{BRAND}]\n");
    let request = ApplyPolicyRequest { toml, drops_scopes: true, ..Default::default() };
    client.admin_service().apply_policy(request).await?;
    Ok(())
}

async fn import(client: &Client, holding: Holding, population: &Population) -> Result<(), Failure> {
    let count = holding.items(population);
    let name = holding.name();
    eprintln!("importing {count} {name} into a new store, once: this takes some minutes");
    let (begun, mut told) = (Instant::now(), 0);
    let mut done = 0;
    let items = |range: std::ops::Range<u64>| {
        range.map(|person| holding.item(population, person)).collect()
    };
    let progress = |chunk: u64| {
        done += chunk;
        let percent = done * 100 / count;
        if percent >= told + 5 || done == count {
            told = percent;
            let seconds = begun.elapsed().as_secs_f64();
            eprint!("\r{percent:3} % of the {name}, {:.0} a second ", done as f64 / seconds);
            let _ = std::io::stderr().flush();
        }
    };
    import_chunks(client, count, items, progress).await?;
    eprintln!();
    Ok(())
}

/// Imports `count` items in chunks; all of them must be applied.
pub async fn import_chunks(
    client: &Client,
    count: u64,
    mut items: impl FnMut(std::ops::Range<u64>) -> Vec<ImportItem>,
    mut progress: impl FnMut(u64),
) -> Result<(), Failure> {
    let mut stream = ImportStream::new(client.clone(), IN_FLIGHT);
    let mut next = 0;
    loop {
        while next < count && stream.has_room() {
            let end = count.min(next + CHUNK_ITEMS);
            stream.send(end - next, items(next..end));
            next = end;
        }
        if next == count {
            stream.close();
        }
        let Some(chunk) = stream.next().await? else { return Ok(()) };
        if chunk.counts.applied != chunk.tag {
            let why = chunk.rejections.into_iter().find_map(|item| item.rejection);
            let why = why.map(|why| why.message).unwrap_or_default();
            let applied = chunk.counts.applied;
            return Err(format!("of {} items {applied} were applied: {why}", chunk.tag).into());
        }
        progress(chunk.tag);
    }
}

/// A phone's consent, given or withdrawn.
pub fn consent(scope: &Scope, is_given: bool, phone: u64, time_ms: i64) -> ImportItem {
    let mut event = event(scope, ContactKind::Phone, format!("+{phone}"), time_ms);
    if !is_given {
        event.status = ConsentStatus::Withdrawn.into();
    }
    item(event)
}

/// A phone's withdrawal now: of its consent in the scope of phones, or of all.
pub fn withdrawal(phone: u64, of_all: bool) -> ConsentEvent {
    let mut event =
        event(&Holding::Phones.scope(), ContactKind::Phone, format!("+{phone}"), CONSENTED_MS);
    event.status = ConsentStatus::Withdrawn.into();
    event.consent_time = None;
    if of_all {
        event.recipient_type = RecipientType::Unspecified.into();
        event.channel.clear();
        event.purpose.clear();
    }
    event
}

/// An event as an item of an import.
pub fn item(event: ConsentEvent) -> ImportItem {
    ImportItem { change: Some(import_item::Change::Consent(event)) }
}

/// A grant as a web form records it.
fn event(scope: &Scope, kind: ContactKind, address: String, time_ms: i64) -> ConsentEvent {
    ConsentEvent {
        brand: BRAND.to_owned(),
        contact: Some(Contact { kind: kind.into(), address, default_region: String::new() }),
        recipient_type: scope.recipient_type,
        channel: scope.channel.clone(),
        purpose: scope.purpose.clone(),
        status: ConsentStatus::Granted.into(),
        consent_time: Some(StatedTime { unix_ms: time_ms, ..Default::default() }),
        source: "loadtest".to_owned(),
        ..Default::default()
    }
}

fn suppressed(phone: u64) -> ImportItem {
    let suppression = Suppression {
        brand: BRAND.to_owned(),
        contact: Some(Contact {
            kind: ContactKind::Phone.into(),
            address: format!("+{phone}"),
            default_region: String::new(),
        }),
        channel: "sms".to_owned(),
        reason: Reason::ManualBlock.into(),
        since: Some(StatedTime { unix_ms: WITHDREW_MS, ..Default::default() }),
        source: "loadtest".to_owned(),
        ..Default::default()
    };
    ImportItem { change: Some(import_item::Change::Suppression(suppression)) }
}
