//! HTTP/2 frames by hand, for what no client library would send.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use sendgate::{
    proto::v1::{FilterRequest, RecipientBatch, filter_request},
    tokens::Token,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const REFUSED_STREAM: u32 = 7;

/// Long enough for any machine; what is waited for comes at once or never.
pub const LONG: Duration = Duration::from_secs(60);

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The headers of a call, without a table: literals that are not to be kept.
pub fn call(path: &str) -> Vec<u8> {
    // `:method: POST` and `:scheme: http` stand in the static table.
    let mut block = vec![0x83, 0x86];
    literal(&mut block, &[0x04], path);
    literal(&mut block, &[0x01], "localhost");
    literal(&mut block, &[0x0f, 0x10], "application/grpc");
    block.extend([0x00, 2]);
    block.extend(b"te");
    literal(&mut block, &[], "trailers");
    block
}

/// As [`call`], by the holder of a token.
pub fn call_with(path: &str, token: &Token) -> Vec<u8> {
    let mut block = call(path);
    literal(&mut block, &[0x0f, 0x08], &format!("Bearer {}", token.expose()));
    block
}

/// A header with the name at this place of the static table.
fn literal(block: &mut Vec<u8>, name: &[u8], value: &str) {
    block.extend(name);
    block.push(u8::try_from(value.len()).unwrap());
    block.extend(value.as_bytes());
}

/// The path of the filter stream.
pub const FILTER: &str = "/sendgate.v1.FilterService/Filter";
/// The path of an import.
pub const IMPORT: &str = "/sendgate.v1.ConsentService/Import";

/// A message of gRPC.
pub fn message(message: &impl prost::Message) -> Vec<u8> {
    let body = message.encode_to_vec();
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend(body);
    bytes
}

/// What the server had sent when the connection ended, or when it was asked.
#[derive(Debug, Default)]
pub struct Seen {
    /// The error code of the last GOAWAY.
    pub goaway: Option<u32>,
    /// Resets of streams, by error code.
    pub resets: std::collections::BTreeMap<u32, usize>,
    /// Bytes of DATA.
    pub data: usize,
    /// Pings and settings that were acknowledged.
    pub acknowledged: usize,
    /// The server's settings.
    pub settings: std::collections::BTreeMap<u16, u32>,
    /// By how much the connection's window grew.
    pub window: u32,
}

/// A connection. Answers are read in a task of its own, or left alone until the
/// end.
pub struct Raw {
    write: OwnedWriteHalf,
    reading: Reading,
    progress: Arc<Progress>,
}

/// What can be asked while the connection is open.
#[derive(Default)]
struct Progress {
    ended: AtomicUsize,
    greeted: AtomicBool,
    widened: AtomicBool,
}

enum Reading {
    Now(JoinHandle<Seen>),
    Later(OwnedReadHalf),
}

impl Raw {
    /// Connects, and sends what every connection begins with.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::with_settings(address, &[]).await
    }

    /// As [`connect`](Self::connect), with settings.
    pub async fn with_settings(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut raw = Self::deaf(address, settings).await;
        if let Reading::Later(read) = raw.reading {
            raw.reading = Reading::Now(tokio::spawn(read_all(read, Arc::clone(&raw.progress))));
        }
        raw
    }

    /// A connection that reads nothing from its socket.
    pub async fn deaf(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let (read, write) = TcpStream::connect(address).await.unwrap().into_split();
        let mut raw = Self { write, reading: Reading::Later(read), progress: Arc::default() };
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        hello.extend(self::settings(settings));
        raw.send(&hello).await.unwrap();
        raw
    }

    /// Sends bytes; an error once the server has closed, or does not read.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(Duration::from_secs(10), self.write.write_all(bytes))
            .await
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
    }

    /// Acknowledges the server's settings, once it has widened the connection's
    /// window too: only then do its windows count, and who sends more than the
    /// protocol's 64 KiB before loses the connection.
    pub async fn acknowledge(&mut self) {
        let Progress { greeted, widened, .. } = &*self.progress;
        while !(greeted.load(Ordering::SeqCst) && widened.load(Ordering::SeqCst)) {
            sleep(Duration::from_millis(5)).await;
        }
        self.send(&frame(SETTINGS, 1, 0, &[])).await.unwrap();
    }

    /// Streams that the server has ended.
    pub fn ended(&self) -> usize {
        self.progress.ended.load(Ordering::SeqCst)
    }

    /// Waits until the server has closed.
    pub async fn closed(self) -> Seen {
        let Self { write: _write, reading, progress } = self;
        let reading = match reading {
            Reading::Now(reading) => reading,
            Reading::Later(read) => tokio::spawn(read_all(read, progress)),
        };
        timeout(LONG, reading).await.expect("the server did not close the connection").unwrap()
    }

    /// Closes the sending side, and takes what the server had sent.
    pub async fn finish(mut self) -> Seen {
        // The server may be gone already.
        drop(self.write.shutdown().await);
        self.closed().await
    }
}

/// Has a batch answered three times on the first stream, and reads no answer.
/// Three fit the stream's window if they are full. Each is sent a while after the
/// one before is counted among the `filtered` recipients: at once it might find
/// that the room for its work was not given back yet.
pub async fn leave_unread(raw: &mut Raw, batch: &RecipientBatch, filtered: impl AsyncFn() -> u64) {
    let batch = filter_request::Message::Batch(batch.clone());
    let batch = message(&FilterRequest { message: Some(batch) });
    for _ in 0..3 {
        sleep(Duration::from_millis(300)).await;
        let before = filtered().await;
        for piece in batch.chunks(16 << 10) {
            raw.send(&frame(DATA, 0, 1, piece)).await.unwrap();
        }
        let begun = Instant::now();
        while filtered().await == before {
            assert!(begun.elapsed() < LONG, "the batches are not answered");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A frame of settings.
pub fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in settings {
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

/// Reads frames until the end, and acknowledges nothing.
async fn read_all(mut read: OwnedReadHalf, progress: Arc<Progress>) -> Seen {
    let mut seen = Seen::default();
    let mut payload = Vec::new();
    loop {
        let mut head = [0; 9];
        if read.read_exact(&mut head).await.is_err() {
            return seen;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        payload.resize(length as usize, 0);
        if read.read_exact(&mut payload).await.is_err() {
            return seen;
        }
        let ends = matches!(head[3], HEADERS | DATA) && head[4] & END_STREAM != 0;
        if ends || head[3] == RST_STREAM {
            progress.ended.fetch_add(1, Ordering::SeqCst);
        }
        let code = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        match head[3] {
            GOAWAY => seen.goaway = Some(code(4)),
            RST_STREAM => *seen.resets.entry(code(0)).or_default() += 1,
            DATA => seen.data += payload.len(),
            SETTINGS if head[4] == 0 => {
                let setting = |at: &[u8]| {
                    (
                        u16::from_be_bytes([at[0], at[1]]),
                        u32::from_be_bytes([at[2], at[3], at[4], at[5]]),
                    )
                };
                seen.settings.extend(payload.chunks(6).map(setting));
                progress.greeted.store(true, Ordering::SeqCst);
            }
            WINDOW_UPDATE if head[5..9] == [0; 4] => {
                seen.window += code(0);
                progress.widened.store(true, Ordering::SeqCst);
            }
            PING | SETTINGS if head[4] == 1 => seen.acknowledged += 1,
            _ => {}
        }
    }
}
