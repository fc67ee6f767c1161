//! A store that lost or changed something is refused (A9): the ledger's end,
//! its head, its pages. Nothing here guesses, and nothing panics.

use std::{fs, path::Path};

use rocksdb::{DB, IteratorMode};
use sendgate::{store::StoreError, verify::verify};
use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    damage::{EVENTS, HEAD, META, PAGES, REVISION, copy, edit, open, planes, stopped, with_more},
    process::{Process, run},
};

/// The store must be refused, for this reason, and again when it is tried
/// again: whatever restarts a server does not read its log.
fn assert_refused(folder: &Path, reason: &str) {
    for attempt in 1..=2 {
        match open(folder) {
            Ok(_) => panic!("opened at attempt {attempt}, but: {reason}"),
            Err(error) => {
                assert!(error.to_string().contains(reason), "{reason}: {error}");
                assert!(!matches!(error, StoreError::Database(_)), "{error}");
            }
        }
    }
}

/// A key and its value.
type Row = (Box<[u8]>, Box<[u8]>);

fn rows(db: &DB, family: &str) -> Vec<Row> {
    let family = db.cf_handle(family).unwrap();
    db.iterator_cf(family, IteratorMode::Start).map(Result::unwrap).collect()
}

/// Changes a copy of the store by rows, and gives it back.
fn changed(store: &TempDir, change: impl FnOnce(&DB)) -> TempDir {
    let changed = copy(store.path());
    edit(changed.path(), change);
    changed
}

