//! What imports take from the policy: the channels and purposes of each type of
//! İYS, and the names of a brand's purposes.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt,
};

use serde::Deserialize;

/// The part of a policy that an import of İYS files needs. The server parses
/// and checks the whole; this reads what it returned.
#[derive(Deserialize)]
struct PolicyText {
    #[serde(default)]
    channels: BTreeMap<String, Channel>,
    #[serde(default)]
    purposes: BTreeMap<String, Purpose>,
    #[serde(default)]
    brands: BTreeMap<String, Brand>,
}

#[derive(Deserialize)]
struct Channel {
    iys: Option<String>,
}

#[derive(Deserialize)]
struct Purpose {
    #[serde(default)]
    iys: bool,
}

#[derive(Deserialize)]
struct Brand {
    channels: Option<Vec<String>>,
    purposes: Option<Vec<String>>,
}

impl PolicyText {
    fn parse(toml: &str) -> Result<Self, MappingError> {
        toml::from_str(toml).map_err(MappingError::Unreadable)
    }

    fn brand(&self, brand: &str) -> Result<&Brand, MappingError> {
        self.brands.get(brand).ok_or_else(|| MappingError::UnknownBrand {
            brand: brand.to_owned(),
            declared: self.brands.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        })
    }
}

/// Whether a brand uses what is named; without a list it uses everything.
fn in_brand(list: &Option<Vec<String>>, name: &String) -> bool {
    list.as_ref().is_none_or(|list| list.contains(name))
}

/// The purposes that a brand uses.
///
/// # Errors
/// The policy cannot be read, or does not declare the brand.
pub fn purposes_of(toml: &str, brand: &str) -> Result<BTreeSet<String>, MappingError> {
    let policy = PolicyText::parse(toml)?;
    let declared = policy.brand(brand)?;
    let names = policy.purposes.keys();
    Ok(names.filter(|name| in_brand(&declared.purposes, name)).cloned().collect())
}

/// What a row of an İYS file means for one brand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IysMapping {
    /// The channels of each type: `MESAJ` is sms, mms and rcs by default.
    channels: BTreeMap<String, Vec<String>>,
    /// The purposes that an ONAY grants.
    purposes: Vec<String>,
}

/// Why a policy gives no mapping.
#[derive(Debug)]
pub enum MappingError {
    /// The text is not a policy that this version reads.
    Unreadable(toml::de::Error),
    /// A brand that the policy does not declare.
    UnknownBrand {
        /// The brand asked for.
        brand: String,
        /// Those that there are.
        declared: String,
    },
    /// Nothing to grant: importing would silently drop every ONAY.
    NoPurpose {
        /// The brand asked for.
        brand: String,
    },
}

impl fmt::Display for MappingError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => {
                write!(formatter, "the server's policy cannot be read: {error}")
            }
            Self::UnknownBrand { brand, declared } => {
                write!(formatter, "the policy declares no brand {brand}; it declares {declared}")
            }
            Self::NoPurpose { brand } => {
                write!(formatter, "the policy maps no purpose of brand {brand} to İYS (iys = true)")
            }
        }
    }
}

impl Error for MappingError {}

impl IysMapping {
    /// Reads the mapping for `brand` from a policy's TOML.
    ///
    /// # Errors
    /// The policy cannot be read, does not declare the brand, or lets ONAY
    /// grant nothing.
    pub fn from_policy(toml: &str, brand: &str) -> Result<Self, MappingError> {
        let policy = PolicyText::parse(toml)?;
        let declared = policy.brand(brand)?;
        let mut mapping = Self::default();
        for (name, channel) in &policy.channels {
            if let Some(iys) = &channel.iys
                && in_brand(&declared.channels, name)
            {
                mapping.channels.entry(iys.to_ascii_uppercase()).or_default().push(name.clone());
            }
        }
        for (name, purpose) in &policy.purposes {
            if purpose.iys && in_brand(&declared.purposes, name) {
                mapping.purposes.push(name.clone());
            }
        }
        if mapping.purposes.is_empty() {
            return Err(MappingError::NoPurpose { brand: brand.to_owned() });
        }
        Ok(mapping)
    }

    /// The channels that a type stands for; none if the policy maps none.
    #[must_use]
    pub fn channels(&self, iys_type: &str) -> &[String] {
        self.channels.get(iys_type).map(Vec::as_slice).unwrap_or_default()
    }

    /// The purposes that an ONAY grants.
    #[must_use]
    pub fn purposes(&self) -> &[String] {
        &self.purposes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
        version = "t"
        [channels.sms]
        kinds = ["phone"]
        iys = "MESAJ"
        [channels.rcs]
        kinds = ["phone"]
        iys = "MESAJ"
        [channels.email]
        kinds = ["email"]
        iys = "EPOSTA"
        [purposes.marketing]
        individual = { regime = "opt_in", default_validity_days = 1095 }
        merchant = "opt_out"
        iys = true
        [purposes.newsletter]
        individual = "opt_in"
        [brands.main]
        [brands.texts]
        channels = ["sms"]
        [brands.mute]
        purposes = ["newsletter"]
    "#;

    #[test]
    fn a_brand_maps_to_its_own_channels_only() {
        let main = IysMapping::from_policy(POLICY, "main").unwrap();
        assert_eq!(main.channels("MESAJ"), ["rcs", "sms"]);
        assert_eq!(main.purposes(), ["marketing"]);
        let texts = IysMapping::from_policy(POLICY, "texts").unwrap();
        assert_eq!(texts.channels("MESAJ"), ["sms"]);
        assert_eq!(texts.channels("EPOSTA"), [""; 0]);
    }

    #[test]
    fn the_starter_policy_maps_every_type() {
        let starter = include_str!("../domain/policy/starter.toml");
        let main = IysMapping::from_policy(starter, "main").unwrap();
        assert_eq!(main.channels("MESAJ"), ["mms", "rcs", "sms"]);
        assert_eq!(main.channels("ARAMA"), ["call"]);
        assert_eq!(main.channels("EPOSTA"), ["email"]);
        assert_eq!(main.purposes(), ["marketing"]);
    }

    #[test]
    fn a_brand_that_could_grant_nothing_is_refused() {
        let error = |brand| IysMapping::from_policy(POLICY, brand).unwrap_err().to_string();
        assert!(error("mian").contains("main, mute, texts"));
        assert!(error("mute").contains("iys = true"));
    }
}
