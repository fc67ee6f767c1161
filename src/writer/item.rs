//! A change with what identifies it: its contact, its content, its key (R2).

use crate::{
    domain::{
        contact::{Address, ContactRef},
        event::{Change, ChangeKind},
        scope::{Level, PurposeId},
        secret::Secret,
        state::ContentDigest,
    },
    store::{Content, KeyHash},
};

/// A change, identified. Whoever submits it pays for the hashing, so that the
/// writer's one thread need not.
pub(super) struct Item {
    pub change: Change,
    /// The contact, if it is known: the writer looks it up.
    pub contact: Option<ContactRef>,
    pub content: Content,
    /// Of the caller's key, or of the content where there is none.
    pub key: KeyHash,
    /// For opt-outs with a key of the caller's, of the key and the content:
    /// where one is remembered whose key was used with other content before.
    pub reused_key: Option<KeyHash>,
}

impl Item {
    pub fn new(secret: &Secret, change: Change) -> Self {
        let content = Content::of(&change);
        let identity = identity(&change, content.digest);
        let may_be_reused = !change.event_key.is_empty() && change.only_suppresses();
        Self {
            key: hash(secret, &identity),
            reused_key: may_be_reused.then(|| reused(secret, content.digest, &identity)),
            change,
            contact: None,
            content,
        }
    }
}

/// The hashes that a change with this content may be remembered under.
pub(super) fn keys(secret: &Secret, change: &Change, content: ContentDigest) -> [KeyHash; 2] {
    let identity = identity(change, content);
    [hash(secret, &identity), reused(secret, content, &identity)]
}

fn hash(secret: &Secret, identity: &[u8]) -> KeyHash {
    KeyHash(secret.fingerprint(identity))
}

fn reused(secret: &Secret, content: ContentDigest, identity: &[u8]) -> KeyHash {
    hash(secret, &[b"reused".as_slice(), &content, identity].concat())
}

fn identity(change: &Change, content: ContentDigest) -> Vec<u8> {
    if change.event_key.is_empty() {
        [b"content".as_slice(), &content].concat()
    } else {
        scoped_key(change)
    }
}

/// The scope of an event key (R2): brand, contact, level and status.
fn scoped_key(change: &Change) -> Vec<u8> {
    let (what, level) = match &change.kind {
        ChangeKind::Consent(consent) => (consent.status as u8, consent.level),
        ChangeKind::Suppression(suppression) => {
            (10, Level::new(suppression.channel, PurposeId::ANY).unwrap_or(Level::CONTACT))
        }
        ChangeKind::Lift(lift) => {
            (11, Level::new(lift.channel, PurposeId::ANY).unwrap_or(Level::CONTACT))
        }
    };
    let mut key = b"key".to_vec();
    key.extend(change.brand.0.to_le_bytes());
    key.extend([change.address.kind() as u8, what]);
    key.extend(level.channel().0.to_le_bytes());
    key.extend(level.purpose().0.to_le_bytes());
    match &change.address {
        Address::Phone(id) | Address::ContactId(id) => key.extend(id.to_le_bytes()),
        Address::Email(text) | Address::ExternalId(text) => {
            // A length keeps an address and a key from running into each other.
            key.extend((text.len() as u64).to_le_bytes());
            key.extend(text.as_bytes());
        }
    }
    key.extend(change.event_key.as_bytes());
    key
}
