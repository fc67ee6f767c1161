//! The policy: which scopes exist and what each asks for (R8). Policy is data.

mod names;
mod text;

pub use names::{NameClass, Names};
pub use text::{PolicyError, STARTER};

use std::{collections::BTreeMap, fmt, ops::Range};

use super::{
    address::mask_id,
    contact::ContactKind,
    scope::{BrandId, ChannelId, PurposeId, RecipientType, Regime, Scope, ScopeRules},
};

/// A policy, read, checked, and joined to the store's numbers for its names.
#[derive(Debug)]
pub struct Policy {
    version: String,
    text: String,
    names: Names,
    channels: BTreeMap<ChannelId, Vec<ContactKind>>,
    /// Ordered by brand, so that each brand's scopes lie together.
    scopes: Vec<ScopeRules>,
    by_brand: BTreeMap<BrandId, Range<usize>>,
    redact_after: Option<i64>,
}

/// A name that the policy does not declare (R8): a typo must not look like an
/// empty list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotDeclared {
    /// What sort of name.
    pub class: NameClass,
    /// The name asked for, masked if it looks like an address.
    pub name: String,
    /// The brand that does not declare it; none if the brand itself is missing.
    pub brand: Option<String>,
}

impl fmt::Display for NotDeclared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, name, brand } = self;
        match brand {
            None => write!(formatter, "no policy declares the {class} \"{name}\"")?,
            Some(brand) => {
                write!(formatter, "the policy of brand \"{brand}\" has no {class} \"{name}\"")?;
            }
        }
        formatter.write_str("; see `sendgate policy show`")
    }
}

impl std::error::Error for NotDeclared {}

impl NotDeclared {
    /// The error about this name. Somebody may have put an address into the
    /// wrong field, and errors go to logs: what no name can be, and what has as
    /// many digits as a phone number, is not repeated.
    #[must_use]
    pub fn new(class: NameClass, name: &str, brand: Option<&str>) -> Self {
        let could_be_a_name =
            |letter: char| letter.is_ascii_alphanumeric() || "-_.* ".contains(letter);
        let is_name = name.len() <= names::MAX_NAME_BYTES + 16
            && name.chars().all(could_be_a_name)
            && name.chars().filter(char::is_ascii_digit).count() < 7;
        let name = if is_name { name.to_owned() } else { mask_id(name) };
        Self { class, name, brand: brand.map(str::to_owned) }
    }
}

impl Policy {
    /// Reads a policy and gives its names numbers: the ones in `names` where it
    /// has them, new ones otherwise.
    ///
    /// # Errors
    /// The text is not TOML of the expected shape, breaks a rule of R1 or R8,
    /// or passes a cap; the error names the place and what to do.
    pub fn read(text: &str, names: Names) -> Result<Self, PolicyError> {
        text::parse(text)?.compile(text, names)
    }

    /// The version that answers name.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The text, as it was applied.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All names that the store has ever numbered.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Every scope, in the order of the positions used elsewhere.
    #[must_use]
    pub fn scopes(&self) -> &[ScopeRules] {
        &self.scopes
    }

    /// The contact kinds of a channel.
    #[must_use]
    pub fn kinds(&self, channel: ChannelId) -> &[ContactKind] {
        self.channels.get(&channel).map_or(&[], Vec::as_slice)
    }

    /// The positions of a brand's scopes; of all scopes for [`BrandId::ALL`].
    #[must_use]
    pub fn scopes_of(&self, brand: BrandId) -> Range<usize> {
        if brand == BrandId::ALL {
            return 0..self.scopes.len();
        }
        self.by_brand.get(&brand).cloned().unwrap_or(0..0)
    }

    /// The scopes of a brand on channels that take contacts of this kind, with
    /// their positions.
    pub fn scopes_for(
        &self,
        brand: BrandId,
        kind: ContactKind,
    ) -> impl Iterator<Item = (usize, &ScopeRules)> + Clone {
        let scopes = self.scopes_of(brand);
        let rules = self.scopes.get(scopes.clone()).unwrap_or(&[]);
        let takes_kind = move |rules: &ScopeRules| self.kinds(rules.scope.channel).contains(&kind);
        scopes.zip(rules).filter(move |(_, rules)| takes_kind(rules))
    }

    /// The brands, ascending.
    pub fn brands(&self) -> impl Iterator<Item = BrandId> {
        self.by_brand.keys().copied()
    }

    /// Whether the policy has the brand.
    #[must_use]
    pub fn has_brand(&self, brand: BrandId) -> bool {
        self.by_brand.contains_key(&brand)
    }

    /// The position of a scope.
    #[must_use]
    pub fn position(&self, scope: &Scope) -> Option<usize> {
        self.scopes.binary_search_by_key(scope, |rules| rules.scope).ok()
    }

