//! A moment of the ledger, and who is asked about.

use std::sync::Arc;

use tonic::Status;

use super::{Services, check::contact_of, question::revision};
use crate::{
    domain::{
        address::{in_e164_range, plausible},
        contact::Address,
        policy::Policy,
        scope::Regime,
    },
    engine::view::View,
    proto::v1,
    reader::{Ledger, Subject},
};

/// A snapshot of the ledger with a view that shows all of it: what is not
/// visible yet is told to nobody (A2).
pub(super) struct Moment<'s> {
    pub ledger: Ledger<'s>,
    /// A view at least as new as the snapshot.
    pub view: Arc<View>,
    /// The policy in force in the snapshot.
    pub policy: Arc<Policy>,
    /// A view from before the snapshot was taken.
    before: Arc<View>,
}

impl Services {
    /// The ledger as of now.
    pub(super) async fn moment(&self) -> Result<Moment<'_>, Status> {
        let before = self.published.load();
        let ledger = tokio::task::block_in_place(|| self.reader.ledger())?;
        if !self.reached(ledger.revision()).await {
            return Err(Self::not_yet(&before));
        }
        let view = self.published.load();
        let present = (&view.policy, view.policy_revision);
        let policy = tokio::task::block_in_place(|| ledger.policy_at(ledger.revision(), present))?;
        let policy = policy.unwrap_or_else(|| Arc::clone(&view.policy));
        Ok(Moment { ledger, view, policy, before })
    }
}

impl Moment<'_> {
    /// The snapshot's revision as it travels.
    pub fn revision(&self) -> v1::Revision {
        revision(&self.view, self.ledger.revision())
    }

    /// Somebody to ask the ledger about.
    pub fn subject(&self, address: Address) -> Subject {
        // An address that was erased since the snapshot is known to the older
        // view, which never loses an entry.
        let contact =
            contact_of(&self.view, &address).or_else(|| contact_of(&self.before, &address));
        Subject { address, contact }
    }
}

/// Whether a filter takes the address for a recipient: where unknown is
/// permitted, a number must also be one that could be given out (R1).
pub(super) fn is_recipient(address: &Address, regime: Regime) -> bool {
    match address {
        Address::Phone(number) if regime == Regime::OptIn => in_e164_range(*number),
        Address::Phone(number) => plausible(*number),
        Address::ContactId(_) | Address::Email(_) | Address::ExternalId(_) => true,
    }
}
