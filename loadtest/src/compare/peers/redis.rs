//! Redis: started here, filled once, asked through a pipeline over its socket.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    compare::{
        child::Child,
        cores,
        load::Taken,
        population::{Population, SEED},
    },
    failure::Failure,
};

/// Where packages put it.
const PROGRAMS: [&str; 2] = ["/usr/bin/redis-server", "/usr/local/bin/redis-server"];
/// Members of one command while it is filled.
const FILL: usize = 1_000;
/// Bytes of commands that are written at once, and so roughly in flight: enough
/// that it never waits for its client.
const BURST: usize = 256 << 10;
/// Bytes of replies that are read at once.
const READ: usize = 64 << 10;
/// Below the smallest Turkish mobile: the bitmap's first bit.
const FIRST_PHONE: u64 = 905_010_000_000;
/// How long it may take to load its file.
const PATIENCE: Duration = Duration::from_secs(300);

/// A Redis with one set of people, and for phones a bitmap of them as well.
pub struct Redis {
    child: Child,
    socket: UnixStream,
    replies: Replies,
    /// Holds the socket.
    _folder: TempDir,
}

/// The numbers in a stream of replies, however they are put into arrays.
#[derive(Default)]
struct Replies {
    /// The first byte of the line at hand; 0 before it.
    kind: u8,
    number: i64,
    error: Vec<u8>,
}

/// What it is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// `SMISMEMBER`, so many members a command.
    SetMembers(usize),
    /// `GETBIT`, one command each.
    Bit,
    /// `BITFIELD_RO`, so many bits a command.
    Bits(usize),
}

/// Who is in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Members {
    /// Phones, as a set of integers and as a bitmap over their span.
    Phones,
    /// E-mails, as a set.
    Emails,
}

/// Commands that wait to be sent, and the answers they must get.
pub struct Commands {
    bursts: Vec<(Vec<u8>, usize)>,
    permitted: Vec<u8>,
}

impl Redis {
    /// Starts it on what was kept from an earlier run, or fills it and keeps
    /// that. `None` where it is not installed.
    pub fn start(
        cache: &Path,
        members: Members,
        population: &Population,
    ) -> Result<Option<Self>, Failure> {
        let Some(server) = PROGRAMS.iter().find(|path| Path::new(path).exists()) else {
            return Ok(None);
        };
        let name = if members == Members::Phones { "phones" } else { "emails" };
        let file = format!("redis-1-{SEED}-{name}-{}.rdb", population.permitted);
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("redis.sock");
        let mut command = Command::new(server);
        // No file is written behind its back while it is measured.
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--dbfilename", &file]);
        command.arg("--dir").arg(cache).arg("--unixsocket").arg(&path);
        let child = Child::start("redis-server", command)?;
        let socket = connect(&path, &child)?;
        let mut redis = Self { child, socket, replies: Replies::default(), _folder: folder };
        redis.wait_until_loaded()?;
        if redis.command(&[b"DBSIZE"])? == 0 {
            eprintln!("filling Redis with {} {name}, once", population.permitted);
            redis.fill(members, population)?;
            redis.command(&[b"SAVE"])?;
        }
        let known = redis.command(&[b"SCARD", b"people"])?;
        if known == i64::try_from(population.permitted)? {
            return Ok(Some(redis));
        }
        fs::remove_file(cache.join(file))?;
        Err(format!("Redis had {known} {name}; its file was removed, so run again").into())
    }

    fn fill(&mut self, members: Members, population: &Population) -> Result<(), Failure> {
        let people: Vec<u64> = (0..population.permitted).collect();
        let mut bitmap: Vec<u8> = Vec::new();
        for people in people.chunks(64 * FILL) {
            let mut burst = Vec::new();
            for people in people.chunks(FILL) {
                let texts = people.iter().map(|it| member(members, population, *it));
                let texts: Vec<String> = texts.collect();
                let words = [&b"SADD"[..], b"people"].into_iter();
                let words: Vec<&[u8]> = words.chain(texts.iter().map(String::as_bytes)).collect();
                burst.extend(encode(&words));
            }
            let commands = people.len().div_ceil(FILL);
            self.socket.write_all(&burst)?;
            let mut answered = 0;
            while answered < commands {
                self.read(|_| answered += 1)?;
            }
            if members == Members::Phones {
                for person in people {
                    let at = (population.phone(*person) - FIRST_PHONE) as usize;
                    if bitmap.len() <= at / 8 {
                        bitmap.resize(at / 8 + 1, 0);
                    }
                    if let Some(byte) = bitmap.get_mut(at / 8) {
                        // Redis counts bits from the most significant.
                        *byte |= 0x80 >> (at % 8);
                    }
                }
            }
        }
        if !bitmap.is_empty() {
            // SETRANGE answers with a number, which SET does not.
            self.command(&[b"SETRANGE", b"bits", b"0", &bitmap])?;
        }
        Ok(())
    }

