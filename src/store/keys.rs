//! The keys of every column family. Integers are big-endian, so that the order
//! of keys is the order of numbers.

use crate::domain::{
    contact::{ContactKind, ContactRef},
    plane::{Area, PlaneId, PlaneRole},
    scope::{BrandId, ChannelId, PurposeId, RecipientType, Scope},
    secret::Secret,
};

/// Column families, by name. The names are stored (A8).
pub(super) mod family {
    pub const EVENTS: &str = "events";
    pub const HISTORY: &str = "history";
    pub const STATE: &str = "state";
    pub const KEYS: &str = "keys";
    pub const CONTACTS: &str = "contacts";
    pub const PAGES: &str = "pages";
    pub const ERASED: &str = "erased";
    pub const EXPIRY: &str = "expiry";
    pub const META: &str = "meta";

    pub const ALL: [&str; 9] =
        [EVENTS, HISTORY, STATE, KEYS, CONTACTS, PAGES, ERASED, EXPIRY, META];
}

/// Keys of the family `meta`.
pub(super) mod meta {
    pub const FORMAT: &[u8] = b"format";
    pub const EPOCH: &[u8] = b"epoch";
    pub const SECRET: &[u8] = b"secret";
    pub const TIP: &[u8] = b"tip";
    pub const POLICY: &[u8] = b"policy";
    pub const CHECKPOINT: &[u8] = b"checkpoint";
    pub const REDACTED: &[u8] = b"redacted";
    /// Where a restored store comes from, and what became of its loss.
    pub const RESTORED: &[u8] = b"restored";
    /// Rewritten by a purge, so that there is something to flush.
    pub const PURGE: &[u8] = b"purge";

    pub const ALL: [&[u8]; 9] =
        [FORMAT, EPOCH, SECRET, TIP, POLICY, CHECKPOINT, REDACTED, RESTORED, PURGE];
}

/// A contact within a brand, as keys name it: brand ‖ kind ‖ sealed contact ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContactKey([u8; ContactKey::LEN]);

impl ContactKey {
    const LEN: usize = 13;

    /// The key of a contact within a brand.
    #[must_use]
    pub fn new(secret: &Secret, brand: BrandId, contact: ContactRef) -> Self {
        let mut key = [0; Self::LEN];
        let parts = brand
            .0
            .to_be_bytes()
            .into_iter()
            .chain([contact.kind as u8])
            .chain(secret.seal(contact.id).to_be_bytes());
        key.iter_mut().zip(parts).for_each(|(slot, byte)| *slot = byte);
        Self(key)
    }

    pub(super) fn parse(key: &[u8]) -> Option<Self> {
        key.try_into().ok().map(Self)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The brand in the key.
    #[must_use]
    pub fn brand(&self) -> BrandId {
        let [a, b, c, d, ..] = self.0;
        BrandId(u32::from_be_bytes([a, b, c, d]))
    }

    /// The contact in the key; `None` if the key is damaged.
    #[must_use]
    pub fn contact(&self, secret: &Secret) -> Option<ContactRef> {
        let sealed = self.0.last_chunk().copied().map(u64::from_be_bytes)?;
        Some(ContactRef { kind: self.kind()?, id: secret.unseal(sealed) })
    }

    /// The kind in the key; `None` if the key is damaged.
    #[must_use]
    pub fn kind(&self) -> Option<ContactKind> {
        let [_, _, _, _, kind, ..] = self.0;
        ContactKind::from_tag(kind)
    }
}

/// What the keys of all contacts of a kind within a brand begin with.
pub(super) fn contacts(brand: BrandId, kind: ContactKind) -> [u8; 5] {
    let [a, b, c, d] = brand.0.to_be_bytes();
    [a, b, c, d, kind as u8]
}

/// The keyed hash of an event's identity (R2): of its scoped key, or of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyHash(pub u128);

pub(super) fn event(revision: u64) -> [u8; 8] {
    revision.to_be_bytes()
}

pub(super) fn history(contact: &ContactKey, revision: u64) -> Vec<u8> {
    [contact.as_bytes(), &revision.to_be_bytes()].concat()
}

pub(super) fn expiry(due: i64, contact: &ContactKey) -> Vec<u8> {
    [&ordered(due).to_be_bytes(), contact.as_bytes()].concat()
}

/// Where the ends due at or after `due` begin.
pub(super) fn expiry_from(due: i64) -> [u8; 8] {
    ordered(due).to_be_bytes()
}

pub(super) fn parse_expiry(key: &[u8]) -> Option<(i64, ContactKey)> {
    let (due, contact) = key.split_first_chunk::<8>()?;
    Some(((u64::from_be_bytes(*due) ^ SIGN) as i64, ContactKey::parse(contact)?))
}

/// Signed times in unsigned order.
fn ordered(time: i64) -> u64 {
    time as u64 ^ SIGN
}

const SIGN: u64 = 1 << 63;

pub(super) fn contact(kind: ContactKind, ordinal: u64) -> Vec<u8> {
    [&[kind as u8][..], &ordinal.to_be_bytes()].concat()
}

const PLANE_PAGE: u8 = 1;
const DIRECTORY_BLOCK: u8 = 2;

/// What a row of the family `pages` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageKey {
    Plane(PlaneId, u64),
    Directory(ContactKind, u64),
}

