//! Who may call: tokens, what each is for, and the file that they live in.
//!
//! A call shows a token; its hash is looked up among those that are known. The
//! look-up takes no constant time, and need not: what it could tell by its time
//! is how far the *hash* of a guess agrees with a hash that is kept. Nobody can
//! make guesses with a hash of their choice, and no hash leads to its token.

mod credential;
mod file;
mod grant;
mod token;

use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;

pub use self::{
    credential::{Credential, Over},
    file::read_token,
    grant::{Brands, Grant, NotAGrant, Role},
    token::{Digest, Token},
};
use crate::{caps, clock::Clock};

/// Why tokens cannot be used, or not be changed.
#[derive(Debug)]
pub enum TokensError {
    /// Another process holds the folder.
    Locked(PathBuf),
    /// The file cannot be read, or others can.
    Read(PathBuf, io::Error),
    /// The file cannot be written.
    Write(PathBuf, io::Error),
    /// A token is revoked, and that cannot be written.
    Unwritten(Box<Self>),
    /// The file is not one of this version.
    Invalid(PathBuf, String),
    /// What was asked for is no grant.
    Grant(NotAGrant),
    /// There is a token of this name.
    Exists(String),
    /// There is none of this name.
    Missing(String),
    /// There are as many as there may be.
    Full,
}

impl fmt::Display for TokensError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(folder) => write!(
                formatter,
                "{} is in use by a server: ask it, with --endpoint in place of --data, or stop it \
                 first",
                folder.display()
            ),
            Self::Read(path, error) => write!(formatter, "{}: {error}", path.display()),
            Self::Write(path, error) => {
                write!(formatter, "{} cannot be written: {error}", path.display())
            }
            Self::Unwritten(error) => write!(
                formatter,
                "it is revoked until this process ends, and that could not be written: {error}. \
                 Revoke it again before the next start"
            ),
            Self::Invalid(path, what) => write!(
                formatter,
                "{} is not understood, so nobody is let in: {what}",
                path.display()
            ),
            Self::Grant(NotAGrant { field, what }) => write!(formatter, "{field}: {what}"),
            Self::Exists(name) => {
                write!(
                    formatter,
                    "there is a token \"{name}\": revoke it first, or take another name"
                )
            }
            Self::Missing(name) => {
                write!(
                    formatter,
                    "there is no token \"{name}\": it was never created, or is revoked"
                )
            }
            Self::Full => write!(
                formatter,
                "there are {} tokens already, as many as may be: revoke one",
                caps::TOKENS
            ),
        }
    }
}

impl std::error::Error for TokensError {}

/// Why a call is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// It shows no token.
    NoToken,
    /// It shows something that is none, or none of ours, or one that was revoked.
    Unknown,
    /// Its token's time is over.
    Expired,
}

/// The tokens of one folder. Whoever holds this is the only one to change them.
#[derive(Debug)]
pub struct Tokens {
    folder: PathBuf,
    clock: Clock,
    current: ArcSwap<Current>,
    /// Changes are made one after the other. True while the file is behind: a
    /// token was revoked, and that could not be written.
    changing: Mutex<bool>,
    _lock: File,
}

/// The tokens at one moment.
#[derive(Debug)]
struct Current {
    /// Set as long as there is no file of tokens: then everybody may do
    /// everything. A file without tokens lets nobody in.
    anybody: Option<Arc<Credential>>,
    known: HashMap<Digest, Arc<Credential>>,
}

impl Tokens {
    /// Whether the store in this folder asks for tokens.
    #[must_use]
    pub fn are_required(folder: &Path) -> bool {
        // In doubt they are: opening them then says what is wrong.
        folder.join(file::FILE).try_exists().unwrap_or(true)
    }

    /// The tokens of a folder, which is made if it is missing.
    ///
    /// # Errors
    /// Somebody else holds the folder, or its file of tokens is refused.
    pub fn open(folder: &Path, clock: Clock) -> Result<Self, TokensError> {
        let lock = file::lock(folder)?;
        let current = match file::load(folder)? {
            None => Current { anybody: Some(Arc::new(anybody())), known: HashMap::new() },
            Some(kept) => {
                let known = kept.into_iter();
                let known = known.map(|(digest, grant)| (digest, Arc::new(Credential::new(grant))));
                Current { anybody: None, known: known.collect() }
            }
        };
        Ok(Self {
            folder: folder.to_owned(),
            clock,
            current: ArcSwap::from_pointee(current),
            changing: Mutex::new(false),
            _lock: lock,
        })
    }