    /// Makes the commands that ask about these people.
    pub fn commands(
        question: Question,
        members: Members,
        population: &Population,
        people: &[u64],
    ) -> Commands {
        let offset = |person: &u64| (population.phone(*person) - FIRST_PHONE).to_string();
        let mut bursts = Vec::new();
        let (mut burst, mut due) = (Vec::new(), 0);
        let size = match question {
            Question::Bit => 1,
            Question::SetMembers(size) | Question::Bits(size) => size,
        };
        for people in people.chunks(size) {
            let words: Vec<String> = match question {
                Question::SetMembers(_) => ["SMISMEMBER".to_owned(), "people".to_owned()]
                    .into_iter()
                    .chain(people.iter().map(|it| member(members, population, *it)))
                    .collect(),
                Question::Bit => ["GETBIT".to_owned(), "bits".to_owned()]
                    .into_iter()
                    .chain(people.iter().map(offset))
                    .collect(),
                Question::Bits(_) => ["BITFIELD_RO".to_owned(), "bits".to_owned()]
                    .into_iter()
                    .chain(people.iter().flat_map(|it| ["GET".into(), "u1".into(), offset(it)]))
                    .collect(),
            };
            burst.extend(encode(&words.iter().map(String::as_bytes).collect::<Vec<_>>()));
            due += people.len();
            if burst.len() >= BURST {
                bursts.push((std::mem::take(&mut burst), std::mem::take(&mut due)));
            }
        }
        bursts.push((burst, due));
        let permitted = people.iter().map(|it| u8::from(population.is_permitted(*it))).collect();
        Commands { bursts, permitted }
    }

    /// Asks, keeping two bursts in flight, and checks every answer.
    pub fn ask(&mut self, commands: &Commands) -> Result<Taken, Failure> {
        let pid = self.child.pid();
        let (begun, cpu) = (Instant::now(), cores::cpu_time(pid)?);
        let mut answers = Vec::with_capacity(commands.permitted.len());
        let mut due = 0;
        for (burst, next) in &commands.bursts {
            // While it works on this burst, the answers to the last are read.
            self.socket.write_all(burst)?;
            while answers.len() < due {
                self.read(|answer| answers.push(answer as u8))?;
            }
            due += *next;
        }
        while answers.len() < due {
            self.read(|answer| answers.push(answer as u8))?;
        }
        let (wall, cpu) = (begun.elapsed(), cores::cpu_time(pid)?.saturating_sub(cpu));
        if answers != commands.permitted {
            return Err("Redis answered otherwise than the truth".into());
        }
        let each = 1e9 / answers.len() as f64;
        Ok(Taken { wall: wall.as_secs_f64() * each, cpu: cpu.as_secs_f64() * each })
    }

    /// Sends one command that answers with a number, or with OK.
    fn command(&mut self, words: &[&[u8]]) -> Result<i64, Failure> {
        self.socket.write_all(&encode(words))?;
        let mut number = None;
        while number.is_none() {
            self.read(|answer| number = Some(answer))?;
        }
        Ok(number.unwrap_or_default())
    }

    /// Reads what has come, and gives each number in it.
    fn read(&mut self, each: impl FnMut(i64)) -> Result<(), Failure> {
        let mut buffer = [0; READ];
        let read = self.socket.read(&mut buffer)?;
        if read == 0 {
            return Err(self.child.failed("ended"));
        }
        self.replies.read(buffer.get(..read).unwrap_or_default(), each)
    }

    fn wait_until_loaded(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        while let Err(error) = self.command(&[b"DBSIZE"]) {
            if begun.elapsed() > PATIENCE || !error.to_string().contains("LOADING") {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Replies {
    fn read(&mut self, bytes: &[u8], mut each: impl FnMut(i64)) -> Result<(), Failure> {
        for byte in bytes {
            match (self.kind, *byte) {
                (0, kind) => (self.kind, self.number) = (kind, 0),
                (b'-', b'\n') => {
                    let error = String::from_utf8_lossy(&self.error).trim().to_owned();
                    (self.kind, self.error) = (0, Vec::new());
                    return Err(format!("Redis says: {error}").into());
                }
                (b'-', byte) => self.error.push(byte),
                (b'*', b'\n') => self.kind = 0,
                (_, b'\n') => {
                    each(self.number);
                    self.kind = 0;
                }
                (b':', digit @ b'0'..=b'9') => {
                    self.number = self.number.saturating_mul(10) + i64::from(digit - b'0');
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn connect(path: &Path, child: &Child) -> Result<UnixStream, Failure> {
    let begun = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(socket) => return Ok(socket),
            Err(_) if begun.elapsed() < Duration::from_secs(20) => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(child.failed(&format!("does not answer ({error})"))),
        }
    }
}

fn member(members: Members, population: &Population, person: u64) -> String {
    match members {
        Members::Phones => population.phone(person).to_string(),
        Members::Emails => population.email(person),
    }
}

/// A command in Redis's protocol.
fn encode(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_however_they_are_cut() {
        let bytes = b"*3\r\n:1\r\n:0\r\n:1\r\n:20000000\r\n+OK\r\n";
        for cut in 0..bytes.len() {
            let (mut replies, mut numbers) = (Replies::default(), Vec::new());
            for part in [&bytes[..cut], &bytes[cut..]] {
                replies.read(part, |number| numbers.push(number)).unwrap();
            }
            assert_eq!(numbers, [1, 0, 1, 20_000_000, 0]);
        }
    }

    #[test]
    fn an_error_is_told_and_the_next_reply_read() {
        let mut replies = Replies::default();
        let error = replies.read(b"-LOADING wait\r\n", |_| ()).unwrap_err();
        assert_eq!(error.to_string(), "Redis says: LOADING wait");
        let mut numbers = Vec::new();
        replies.read(b":7\r\n", |number| numbers.push(number)).unwrap();
        assert_eq!(numbers, [7]);
    }

    #[test]
    fn a_command_carries_the_length_of_each_word() {
        assert_eq!(
            encode(&[b"GETBIT", b"bits", b"7"]),
            b"*3\r\n$6\r\nGETBIT\r\n$4\r\nbits\r\n$1\r\n7\r\n"
        );
    }
}
