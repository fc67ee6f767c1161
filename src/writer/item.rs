//! A change with what identifies it: its contact, its content, its key (R2).

use super::books::Books;
use crate::{
    domain::{
        contact::{Address, ContactRef},
        event::{Change, ChangeKind},
        scope::{Level, PurposeId},
        state::ContentDigest,
    },
    store::{KeyHash, content_digest},
};

/// A change, identified.
pub(super) struct Item<'a> {
    pub change: &'a Change,
    /// The contact, if it is known.
    pub contact: Option<ContactRef>,
    pub content: ContentDigest,
    /// Of the caller's key, or of the content where there is none.
    pub key: KeyHash,
    /// Of the key and the content: where an opt-out is remembered whose key
    /// was used with other content before.
    pub reused_key: KeyHash,
}

impl<'a> Item<'a> {
    pub fn new(books: &Books, change: &'a Change) -> Self {
        let content = content_digest(change);
        let identity = if change.event_key.is_empty() {
            [b"content".as_slice(), &content].concat()
        } else {
            scoped_key(change)
        };
        let hash = |identity: &[u8]| KeyHash(books.view.secret.fingerprint(identity));
        let reused = [b"reused".as_slice(), &content, &identity].concat();
        Self {
            change,
            contact: books.contact(&change.address),
            content,
            key: hash(&identity),
            reused_key: hash(&reused),
        }
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