    /// The rules of a scope, if the policy has it.
    #[must_use]
    pub fn rules(&self, scope: &Scope) -> Option<&ScopeRules> {
        self.position(scope).and_then(|position| self.scopes.get(position))
    }

    /// The brand of this name.
    ///
    /// # Errors
    /// The policy does not declare it.
    pub fn brand(&self, name: &str) -> Result<BrandId, NotDeclared> {
        self.names
            .number(NameClass::Brand, name)
            .map(BrandId)
            .filter(|brand| self.has_brand(*brand))
            .ok_or_else(|| NotDeclared::new(NameClass::Brand, name, None))
    }

    /// The channel of this name, if the brand uses it.
    ///
    /// # Errors
    /// The brand's policy does not name it.
    pub fn channel(&self, brand: BrandId, name: &str) -> Result<ChannelId, NotDeclared> {
        self.names
            .channel(name)
            .filter(|channel| self.rules_of(brand).any(|rules| rules.scope.channel == *channel))
            .ok_or_else(|| NotDeclared::new(NameClass::Channel, name, Some(self.brand_name(brand))))
    }

    /// The purpose of this name, if the brand uses it.
    ///
    /// # Errors
    /// The brand's policy does not name it.
    pub fn purpose(&self, brand: BrandId, name: &str) -> Result<PurposeId, NotDeclared> {
        self.names
            .purpose(name)
            .filter(|purpose| self.rules_of(brand).any(|rules| rules.scope.purpose == *purpose))
            .ok_or_else(|| NotDeclared::new(NameClass::Purpose, name, Some(self.brand_name(brand))))
    }

    /// The scope of these names.
    ///
    /// # Errors
    /// The first of the names that is not declared.
    pub fn scope(
        &self,
        brand: &str,
        recipient_type: RecipientType,
        channel: &str,
        purpose: &str,
    ) -> Result<Scope, NotDeclared> {
        let id = self.brand(brand)?;
        let scope = || {
            let (channel, purpose) = (self.names.channel(channel)?, self.names.purpose(purpose)?);
            Some(Scope { brand: id, recipient_type, channel, purpose })
        };
        if let Some(scope) = scope().filter(|scope| self.position(scope).is_some()) {
            return Ok(scope);
        }
        self.channel(id, channel)?;
        self.purpose(id, purpose)?;
        // A purpose need not have rules for both recipient types.
        let name = format!("{purpose} for {}", recipient_type.name());
        Err(NotDeclared::new(NameClass::Purpose, &name, Some(brand)))
    }

    /// A brand's name; `*` for all brands.
    #[must_use]
    pub fn brand_name(&self, brand: BrandId) -> &str {
        self.names.name(NameClass::Brand, brand.0)
    }

    /// A channel's name; `*` for any.
    #[must_use]
    pub fn channel_name(&self, channel: ChannelId) -> &str {
        self.names.name(NameClass::Channel, channel.0.into())
    }

    /// A purpose's name; `*` for any.
    #[must_use]
    pub fn purpose_name(&self, purpose: PurposeId) -> &str {
        self.names.name(NameClass::Purpose, purpose.0.into())
    }

    /// The validity that the policy gives a grant without an end of its own.
    #[must_use]
    pub fn default_validity(&self, scope: &Scope) -> Option<i64> {
        self.rules(scope).and_then(|rules| rules.default_validity)
    }

    /// How long after its end a consent's payload is redacted, in ms; never if
    /// the policy says nothing of it.
    #[must_use]
    pub fn redact_after(&self) -> Option<i64> {
        self.redact_after
    }

    fn rules_of(&self, brand: BrandId) -> impl Iterator<Item = &ScopeRules> {
        self.scopes.get(self.scopes_of(brand)).unwrap_or(&[]).iter()
    }

    /// Assembles a policy from checked parts.
    fn assemble(
        version: String,
        text: &str,
        names: Names,
        channels: BTreeMap<ChannelId, Vec<ContactKind>>,
        mut scopes: Vec<ScopeRules>,
        redact_after: Option<i64>,
    ) -> Self {
        scopes.sort_by_key(|rules| rules.scope);
        let mut by_brand: BTreeMap<BrandId, Range<usize>> = BTreeMap::new();
        for (position, rules) in scopes.iter().enumerate() {
            by_brand.entry(rules.scope.brand).or_insert(position..position).end = position + 1;
        }
        let text = text.to_owned();
        Self { version, text, names, channels, scopes, by_brand, redact_after }
    }
}

impl Regime {
    /// The regime of this name in a policy.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::OptIn, Self::OptOut, Self::Exempt]
            .into_iter()
            .find(|regime| regime.to_string() == name)
    }
}
