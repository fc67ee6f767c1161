//! The numbers of names. A number is given once and never reused (A8).

use std::{collections::BTreeMap, fmt};

use crate::domain::scope::{BrandId, ChannelId, PurposeId};

/// The longest name, in bytes. Names travel in every request and key.
pub const MAX_NAME_BYTES: usize = 64;

/// What sort of name a number stands for. The numbers are stored (A8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NameClass {
    /// A brand.
    Brand = 1,
    /// A channel.
    Channel = 2,
    /// A purpose.
    Purpose = 3,
}

impl NameClass {
    /// The class with this stored number.
    #[must_use]
    pub fn from_tag(tag: i32) -> Option<Self> {
        [Self::Brand, Self::Channel, Self::Purpose].into_iter().find(|each| *each as i32 == tag)
    }
}

impl fmt::Display for NameClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Brand => "brand",
            Self::Channel => "channel",
            Self::Purpose => "purpose",
        })
    }
}

/// All names that a store has ever numbered, from 1 in each class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    // One map a class, so that a name is looked up without a copy of it. Ordered:
    // a comparison of a few names is quicker than one hash that is safe to use.
    brands: BTreeMap<String, u32>,
    channels: BTreeMap<String, u32>,
    purposes: BTreeMap<String, u32>,
    backward: BTreeMap<(NameClass, u32), String>,
}

impl Names {
    /// Restores a stored assignment. False if it contradicts one already made,
    /// which means that the store is damaged (A9).
    #[must_use]
    pub fn restore(&mut self, class: NameClass, number: u32, name: &str) -> bool {
        let fresh = number != 0
            && !self.backward.contains_key(&(class, number))
            && self.number(class, name).is_none();
        if fresh {
            self.insert(class, number, name);
        }
        fresh || self.number(class, name) == Some(number)
    }

    /// The number of a name, given now if it has none.
    pub(super) fn intern(&mut self, class: NameClass, name: &str) -> u32 {
        if let Some(number) = self.number(class, name) {
            return number;
        }
        let greatest = self.backward.range((class, 0)..=(class, u32::MAX)).next_back();
        let number = greatest.map_or(0, |((_, number), _)| *number) + 1;
        self.insert(class, number, name);
        number
    }

    fn insert(&mut self, class: NameClass, number: u32, name: &str) {
        let forward = match class {
            NameClass::Brand => &mut self.brands,
            NameClass::Channel => &mut self.channels,
            NameClass::Purpose => &mut self.purposes,
        };
        forward.insert(name.to_owned(), number);
        self.backward.insert((class, number), name.to_owned());
    }

    /// The number of a name.
    #[must_use]
    pub fn number(&self, class: NameClass, name: &str) -> Option<u32> {
        let forward = match class {
            NameClass::Brand => &self.brands,
            NameClass::Channel => &self.channels,
            NameClass::Purpose => &self.purposes,
        };
        forward.get(name).copied()
    }

    /// The channel of a name.
    #[must_use]
    pub fn channel(&self, name: &str) -> Option<ChannelId> {
        let number = self.number(NameClass::Channel, name)?;
        u16::try_from(number).ok().map(ChannelId)
    }

    /// The purpose of a name.
    #[must_use]
    pub fn purpose(&self, name: &str) -> Option<PurposeId> {
        let number = self.number(NameClass::Purpose, name)?;
        u16::try_from(number).ok().map(PurposeId)
    }

    /// The name of a number; `*` for 0 and for a number never given.
    #[must_use]
    pub fn name(&self, class: NameClass, number: u32) -> &str {
        self.backward.get(&(class, number)).map_or("*", String::as_str)
    }

    /// Every brand that was ever named.
    pub fn brands(&self) -> impl Iterator<Item = BrandId> {
        let brands = self.backward.keys().filter(|(class, _)| *class == NameClass::Brand);
        brands.map(|(_, number)| BrandId(*number))
    }

    /// Every assignment, by class and number.
    #[must_use]
    pub fn all(&self) -> Vec<(NameClass, u32, &str)> {
        let all = self.backward.iter();
        all.map(|((class, number), name)| (*class, *number, name.as_str())).collect()
    }
}
