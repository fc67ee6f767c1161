//! The tokens of a folder, without a server.

use std::{
    collections::BTreeSet,
    fs,
    sync::atomic::{AtomicI64, Ordering},
};

use super::*;

fn open(folder: &Path) -> (Tokens, Arc<AtomicI64>) {
    let time = Arc::new(AtomicI64::new(1_000));
    (Tokens::open(folder, Clock::Manual(Arc::clone(&time))).unwrap(), time)
}

fn filter_of_main(tokens: &Tokens, name: &str, expires: Option<i64>) -> Result<Token, TokensError> {
    let brands = Brands::from_names(&["main".to_owned()]).unwrap();
    tokens.create(Grant {
        name: name.to_owned(),
        brands,
        roles: BTreeSet::from([Role::Filter]),
        created_at: tokens.now(),
        expires_at: expires,
    })
}

#[test]
fn without_a_file_everybody_may_and_the_first_token_ends_that() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!Tokens::are_required(folder.path()));
    let (tokens, _) = open(folder.path());
    let anybody = tokens.authenticate(None).unwrap();
    assert!(anybody.grant().runs_the_server());
    assert_eq!(tokens.over(&anybody), None);

    let token = filter_of_main(&tokens, "one", None).unwrap();
    assert_eq!(tokens.over(&anybody), Some(Over::Revoked));
    assert_eq!(tokens.authenticate(None).unwrap_err(), Stranger::NoToken);
    assert_eq!(tokens.authenticate(Some("x")).unwrap_err(), Stranger::Unknown);
    assert_eq!(tokens.authenticate(Some(token.expose())).unwrap().grant().name, "one");

    // The last one gone, nobody may: the file stays.
    tokens.revoke("one").unwrap();
    assert_eq!(tokens.authenticate(Some(token.expose())).unwrap_err(), Stranger::Unknown);
    drop(tokens);
    assert!(Tokens::are_required(folder.path()));
    let (tokens, _) = open(folder.path());
    assert_eq!(tokens.authenticate(None).unwrap_err(), Stranger::NoToken);
}

#[test]
fn what_is_created_outlives_the_process_and_what_is_revoked_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (tokens, _) = open(folder.path());
    let (kept, revoked) =
        (filter_of_main(&tokens, "b", None).unwrap(), filter_of_main(&tokens, "a", None).unwrap());
    let names =
        |tokens: &Tokens| tokens.list().into_iter().map(|it| it.name).collect::<Vec<_>>().join(",");
    assert_eq!(names(&tokens), "a,b");
    assert!(matches!(filter_of_main(&tokens, "a", None), Err(TokensError::Exists(_))));
    assert!(matches!(Tokens::open(folder.path(), Clock::System), Err(TokensError::Locked(_))));
    let holder = tokens.authenticate(Some(revoked.expose())).unwrap();
    tokens.revoke("a").unwrap();
    assert_eq!(tokens.over(&holder), Some(Over::Revoked));
    assert!(matches!(tokens.revoke("a"), Err(TokensError::Missing(_))));
    drop(tokens);

    let text = fs::read_to_string(folder.path().join(file::FILE)).unwrap();
    assert!(!text.contains(kept.expose()) && text.contains(&kept.digest().to_string()));
    let (tokens, _) = open(folder.path());
    assert_eq!(names(&tokens), "b");
    assert!(tokens.authenticate(Some(kept.expose())).is_ok());
    assert!(tokens.authenticate(Some(revoked.expose())).is_err());
}

#[test]
fn a_token_expires_on_the_millisecond_and_stays_so_while_the_clock_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let (tokens, time) = open(folder.path());
    let token = filter_of_main(&tokens, "one", Some(2_000)).unwrap();
    time.store(1_999, Ordering::SeqCst);
    tokens.expire();
    let holder = tokens.authenticate(Some(token.expose())).unwrap();
    assert_eq!(holder.over(), None);
    time.store(2_000, Ordering::SeqCst);
    assert_eq!(tokens.authenticate(Some(token.expose())).unwrap_err(), Stranger::Expired);
    assert_eq!(holder.over(), Some(Over::Expired));
    time.store(1_000, Ordering::SeqCst);
    assert_eq!(tokens.authenticate(Some(token.expose())).unwrap_err(), Stranger::Expired);
    assert!(matches!(filter_of_main(&tokens, "two", Some(1_000)), Err(TokensError::Grant(_))));
}

#[tokio::test]
async fn whoever_waits_is_told_of_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (tokens, time) = open(folder.path());
    let token = filter_of_main(&tokens, "one", Some(2_000)).unwrap();
    let holder = tokens.authenticate(Some(token.expose())).unwrap();
    let waiting = tokio::spawn(async move { holder.ended().await });
    tokio::task::yield_now().await;
    time.store(2_000, Ordering::SeqCst);
    tokens.expire();
    assert_eq!(waiting.await.unwrap(), Over::Expired);
}

#[test]
fn a_disk_that_fails_creates_nothing_and_revokes_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (tokens, _) = open(folder.path());
    let token = filter_of_main(&tokens, "one", None).unwrap();
    // A folder in the way of what is written next.
    fs::create_dir(folder.path().join("tokens.json.new")).unwrap();
    assert!(matches!(filter_of_main(&tokens, "two", None), Err(TokensError::Write(..))));
    assert_eq!(tokens.list().len(), 1);
    for _ in 0..2 {
        assert!(matches!(tokens.revoke("one"), Err(TokensError::Unwritten(_))));
        assert_eq!(tokens.authenticate(Some(token.expose())).unwrap_err(), Stranger::Unknown);
    }
    fs::remove_dir(folder.path().join("tokens.json.new")).unwrap();
    tokens.revoke("one").unwrap();
    assert!(matches!(tokens.revoke("one"), Err(TokensError::Missing(_))));
    drop(tokens);
    assert_eq!(open(folder.path()).0.list(), []);
}
