//! `tokens.json`: the tokens of a server, as hashes, beside its store.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Brands, Digest, Grant, Role, Token, TokensError};
use crate::caps;

/// The file's name in the folder of the store.
pub(super) const FILE: &str = "tokens.json";
/// What is written before it takes the file's name; a crash may leave it.
const NEXT: &str = "tokens.json.new";
/// The format that this version writes and reads (A8).
const VERSION: u32 = 1;

/// A token as it is kept.
pub(super) type Kept = (Digest, Grant);

/// Read first: a newer version may differ in everything else.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// Fields that this version does not know are refused: one could narrow a
/// token, and to ignore it would be to widen it (A1).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    version: u32,
    tokens: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    sha256: String,
    brands: Vec<String>,
    roles: Vec<String>,
    created: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
}

impl Row {
    fn of((digest, grant): &Kept) -> io::Result<Self> {
        let time = |ms| Timestamp::from_millisecond(ms).map_err(io::Error::other);
        Ok(Self {
            name: grant.name.clone(),
            sha256: digest.to_string(),
            brands: grant.brands.names(),
            roles: grant.roles.iter().map(|role| role.name().to_owned()).collect(),
            created: time(grant.created_at)?,
            expires: grant.expires_at.map(time).transpose()?,
        })
    }

    fn read(self) -> Result<Kept, String> {
        let of = |what: &str| format!("token \"{}\": {what}", self.name);
        let digest = Digest::parse(&self.sha256).ok_or_else(|| of("sha256 is no SHA-256"))?;
        let role = |name: &String| {
            Role::from_name(name)
                .ok_or_else(|| of(&format!("\"{name}\" is no role of this version")))
        };
        let grant = Grant {
            brands: Brands::from_names(&self.brands).map_err(|error| of(&error.what))?,
            roles: self.roles.iter().map(role).collect::<Result<_, _>>()?,
            created_at: self.created.as_millisecond(),
            expires_at: self.expires.map(Timestamp::as_millisecond),
            name: self.name.clone(),
        };
        grant.check().map_err(|error| of(&error.what))?;
        Ok((digest, grant))
    }
}

/// The tokens in a folder; `None` if it has no file of them.
pub(super) fn load(folder: &Path) -> Result<Option<Vec<Kept>>, TokensError> {
    let path = folder.join(FILE);
    let text = match read_private(&path, caps::TOKENS_FILE_BYTES) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(TokensError::Read(path, error)),
    };
    parse(&text).map(Some).map_err(|what| TokensError::Invalid(path, what))
}

fn parse(text: &str) -> Result<Vec<Kept>, String> {
    let version: Version = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if version.version != VERSION {
        return Err(format!(
            "its version is {}, and this server reads version {VERSION}",
            version.version
        ));
    }
    let rows: Rows = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if rows.tokens.len() > caps::TOKENS {
        return Err(format!("{} tokens; at most {} are kept", rows.tokens.len(), caps::TOKENS));
    }
    let mut kept: Vec<Kept> = Vec::with_capacity(rows.tokens.len());
    for row in rows.tokens {
        let (digest, grant) = row.read()?;
        if kept.iter().any(|(other, it)| *other == digest || it.name == grant.name) {
            return Err(format!("token \"{}\" stands there twice", grant.name));
        }
        kept.push((digest, grant));
    }
    Ok(kept)
}

/// Replaces the file: whole or not at all, also in a power cut.
pub(super) fn save<'a>(
    folder: &Path,
    kept: impl Iterator<Item = &'a Kept>,
) -> Result<(), TokensError> {
    let path = folder.join(FILE);
    let written = || {
        let tokens = kept.map(Row::of).collect::<io::Result<Vec<_>>>()?;
        let mut text = serde_json::to_vec_pretty(&Rows { version: VERSION, tokens })?;
        text.push(b'\n');
        let next = folder.join(NEXT);
        match fs::remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Made anew, so that its mode is ours from the first byte on.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&next, &path)?;
        File::open(folder)?.sync_all()
    };
    written().map_err(|error| TokensError::Write(path.clone(), error))
}

/// Takes the folder for whoever may write its tokens, a server for its life or
/// a command for a moment. The kernel gives it back when the process ends.
pub(super) fn lock(folder: &Path) -> Result<File, TokensError> {
    let lock = || {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let folder = File::open(folder)?;
        folder.try_lock()?;
        Ok(folder)
    };
    lock().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock => TokensError::Locked(folder.into()),
        _ => TokensError::Read(folder.into(), error),
    })
}