#[tokio::test(flavor = "multi_thread")]
async fn an_untouched_store_opens_with_the_same_verdicts() {
    let store = stopped().await;
    let (first, again) = (copy(store.path()), changed(&store, |_| {}));
    let (first, again) = (open(first.path()).unwrap(), open(again.path()).unwrap());
    assert!(planes(&first).len() > 4, "the store must have something to lose");
    assert_eq!(planes(&first), planes(&again));
    assert!(verify(&again, &[]).unwrap().differences.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_deleted_changed_or_put_in_is_refused() {
    let store = stopped().await;
    let mut pages = Vec::new();
    drop(changed(&store, |db| pages = rows(db, PAGES)));
    assert!(pages.len() > 4);
    let reseal = |key: &[u8], bytes: &[u8]| {
        [&xxh3_128(&[key, bytes].concat()).to_le_bytes()[..], bytes].concat()
    };
    // A few of the planes', and the last, which is the directory's.
    let some = (0..pages.len()).step_by(pages.len() / 5).chain([pages.len() - 1]);
    for at in some {
        let (key, value) = &pages[at];
        let put = |key: Vec<u8>, value: Vec<u8>| {
            changed(&store, |db| db.put_cf(db.cf_handle(PAGES).unwrap(), key, value).unwrap())
        };
        let deleted =
            changed(&store, |db| db.delete_cf(db.cf_handle(PAGES).unwrap(), key).unwrap());
        assert_refused(deleted.path(), "missing, extra or changed");

        let mut damaged = value.to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        assert_refused(put(key.to_vec(), damaged).path(), "a page was changed on disk");

        // Whoever knows the format can make a page that is right in itself:
        // the sums of the checkpoint still tell.
        let foreign = pages.iter().find(|(_, other)| other[16..] != value[16..]).unwrap();
        let replaced = put(key.to_vec(), reseal(key, &foreign.1[16..]));
        assert!(open(replaced.path()).is_err(), "page {at} is another one");
        let mut other_key = key.to_vec();
        *other_key.last_mut().unwrap() ^= 1;
        let body = &value[16..];
        let extra = put(other_key.clone(), reseal(&other_key, body));
        assert!(open(extra.path()).is_err(), "page {at} put in twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_checkpoint_and_pages_everything_is_made_anew_from_the_events() {
    let store = stopped().await;
    let bare = changed(&store, |db| {
        for (key, _) in rows(db, PAGES) {
            db.delete_cf(db.cf_handle(PAGES).unwrap(), key).unwrap();
        }
        db.delete_cf(db.cf_handle(META).unwrap(), "checkpoint").unwrap();
    });
    let whole = copy(store.path());
    assert_eq!(planes(&open(bare.path()).unwrap()), planes(&open(whole.path()).unwrap()));
    let lost = changed(&store, |db| {
        db.delete_cf(db.cf_handle(META).unwrap(), "checkpoint").unwrap();
    });
    assert_refused(lost.path(), "missing, extra or changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_end_of_the_ledger_is_refused_at_open() {
    let store = stopped().await;
    let last = |db: &DB| rows(db, EVENTS).pop().unwrap();
    let put = |db: &DB, key: &[u8], value: &[u8]| {
        db.put_cf(db.cf_handle(EVENTS).unwrap(), key, value).unwrap();
    };
    // Every byte of the header and of the payload behind it.
    let mut length = 0;
    drop(changed(&store, |db| length = last(db).1.len()));
    for at in (0..length).step_by(3) {
        let changed = changed(&store, |db| {
            let (key, mut value) = last(db);
            value[at] ^= 0x10;
            put(db, &key, &value);
        });
        let refused = open(changed.path()).err();
        assert!(refused.is_some(), "byte {at} of {length} changed unnoticed");
    }
    let deleted = changed(&store, |db| {
        let (key, _) = last(db);
        db.delete_cf(db.cf_handle(EVENTS).unwrap(), key).unwrap();
    });
    assert_refused(deleted.path(), "its last event is revision");
    let extra = changed(&store, |db| {
        let (key, value) = last(db);
        let revision = u64::from_be_bytes(key[..].try_into().unwrap()) + 1;
        put(db, &revision.to_be_bytes(), &value);
    });
    assert_refused(extra.path(), "its last event is revision");
}

/// Below a checkpoint events are not read at open; verification reads them all
/// and names the one.
#[tokio::test(flavor = "multi_thread")]
async fn verification_names_the_event_that_was_changed() {
    let store = stopped().await;
    let key = |revision: u64| revision.to_be_bytes();
    let get = |db: &DB, revision| {
        db.get_cf(db.cf_handle(EVENTS).unwrap(), key(revision)).unwrap().unwrap()
    };
    let put = |db: &DB, revision, value: &[u8]| {
        db.put_cf(db.cf_handle(EVENTS).unwrap(), key(revision), value).unwrap();
    };
    let flip = |db: &DB, revision, at: usize| {
        let mut value = get(db, revision);
        value[at] ^= 1;
        put(db, revision, &value);
    };
    let mut last_row = Vec::new();
    drop(changed(&store, |db| last_row = get(db, REVISION)));
    let last_row = &last_row;
    // The row: version, kind, recorded time, previous hash, digest, salt, payload.
    type Case<'c> = (&'c str, &'c dyn Fn(&DB));
    let cases: [Case<'_>; 7] = [
        ("revision 5 is missing", &|db| {
            db.delete_cf(db.cf_handle(EVENTS).unwrap(), key(5)).unwrap();
        }),
        ("revision 5 was changed", &|db| flip(db, 5, 3)),
        ("revision 5 was changed", &|db| flip(db, 5, 44)),
        ("the payload of revision 5 was changed", &|db| flip(db, 5, 100)),
        ("revision 4 was changed", &|db| flip(db, 5, 12)),
        ("revision 4 was changed", &|db| {
            let (fifth, sixth) = (get(db, 5), get(db, 6));
            put(db, 5, &sixth);
            put(db, 6, &fifth);
        }),
        // A row put in between, bound to the one before it, the later ones one
        // place further, and the last gone so that the number is right.
        ("revision 6 was changed", &|db| {
            let mut forged = get(db, 5);
            forged[10..42].copy_from_slice(&get(db, 6)[10..42]);
            for revision in (6..REVISION).rev() {
                put(db, revision + 1, &get(db, revision));
            }
            put(db, 6, &forged);
            // The end of the ledger is what it says it is.
            db.put_cf(db.cf_handle(EVENTS).unwrap(), key(REVISION), last_row).unwrap();
        }),
    ];
    for (number, (found, change)) in cases.into_iter().enumerate() {
        let changed = changed(&store, change);
        let books = open(changed.path()).unwrap();
        let error = verify(&books, &[]).unwrap_err().to_string();
        assert!(error.contains(found), "case {number}: {error}");
    }
    // A ledger written anew from there on is whole in itself; a head that was
    // kept elsewhere names it.
    let books = open(store.path()).unwrap();
    let (at, mut head) = (5, [0; 32]);
    head.copy_from_slice(&{
        let mut sixth = Vec::new();
        drop(changed(&store, |db| sixth = get(db, 6)));
        sixth[10..42].to_vec()
    });
    assert!(verify(&books, &[(at, head)]).unwrap().differences.is_empty());
    head[0] ^= 1;
    let found = verify(&books, &[(at, head)]).unwrap().differences;
    assert!(found[0].contains("revision 5 is not what it was"), "{found:?}");
    drop(books);
    // What is derived from the events is compared as well.
    for family in ["state", "contacts"] {
        let changed = changed(&store, |db| {
            let (key, _) = rows(db, family).pop().unwrap();
            db.delete_cf(db.cf_handle(family).unwrap(), key).unwrap();
        });
        let report = verify(&open(changed.path()).unwrap(), &[]).unwrap();
        assert!(!report.differences.is_empty(), "a lost row of {family} went unnoticed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_fit_is_refused() {
    let store = stopped().await;
    let with_head = |head: Option<Vec<u8>>| {
        let folder = copy(store.path());
        match head {
            Some(bytes) => fs::write(folder.path().join(HEAD), bytes).unwrap(),
            None => fs::remove_file(folder.path().join(HEAD)).unwrap(),
        }
        folder
    };
    let own = fs::read(store.path().join(HEAD)).unwrap();
    let head_of = |folder: &Path| fs::read(folder.join(HEAD)).unwrap();
    assert_refused(with_head(None).path(), "its HEAD file is missing");
    assert_refused(with_head(Some(vec![])).path(), "holds no readable head");
    assert_refused(with_head(Some(vec![0; own.len()])).path(), "holds no readable head");
    assert_refused(with_head(Some(own[..70].to_vec())).path(), "holds no readable head");
    let other = stopped().await;
    assert_refused(with_head(Some(head_of(other.path()))).path(), "belongs to another store");

    // The same store, a little later: this one lost what came in between.
    let (later, fork) = (with_more(&store, 1).await, with_more(&store, 2).await);
    assert_refused(with_head(Some(head_of(later.path()))).path(), "1 events are lost");
    // The same number of events since, but not the same ones.
    let forked = copy(with_more(&store, 1).await.path());
    fs::write(forked.path().join(HEAD), head_of(later.path())).unwrap();
    assert_refused(forked.path(), "is not the event that had been committed under it");
    // Behind its store a head may be: that is the hundred milliseconds.
    fs::write(fork.path().join(HEAD), &own).unwrap();
    assert!(open(fork.path()).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_another_format_or_without_its_names_is_refused() {
    let store = stopped().await;
    let meta = |db: &DB, key: &str, value: Option<Vec<u8>>| {
        let family = db.cf_handle(META).unwrap();
        value.map_or_else(|| db.delete_cf(family, key), |it| db.put_cf(family, key, it)).unwrap();
    };
    let format = |number: u32| Some(number.to_le_bytes().to_vec());
    let cases = [
        ("format", format(2), "its format is 2"),
        ("format", format(0), "its format is 0"),
        ("format", None, "its format is not recorded"),
        ("epoch", None, "its epoch is missing"),
        ("secret", None, "its secret is missing"),
        ("policy", None, "its policy is missing"),
        ("tip", None, "its last event is revision"),
    ];
    for (key, value, reason) in cases {
        let changed = changed(&store, |db| meta(db, key, value));
        assert_refused(changed.path(), reason);
    }
    // A head alone says that there was a store: it is not the place for a new one.
    let gone = tempfile::tempdir().unwrap();
    fs::copy(store.path().join(HEAD), gone.path().join(HEAD)).unwrap();
    assert!(open(gone.path()).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_folder_gets_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let (_first, _) = Process::serve(folder.path()).unwrap();
    let refused = Process::serve(folder.path()).err().expect("two writers on one ledger");
    assert!(refused.contains("exit status: 1") && refused.contains("another process"), "{refused}");
    let data = folder.path().as_os_str();
    let verified = run(&["verify".as_ref(), "--data".as_ref(), data], b"");
    assert_eq!(verified.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&verified.stderr).contains("another process"));
}