    /// The time by which tokens end, in ms.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.clock.now()
    }

    /// Whether everybody may do everything, because there is no file of tokens.
    #[must_use]
    pub fn are_open(&self) -> bool {
        self.current.load().anybody.is_some()
    }

    /// Who shows this token.
    ///
    /// # Errors
    /// Nobody who may call now.
    pub fn authenticate(&self, shown: Option<&str>) -> Result<Arc<Credential>, Stranger> {
        let current = self.current.load();
        if let Some(anybody) = &current.anybody {
            return Ok(Arc::clone(anybody));
        }
        let shown = shown.ok_or(Stranger::NoToken)?;
        let known = Token::parse(shown).and_then(|token| current.known.get(&token.digest()));
        let known = known.ok_or(Stranger::Unknown)?;
        match self.over(known) {
            None => Ok(Arc::clone(known)),
            Some(Over::Expired) => Err(Stranger::Expired),
            Some(Over::Revoked) => Err(Stranger::Unknown),
        }
    }

    /// Whether a credential is over by now.
    #[must_use]
    pub fn over(&self, credential: &Credential) -> Option<Over> {
        self.end_if_expired(credential);
        credential.over()
    }

    fn end_if_expired(&self, credential: &Credential) {
        if credential.grant().is_over(self.clock.now()) {
            credential.end(Over::Expired);
        }
    }

    /// Ends the streams of tokens whose time is over. To be called often:
    /// nothing else tells a stream on which nothing happens.
    pub fn expire(&self) {
        for credential in self.current.load().known.values() {
            self.end_if_expired(credential);
        }
    }

    /// What is granted now, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Grant> {
        let mut grants: Vec<Grant> =
            self.current.load().known.values().map(|each| each.grant().clone()).collect();
        grants.sort_by(|one, other| one.name.cmp(&other.name));
        grants
    }

    /// Makes a token, which is nowhere but in the answer. The first one ends
    /// the time in which everybody may do everything, for open streams too.
    ///
    /// # Errors
    /// It is no grant, the name is taken, or it cannot be written; then there
    /// is no such token.
    pub fn create(&self, grant: Grant) -> Result<Token, TokensError> {
        grant.check().map_err(TokensError::Grant)?;
        let mut behind = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load_full();
        if current.named(&grant.name).is_some() {
            return Err(TokensError::Exists(grant.name));
        }
        if current.known.len() >= caps::TOKENS {
            return Err(TokensError::Full);
        }
        let token = Token::random();
        let mut known = current.known.clone();
        known.insert(token.digest(), Arc::new(Credential::new(grant)));
        let next = Current { anybody: None, known };
        // Durable before it is given out (A2).
        next.save(&self.folder)?;
        *behind = false;
        self.current.store(Arc::new(next));
        if let Some(anybody) = &current.anybody {
            anybody.end(Over::Revoked);
        }
        Ok(token)
    }

    /// Ends a token at once, for open streams too.
    ///
    /// # Errors
    /// There is none, or that it is revoked cannot be written: then it is
    /// revoked until this process ends.
    pub fn revoke(&self, name: &str) -> Result<(), TokensError> {
        let mut behind = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load_full();
        let next = match current.named(name) {
            Some((digest, credential)) => {
                let mut known = current.known.clone();
                known.remove(digest);
                let next = Arc::new(Current { anybody: None, known });
                // Before it is written: whatever the disk does, nobody comes in (A1).
                self.current.store(Arc::clone(&next));
                credential.end(Over::Revoked);
                next
            }
            // Perhaps the one that could not be written before.
            None if *behind => current,
            None => return Err(TokensError::Missing(name.to_owned())),
        };
        *behind = true;
        next.save(&self.folder).map_err(|error| TokensError::Unwritten(Box::new(error)))?;
        *behind = false;
        Ok(())
    }
}

impl Current {
    fn named(&self, name: &str) -> Option<(&Digest, &Arc<Credential>)> {
        self.known.iter().find(|(_, credential)| credential.grant().name == name)
    }

    fn save(&self, folder: &Path) -> Result<(), TokensError> {
        let mut kept: Vec<file::Kept> =
            self.known.iter().map(|(digest, each)| (*digest, each.grant().clone())).collect();
        kept.sort_by(|(_, one), (_, other)| one.name.cmp(&other.name));
        file::save(folder, kept.iter())
    }
}

/// What everybody may do while there are no tokens.
fn anybody() -> Credential {
    Credential::new(Grant {
        name: String::new(),
        brands: Brands::All,
        roles: Role::ALL.into(),
        created_at: 0,
        expires_at: None,
    })
}

#[cfg(test)]
mod tests;
