//! Denials leave a row each, within bounds, and hold up nobody.

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    process::Command,
};

use rustix::fs::OFlags;
use sendgate::caps;
use serde_json::Value;
use tokio::time::timeout;
use tonic::Request;

use crate::{
    raw::LONG,
    tokens::{FILTER, Guarded, KNOWN, check, reason},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_denials_is_counted_and_does_not_fill_the_disk() {
    let mut guarded = Guarded::start().await;
    let token = guarded.create("shop", &["main"], &[FILTER]).await;
    let mut stranger = guarded.server.filter();
    let most = usize::try_from(caps::AUDITED_DENIALS).unwrap();
    for _ in 0..most + 40 {
        stranger.check(check("main", KNOWN)).await.unwrap_err();
    }
    // Strangers do not hide what a token was used for.
    let long = "o".repeat(1_000_000);
    let mut known = guarded.client(Some(&token)).await.filter_service();
    known.check(check(&long, KNOWN)).await.unwrap_err();
    let rows = guarded.rows("denied");
    let of_strangers: Vec<&Value> = rows.iter().filter(|row| row.get("token").is_none()).collect();
    assert_eq!(of_strangers.len(), most);
    assert_eq!(of_strangers[0]["reason"], "TOKEN_MISSING");
    assert_eq!(of_strangers[0]["method"], "sendgate.v1.FilterService/Check");
    assert!(of_strangers[0]["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    let last = rows.last().unwrap();
    assert_eq!((&last["token"], &last["reason"]), (&"shop".into(), &"BRAND_NOT_GRANTED".into()));
    assert_eq!(last["brand"].as_str().unwrap().len(), caps::AUDITED_NAME_BYTES);

    guarded.server.stop().await;
    let [left_out] = &guarded.rows("denials_left_out")[..] else { panic!("one row is due") };
    assert_eq!((&left_out["of_strangers"], &left_out["of_tokens"]), (&40.into(), &0.into()));
}

/// An audit log that takes no row until it is dropped.
struct Stalled(File, PathBuf);

impl Stalled {
    fn stall(path: PathBuf) -> Self {
        fs::remove_file(&path).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let unblocked = OFlags::NONBLOCK.bits().cast_signed();
        let mut pipe =
            File::options().read(true).write(true).custom_flags(unblocked).open(&path).unwrap();
        while pipe.write(&[b'\n'; 512]).is_ok() {}
        Self(pipe, path)
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        // Rows to come go to a file again, the one that waits into the pipe.
        drop(fs::remove_file(&self.1));
        drop(self.0.read(&mut [0; 1 << 16]));
    }
}

/// The row of a denial waits for the disk; calls beside it on its connection do
/// not (F8).
#[tokio::test(flavor = "multi_thread")]
async fn a_denial_that_waits_for_the_disk_holds_up_nobody_on_its_connection() {
    let guarded = Guarded::start().await;
    let token = guarded.create("filter", &["main"], &[FILTER]).await;
    let call = |token: &str| {
        let mut request = Request::new(check("main", KNOWN));
        let shown = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", shown);
        let mut filter = guarded.server.filter();
        async move { timeout(LONG, filter.check(request)).await.expect("it waits for the disk") }
    };
    let stalled = Stalled::stall(guarded.server.folder.path().join("audit.jsonl"));
    let denied = tokio::spawn(call("unknown"));
    for _ in 0..50 {
        call(token.expose()).await.unwrap();
    }
    assert!(!denied.is_finished(), "its row is not written");
    drop(stalled);
    assert_eq!(reason(&denied.await.unwrap().unwrap_err()), "TOKEN_UNKNOWN");
}
