//! F15: floods of frames that no client library sends. The connection is
//! closed or the flood is without effect, memory stays flat, and others are
//! served meanwhile.

use std::{future::Future, net::SocketAddr, time::Duration};

use sendgate::{
    caps,
    proto::v1::{GetStatisticsRequest, admin_service_client::AdminServiceClient},
};
use tokio::{net::TcpListener, time::timeout};
use tokio_stream::wrappers::TcpListenerStream;

use crate::{
    process::{Process, connect},
    raw::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, FILTER, HEADERS, PING, REFUSED_STREAM,
        RST_STREAM, Raw, Seen, WINDOW_UPDATE, call, frame, settings,
    },
};

/// ENHANCE_YOUR_CALM.
const CALM: Option<u32> = Some(11);
/// FLOW_CONTROL_ERROR.
const FLOW: Option<u32> = Some(3);
/// The setting of a stream's window.
const INITIAL_WINDOW: u16 = 4;
/// What a server may grow by under any of this, in MiB: some connections'
/// buffers, and what the allocator keeps.
const GROWTH_MIB: u64 = 48;

/// Runs an attack on a server process, and holds that it stays small and serves
/// others before, meanwhile and afterwards.
async fn attack<F: Future<Output = Seen>>(attacking: impl FnOnce(SocketAddr) -> F) -> Seen {
    let folder = tempfile::tempdir().unwrap();
    let (process, address) = Process::serve(folder.path()).unwrap();
    let channel = connect(address).await;
    let ask = async || {
        let mut client = AdminServiceClient::new(channel.clone());
        let answer = client.get_statistics(GetStatisticsRequest::default());
        timeout(Duration::from_secs(20), answer).await.expect("others wait").unwrap();
    };
    ask().await;
    let before = process.resident_mib();
    let attacking = attacking(address);
    tokio::pin!(attacking);
    let mut most = before;
    let seen = loop {
        tokio::select! {
            seen = &mut attacking => break seen,
            () = ask() => most = most.max(process.resident_mib()),
        }
    };
    ask().await;
    most = most.max(process.resident_mib());
    assert!(most - before < GROWTH_MIB, "grew from {before} to {most} MiB: {seen:?}");
    seen
}

/// Sends these again and again until the server closes, or does not read.
async fn flood(raw: &mut Raw, times: u32, frames: impl Fn(u32) -> Vec<u8>) {
    for first in (0..times).step_by(100) {
        let many: Vec<u8> = (first..times.min(first + 100)).flat_map(&frames).collect();
        if raw.send(&many).await.is_err() {
            return;
        }
    }
}

/// The n-th stream of a client.
fn stream(n: u32) -> u32 {
    2 * n + 1
}

fn opened(n: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream(n), &call(FILTER))
}