/// Reads a token from a file of its holder's.
///
/// # Errors
/// The file cannot be read, others can read or write it, or it holds no token.
pub fn read_token(path: &Path) -> io::Result<Token> {
    Token::read(&read_private(path, 1_024)?)
}

/// The text of a file that nobody but its owner can read or write.
fn read_private(path: &Path, most: u64) -> io::Result<String> {
    let file = File::open(path)?;
    // Of what was opened, not of what stands under the name by now.
    let found = file.metadata()?;
    let refused = |what: String| io::Error::new(io::ErrorKind::PermissionDenied, what);
    if !found.is_file() {
        return Err(refused("it is not a file".to_owned()));
    }
    if found.mode() & 0o077 != 0 {
        return Err(refused(format!(
            "others can read or write it (mode {:o}): chmod 600 it, and revoke what it held if \
             somebody may have read it",
            found.mode() & 0o777
        )));
    }
    let mut text = String::new();
    file.take(most + 1).read_to_string(&mut text)?;
    if text.len() as u64 > most {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it has over {most} bytes"),
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs::Permissions, os::unix::fs::PermissionsExt};

    use super::*;

    fn kept(name: &str, brands: Brands, expires_at: Option<i64>) -> Kept {
        let roles = BTreeSet::from([Role::Filter, Role::Admin]);
        let name = name.to_owned();
        (Token::random().digest(), Grant { name, brands, roles, created_at: 1_000, expires_at })
    }

    #[test]
    fn what_is_saved_is_loaded_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path()).unwrap(), None);
        let named = Brands::Named(BTreeSet::from(["main".to_owned(), "other".to_owned()]));
        let tokens = [kept("a", named, Some(2_000)), kept("b", Brands::All, None)];
        // What a crash left does not matter.
        fs::write(folder.path().join(NEXT), b"half").unwrap();
        save(folder.path(), tokens.iter()).unwrap();
        assert_eq!(load(folder.path()).unwrap().unwrap(), tokens);
        let path = folder.path().join(FILE);
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        save(folder.path(), [].iter()).unwrap();
        assert_eq!(load(folder.path()).unwrap().unwrap(), []);

        for mode in [0o640, 0o604, 0o620, 0o602, 0o610] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = load(folder.path()).unwrap_err().to_string();
            assert!(error.contains(&format!("{mode:o}")), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_not_understood_in_full_is_refused() {
        let digest = Token::random().digest();
        let row = format!(
            r#"{{"name":"a","sha256":"{digest}","brands":["main"],"roles":["filter"],"created":"2026-01-01T00:00:00Z"}}"#
        );
        let file = |rows: &str| format!(r#"{{"version":1,"tokens":[{rows}]}}"#);
        assert_eq!(parse(&file(&row)).unwrap().len(), 1);
        let other = row.replace("\"a\"", "\"b\"");
        let cases = [
            (String::new(), "EOF"),
            (file(&row)[..40].to_owned(), "EOF"),
            (file(&row).replace(":1,", ":2,"), "version is 2"),
            (file(&row).replace("filter", "root"), "no role"),
            (file(&row).replace("[\"filter\"]", "[]"), "role"),
            (file(&row).replace("[\"main\"]", "[]"), "brand"),
            (file(&row).replace("\"main\"", "\"*\",\"main\""), "alone"),
            (file(&row).replace("\"created\"", "\"until\":1,\"created\""), "unknown field"),
            (file(&row).replace(&digest.to_string(), "abc"), "SHA-256"),
            (file(&format!("{row},{row}")), "twice"),
            (file(&format!("{row},{other}")), "twice"),
        ];
        for (text, expected) in cases {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(expected), "{error}, not {expected}");
        }
    }

    #[test]
    fn so_many_tokens_are_kept_and_one_more_is_not() {
        let row = |number: usize| {
            let digest = Token::random().digest();
            format!(
                r#"{{"name":"t{number}","sha256":"{digest}","brands":["*"],"roles":["admin"],"created":"2026-01-01T00:00:00Z"}}"#
            )
        };
        let file = |count: usize| {
            let rows: Vec<String> = (0..count).map(row).collect();
            format!(r#"{{"version":1,"tokens":[{}]}}"#, rows.join(","))
        };
        assert_eq!(parse(&file(caps::TOKENS)).unwrap().len(), caps::TOKENS);
        assert!(parse(&file(caps::TOKENS + 1)).unwrap_err().contains("at most"));
    }

    #[test]
    fn a_folder_is_locked_by_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock(folder.path()).unwrap();
        assert!(matches!(lock(folder.path()), Err(TokensError::Locked(_))));
        drop(first);
        lock(folder.path()).unwrap();
    }
}
