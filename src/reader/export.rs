//! The known contacts of a scope, slice by slice, from one snapshot.

use std::iter::Peekable;

use super::{Ledger, ReadError, known::Found};
use crate::{
    domain::{
        contact::{Address, ContactKind, ContactRef},
        decide::{Decision, decide},
        scope::{BrandId, ScopeRules},
        secret::{Fingerprint, Secret},
        state::ContactState,
        time::Now,
    },
    store::StoreError,
};

/// A contact of an export, with the verdict on it.
pub type Exported = (Address, Decision);

impl Ledger<'_> {
    /// Every contact of a kind of which something is known in the scope's brand
    /// or in all brands, each with its verdict, in slices of so many.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn export(
        &self,
        rules: ScopeRules,
        kind: ContactKind,
        now: Now,
        slice: usize,
    ) -> Result<impl Iterator<Item = Result<Vec<Exported>, ReadError>>, ReadError> {
        let brand = rules.scope.brand;
        let mut known = Known {
            brand: self.snapshot.states_of(brand, kind)?.peekable(),
            all_brands: self.snapshot.states_of(BrandId::ALL, kind)?.peekable(),
            secret: self.snapshot.secret(),
        };
        let has_erased = self.snapshot.has_erased()?;
        Ok(std::iter::from_fn(move || {
            let mut contacts = Vec::with_capacity(slice);
            for row in known.by_ref().take(slice) {
                match row {
                    Ok(row) => contacts.push(row),
                    Err(error) => return Some(Err(error.into())),
                }
            }
            let contacts = Some(contacts).filter(|contacts| !contacts.is_empty())?;
            Some(self.decide_slice(contacts, &rules, now, has_erased))
        }))
    }

    fn decide_slice(
        &self,
        contacts: Vec<(ContactRef, [ContactState; 2])>,
        rules: &ScopeRules,
        now: Now,
        has_erased: bool,
    ) -> Result<Vec<Exported>, ReadError> {
        let addresses = self.addresses(contacts.iter().map(|(contact, _)| *contact))?;
        let marks: Vec<Fingerprint> = if has_erased {
            addresses.iter().flat_map(|each| self.marks_of(each, rules.scope.brand)).collect()
        } else {
            Vec::new()
        };
        let mut marks = self.snapshot.erased(&marks)?.into_iter();
        let decided = addresses.into_iter().zip(contacts).map(|(address, (_, states))| {
            let erased = [marks.next().flatten(), marks.next().flatten()];
            (address, decide(Found { states, erased }.known(), rules, now))
        });
        Ok(decided.collect())
    }

    /// The addresses of contacts, in order.
    fn addresses(
        &self,
        contacts: impl Iterator<Item = ContactRef> + Clone,
    ) -> Result<Vec<Address>, ReadError> {
        let texts: Vec<ContactRef> =
            contacts.clone().filter(|contact| !contact.kind.is_direct()).collect();
        let mut texts = self.snapshot.addresses(&texts)?.into_iter();
        let mut text = |contact: ContactRef| {
            texts.next().flatten().ok_or_else(|| {
                StoreError::Refused(format!("the address with ordinal {} is missing", contact.id))
            })
        };
        let address = |contact: ContactRef| {
            Ok(match contact.kind {
                ContactKind::Phone => Address::Phone(contact.id),
                ContactKind::ContactId => Address::ContactId(contact.id),
                ContactKind::Email => Address::Email(text(contact)?),
                ContactKind::ExternalId => Address::ExternalId(text(contact)?),
            })
        };
        contacts.map(address).collect()
    }
}

/// What is known in the brand joined to what is known in all brands: both come
/// in the order of the sealed contact IDs.
struct Known<'s, A: Iterator, B: Iterator> {
    brand: Peekable<A>,
    all_brands: Peekable<B>,
    secret: &'s Secret,
}

type State = Result<(ContactRef, ContactState), StoreError>;

impl<A: Iterator<Item = State>, B: Iterator<Item = State>> Iterator for Known<'_, A, B> {
    type Item = Result<(ContactRef, [ContactState; 2]), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let place = |state: Option<&State>| {
            state.map(|state| state.as_ref().ok().map(|(contact, _)| self.secret.seal(contact.id)))
        };
        // An error sorts first, so that it is met at once; an end sorts last.
        let (brand, all_brands) = (place(self.brand.peek()), place(self.all_brands.peek()));
        let takes = |one: Option<Option<u64>>, other: Option<Option<u64>>| {
            one.is_some_and(|one| other.is_none_or(|other| one <= other))
        };
        let of_brand = if takes(brand, all_brands) { self.brand.next() } else { None };
        let of_all = if takes(all_brands, brand) { self.all_brands.next() } else { None };
        match (of_brand.transpose(), of_all.transpose()) {
            (Err(error), _) | (_, Err(error)) => Some(Err(error)),
            (Ok(None), Ok(None)) => None,
            (Ok(Some((contact, brand))), Ok(None)) => {
                Some(Ok((contact, [brand, ContactState::default()])))
            }
            (Ok(None), Ok(Some((contact, all)))) => {
                Some(Ok((contact, [ContactState::default(), all])))
            }
            (Ok(Some((contact, brand))), Ok(Some((_, all)))) => Some(Ok((contact, [brand, all]))),
        }
    }
}