async fn unlimited_streams(address: SocketAddr) -> Seen {
    let mut raw = Raw::connect(address).await;
    flood(&mut raw, 2_000, opened).await;
    raw.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_without_end_are_refused() {
    let seen = attack(unlimited_streams).await;
    let refused = seen.resets.get(&REFUSED_STREAM).copied().unwrap_or(0);
    assert!(refused > 0 || seen.goaway == CALM, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_at_once_end_the_connection() {
    let seen = attack(async |address| {
        let mut raw = Raw::connect(address).await;
        let pair = |n| [opened(n), frame(RST_STREAM, 0, stream(n), &8_u32.to_be_bytes())].concat();
        flood(&mut raw, 50_000, pair).await;
        raw.finish().await
    })
    .await;
    assert_eq!(seen.goaway, CALM, "{seen:?}");
}

/// Streams that the server itself must reset, because their windows grow beyond
/// what the protocol can count.
async fn made_to_reset(address: SocketAddr) -> Seen {
    let mut raw = Raw::connect(address).await;
    let most = 0x7fff_ffff_u32.to_be_bytes();
    let pair = |n| [opened(n), frame(WINDOW_UPDATE, 0, stream(n), &most)].concat();
    flood(&mut raw, 3_000, pair).await;
    raw.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_the_server_is_made_to_reset_end_the_connection() {
    let seen = attack(made_to_reset).await;
    assert_eq!(seen.goaway, CALM, "{seen:?}");
}

/// What the library does if nothing is set: the attacks are real.
#[tokio::test(flavor = "multi_thread")]
async fn the_librarys_bare_defaults_let_both_through() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_reporter, health) = tonic_health::server::health_reporter();
    let bare = tonic::transport::Server::builder().add_service(health);
    tokio::spawn(bare.serve_with_incoming(TcpListenerStream::new(listener)));

    let seen = unlimited_streams(address).await;
    assert_eq!((seen.resets.get(&REFUSED_STREAM), seen.goaway), (None, None), "{seen:?}");
    let seen = made_to_reset(address).await;
    assert_eq!(seen.goaway, None, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_end_end_the_connection() {
    let seen = attack(async |address| {
        let mut raw = Raw::connect(address).await;
        raw.send(&frame(HEADERS, 0, 1, &call(FILTER))).await.unwrap();
        // A header of 1 KiB that is not to be kept, again and again.
        let mut header = vec![0x00, 1, b'x', 0x7f, 0x81, 0x07];
        header.resize(6 + 1_024, b'y');
        flood(&mut raw, 50_000, |_| frame(CONTINUATION, 0, 1, &header)).await;
        raw.closed().await
    })
    .await;
    assert!(seen.goaway.is_some(), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_and_pings_that_nobody_reads_the_answers_of_do_not_pile_up() {
    for flooding in [settings(&[(INITIAL_WINDOW, 1 << 16)]), frame(PING, 0, 0, &[7; 8])] {
        let seen = attack(async |address| {
            let mut raw = Raw::deaf(address, &[]).await;
            flood(&mut raw, 2_000_000, |_| flooding.clone()).await;
            raw.finish().await
        })
        .await;
        assert!(seen.acknowledged < 2_000_000 || seen.goaway.is_some(), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_in_tiny_pieces_costs_no_memory() {
    // Of a message of 4 MiB that never comes whole.
    attack(async |address| {
        let mut raw = Raw::connect(address).await;
        raw.send(&opened(0)).await.unwrap();
        raw.send(&frame(DATA, 0, 1, &[0, 0, 0x40, 0, 0])).await.unwrap();
        flood(&mut raw, 200_000, |_| frame(DATA, 0, 1, &[7])).await;
        raw.finish().await
    })
    .await;
    // Of nothing at all.
    let seen = attack(async |address| {
        let mut raw = Raw::connect(address).await;
        raw.send(&opened(0)).await.unwrap();
        flood(&mut raw, 100_000, |_| frame(DATA, 0, 1, &[])).await;
        raw.finish().await
    })
    .await;
    assert_eq!(seen.goaway, CALM, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_cannot_be_made_to_overflow() {
    let seen = attack(async |address| {
        let mut raw = Raw::connect(address).await;
        let most = 0x7fff_ffff_u32.to_be_bytes();
        flood(&mut raw, 2, |_| frame(WINDOW_UPDATE, 0, 0, &most)).await;
        raw.closed().await
    })
    .await;
    assert_eq!(seen.goaway, FLOW, "{seen:?}");
    // Windows of many streams, closed and opened again with one frame each.
    attack(async |address| {
        let mut raw = Raw::connect(address).await;
        flood(&mut raw, 200, opened).await;
        flood(&mut raw, 20_000, |n| settings(&[(INITIAL_WINDOW, (n % 2) << 16)])).await;
        raw.finish().await
    })
    .await;
}

/// Clients are told what they may send, and one byte more in a frame ends their
/// connection. (Those who send more than a window break the protocol; the
/// library's own tests hold that.)
#[tokio::test(flavor = "multi_thread")]
async fn frames_and_windows_have_so_many_bytes() {
    /// FRAME_SIZE_ERROR.
    const FRAME_SIZE: u32 = 6;
    let folder = tempfile::tempdir().unwrap();
    let (_process, address) = Process::serve(folder.path()).unwrap();
    let cap = caps::FRAME_BYTES as usize;
    for size in [cap - 1, cap, cap + 1] {
        let mut raw = Raw::connect(address).await;
        raw.acknowledge().await;
        raw.send(&opened(0)).await.unwrap();
        // The beginning of a message of 4 MiB.
        let mut payload = vec![0, 0, 0x40, 0, 0];
        payload.resize(size, 7);
        raw.send(&frame(DATA, 0, 1, &payload)).await.unwrap();
        let seen = raw.finish().await;
        assert_eq!(seen.goaway, (size > cap).then_some(FRAME_SIZE), "{size}: {seen:?}");
        let said = |setting| seen.settings.get(&setting).copied();
        assert_eq!(said(INITIAL_WINDOW), Some(caps::STREAM_WINDOW));
        assert_eq!(said(3), Some(caps::STREAMS), "streams at once");
        assert_eq!(said(5), Some(caps::FRAME_BYTES));
        assert_eq!(said(6), Some(caps::HEADER_BYTES));
        assert!(seen.window + 65_535 >= caps::CONNECTION_WINDOW, "{seen:?}");
    }
}

/// A request without a body, ended properly, is a mistake and no attack.
#[tokio::test(flavor = "multi_thread")]
async fn frames_by_hand_are_understood_when_they_are_right() {
    let folder = tempfile::tempdir().unwrap();
    let (_process, address) = Process::serve(folder.path()).unwrap();
    let mut raw = Raw::connect(address).await;
    raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &call(FILTER))).await.unwrap();
    let ended = async {
        while raw.ended() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(crate::raw::LONG, ended).await.expect("no answer came");
    let seen = raw.finish().await;
    assert_eq!((seen.goaway, seen.resets.len()), (None, 0), "{seen:?}");
}