impl PageKey {
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Plane(plane, page) => {
                [&[PLANE_PAGE][..], &plane_bytes(plane), &page.to_be_bytes()].concat()
            }
            Self::Directory(kind, block) => {
                [&[DIRECTORY_BLOCK, *kind as u8][..], &block.to_be_bytes()].concat()
            }
        }
    }

    pub fn parse(key: &[u8]) -> Option<Self> {
        match key.split_first()? {
            (&PLANE_PAGE, rest) => {
                let (plane, page) = rest.split_at_checked(PLANE_BYTES)?;
                Some(Self::Plane(parse_plane(plane)?, u64::from_be_bytes(page.try_into().ok()?)))
            }
            (&DIRECTORY_BLOCK, [kind, block @ ..]) => Some(Self::Directory(
                ContactKind::from_tag(*kind)?,
                u64::from_be_bytes(block.try_into().ok()?),
            )),
            _ => None,
        }
    }
}

const PLANE_BYTES: usize = 11;

/// A plane's name: brand ‖ type ‖ channel ‖ purpose ‖ kind ‖ role; all scopes of
/// a brand have 0 as type, channel and purpose.
pub(super) fn plane_bytes(plane: &PlaneId) -> Vec<u8> {
    let (recipient_type, channel, purpose) = match plane.area {
        Area::Brand(_) => (0, ChannelId::ANY, PurposeId::ANY),
        Area::Scope(scope) => (scope.recipient_type as u8, scope.channel, scope.purpose),
    };
    [
        &plane.area.brand().0.to_be_bytes()[..],
        &[recipient_type],
        &channel.0.to_be_bytes(),
        &purpose.0.to_be_bytes(),
        &[plane.kind as u8, plane.role.tag()],
    ]
    .concat()
}

pub(super) fn parse_plane(bytes: &[u8]) -> Option<PlaneId> {
    let &[b0, b1, b2, b3, recipient, c0, c1, p0, p1, kind, role] = bytes else { return None };
    let brand = BrandId(u32::from_be_bytes([b0, b1, b2, b3]));
    let channel = ChannelId(u16::from_be_bytes([c0, c1]));
    let purpose = PurposeId(u16::from_be_bytes([p0, p1]));
    let role = PlaneRole::from_tag(role)?;
    let area = match RecipientType::ALL.into_iter().find(|each| *each as u8 == recipient) {
        Some(recipient_type) => Area::Scope(Scope { brand, recipient_type, channel, purpose }),
        // Verdicts are of one scope.
        None if role == PlaneRole::Verdict => return None,
        None => (recipient, channel, purpose)
            .eq(&(0, ChannelId::ANY, PurposeId::ANY))
            .then_some(Area::Brand(brand))?,
    };
    Some(PlaneId { area, kind: ContactKind::from_tag(kind)?, role })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::reason::Reason;

    fn secret() -> Secret {
        Secret::from_bytes(&[0x5a; Secret::BYTES]).unwrap()
    }

    fn plane() -> PlaneId {
        PlaneId {
            area: Area::Scope(Scope {
                brand: BrandId(70_000),
                recipient_type: RecipientType::Merchant,
                channel: ChannelId(300),
                purpose: PurposeId(7),
            }),
            kind: ContactKind::Email,
            role: PlaneRole::Reason(Reason::HardBounce),
        }
    }

    #[test]
    fn page_keys_round_trip() {
        let of_brand = PlaneId { area: Area::Brand(BrandId(70_000)), ..plane() };
        for key in [
            PageKey::Plane(plane(), 1 << 40),
            PageKey::Plane(of_brand, 1 << 40),
            PageKey::Directory(ContactKind::Email, 9),
        ] {
            assert_eq!(PageKey::parse(&key.encode()), Some(key));
        }
    }

    #[test]
    fn only_reasons_are_of_a_whole_brand_and_nothing_is_of_half_of_one() {
        let of_brand = PlaneId { area: Area::Brand(BrandId(70_000)), ..plane() };
        let bytes = plane_bytes(&of_brand);
        assert_eq!(bytes, [0, 1, 0x11, 0x70, 0, 0, 0, 0, 0, 2, 8]);
        for (at, value) in [(10, 0), (5, 1), (8, 1), (4, 3)] {
            let mut other = bytes.clone();
            other[at] = value;
            assert_eq!(parse_plane(&other), None, "byte {at}");
        }
    }

    #[test]
    fn damaged_page_keys_are_not_read() {
        let whole = PageKey::Plane(plane(), 5).encode();
        for length in 0..whole.len() {
            assert_eq!(PageKey::parse(&whole[..length]), None);
        }
        assert_eq!(PageKey::parse(&[9; 20]), None);
    }

    #[test]
    fn expiry_keys_sort_by_time_also_before_1970() {
        let secret = secret();
        let contact = ContactRef { kind: ContactKind::Phone, id: 905_321_234_567 };
        let key = ContactKey::new(&secret, BrandId(1), contact);
        let times = [i64::MIN, -5, 0, 5, i64::MAX];
        let keys: Vec<_> = times.iter().map(|due| expiry(*due, &key)).collect();
        assert!(keys.is_sorted());
        for (time, bytes) in times.into_iter().zip(keys) {
            assert_eq!(parse_expiry(&bytes), Some((time, key)));
        }
    }

    #[test]
    fn a_contact_key_shows_no_phone_number() {
        let contact = ContactRef { kind: ContactKind::Phone, id: 905_321_234_567 };
        let key = ContactKey::new(&secret(), BrandId(1), contact);
        for digits in [&contact.id.to_be_bytes()[3..], &contact.id.to_le_bytes()[..5]] {
            assert!(!key.as_bytes().windows(5).any(|window| window == digits));
        }
        assert_eq!(key.contact(&secret()), Some(contact));
        assert_eq!((key.brand(), key.kind()), (BrandId(1), Some(ContactKind::Phone)));
    }
}
