//! What a restored store knows of its loss.

use super::{
    Epoch, StoreError,
    rows::{Reader, VERSION, damaged},
};

/// Where a restored store comes from, and what became of all that was recorded
/// after the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The epoch of the store that the backup was taken of.
    pub former_epoch: Epoch,
    /// The last revision of that epoch in the backup.
    pub former_revision: u64,
    /// When it was restored, in ms.
    pub restored_at: i64,
    /// What is known of the loss.
    pub loss: Loss,
}

/// What is known of events that were recorded after a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing. There may be withdrawals among them, so nothing is filtered (A1).
    Unknown,
    /// An operator says that everything up to this revision of the former epoch
    /// was replayed, and that there was nothing behind it.
    ReplayedTo(u64),
    /// An operator accepts that what came after this revision of the former
    /// epoch is lost.
    AcceptedSince(u64),
}

impl Restored {
    /// Whether nobody has decided yet on what is lost.
    #[must_use]
    pub fn is_undecided(&self) -> bool {
        self.loss == Loss::Unknown
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let (tag, revision) = match self.loss {
            Loss::Unknown => (0, 0),
            Loss::ReplayedTo(revision) => (1, revision),
            Loss::AcceptedSince(revision) => (2, revision),
        };
        [
            &[VERSION][..],
            &self.former_epoch.to_le_bytes(),
            &self.former_revision.to_le_bytes(),
            &self.restored_at.to_le_bytes(),
            &[tag],
            &u64::to_le_bytes(revision),
        ]
        .concat()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::read(Reader(bytes)).ok_or_else(|| damaged("where the store was restored from"))
    }

    fn read(mut reader: Reader<'_>) -> Option<Self> {
        reader.version()?;
        let former_epoch = Epoch::from_le_bytes(reader.array()?);
        let (former_revision, restored_at) = (reader.u64()?, reader.i64()?);
        let loss = match (reader.u8()?, reader.u64()?) {
            (0, 0) => Loss::Unknown,
            (1, revision) => Loss::ReplayedTo(revision),
            (2, revision) => Loss::AcceptedSince(revision),
            _ => return None,
        };
        reader.end().then_some(Self { former_epoch, former_revision, restored_at, loss })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_loss_is_read_back_and_damage_is_not() {
        for loss in [Loss::Unknown, Loss::ReplayedTo(9), Loss::AcceptedSince(u64::MAX)] {
            let restored =
                Restored { former_epoch: 7 << 100, former_revision: 5, restored_at: -3, loss };
            let bytes = restored.encode();
            assert_eq!(Restored::decode(&bytes).unwrap(), restored);
            assert!(Restored::decode(&bytes[1..]).is_err());
            assert!(Restored::decode(&[&bytes[..], &[0]].concat()).is_err());
            let mut unknown = bytes;
            unknown[33] = 3;
            assert!(Restored::decode(&unknown).is_err(), "a loss of a later version");
        }
    }
}
