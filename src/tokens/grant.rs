//! What a token is for.

use std::{collections::BTreeSet, fmt};

use jiff::Timestamp;

use crate::caps;

/// What a caller may do. No role holds another: a token for both filtering and
/// recording names both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Ask for verdicts.
    Filter,
    /// Record consents, withdrawals and suppressions.
    Record,
    /// Read what was recorded of people, erase and correct it, run the server.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Filter, Self::Record, Self::Admin];

    /// The role's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Record => "record",
            Self::Admin => "admin",
        }
    }

    /// The role of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// The brands that a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Brands {
    /// All of them, those of the future too, and what concerns the whole store.
    All,
    /// These.
    Named(BTreeSet<String>),
}

impl Brands {
    /// The brands of these names; `*` alone is all of them.
    ///
    /// # Errors
    /// There are none, too many, or one that cannot be a brand's name.
    pub fn from_names(names: &[String]) -> Result<Self, NotAGrant> {
        let not = |what: String| Err(NotAGrant { field: "brands", what });
        match names {
            [] => not("name a brand, or * for all brands".to_owned()),
            [all] if all == "*" => Ok(Self::All),
            names if names.len() > caps::TOKEN_BRANDS => not(format!(
                "{} given; at most {} are accepted, or * for all brands",
                names.len(),
                caps::TOKEN_BRANDS
            )),
            names if names.iter().any(|name| !is_name(name)) => {
                not("a brand is 1 to 64 of the characters A-Z a-z 0-9 - _ . and * stands alone"
                    .to_owned())
            }
            names => Ok(Self::Named(names.iter().cloned().collect())),
        }
    }

    /// The names; `*` for all.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::All => vec!["*".to_owned()],
            Self::Named(names) => names.iter().cloned().collect(),
        }
    }

    /// Whether they include the brand of this name; `*` asks for all brands.
    ///
    /// Names are compared, not what the policy makes of them: the answer is the
    /// same for a brand that exists and one that does not.
    #[must_use]
    pub fn include(&self, brand: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(brand),
        }
    }
}

/// What a token allows. It never changes: another grant is another token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The token's name, for the audit log and for revoking it.
    pub name: String,
    /// For which brands.
    pub brands: Brands,
    /// To do what.
    pub roles: BTreeSet<Role>,
    /// When it was created, in ms.
    pub created_at: i64,
    /// From when on it is over, in ms.
    pub expires_at: Option<i64>,
}

impl Grant {
    /// Checks what is not right by its type already.
    ///
    /// # Errors
    /// The name is none, there is no role, or the end lies before the beginning.
    pub fn check(&self) -> Result<(), NotAGrant> {
        if !is_name(&self.name) {
            let what = "a token's name is 1 to 64 of the characters A-Z a-z 0-9 - _ .";
            return Err(NotAGrant { field: "name", what: what.to_owned() });
        }
        if self.roles.is_empty() {
            let what = "name at least one role: filter, record or admin";
            return Err(NotAGrant { field: "roles", what: what.to_owned() });
        }
        if self.expires_at.is_some_and(|end| end <= self.created_at) {
            let what = "the end must lie ahead of the server's clock";
            return Err(NotAGrant { field: "expires_at_ms", what: what.to_owned() });
        }
        // What cannot be written down could not be kept either.
        if self.expires_at.is_some_and(|end| Timestamp::from_millisecond(end).is_err()) {
            let what = "the end must lie before the year 10000";
            return Err(NotAGrant { field: "expires_at_ms", what: what.to_owned() });
        }
        Ok(())
    }

    /// Whether it may do everything to every brand, creating tokens included.
    #[must_use]
    pub fn runs_the_server(&self) -> bool {
        self.brands == Brands::All && self.roles.contains(&Role::Admin)
    }

    /// Whether it is over at this time.
    #[must_use]
    pub fn is_over(&self, now: i64) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roles: Vec<&str> = self.roles.iter().map(|role| role.name()).collect();
        write!(
            formatter,
            "{}: {} for {}",
            self.name,
            roles.join(","),
            self.brands.names().join(",")
        )
    }
}

/// Why something is no grant: the field of the request, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAGrant {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub what: String,
}

/// Names of tokens are spelled like those of brands: they stand in logs and on
/// command lines.
fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=caps::TOKEN_NAME_BYTES).contains(&name.len()) && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brands(names: &[&str]) -> Result<Brands, NotAGrant> {
        Brands::from_names(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn brands_are_named_or_all_and_nothing_between() {
        let some = brands(&["main", "other"]).unwrap();
        assert_eq!((some.include("main"), some.include("third")), (true, false));
        assert_eq!((some.include("*"), some.include("")), (false, false));
        let all = brands(&["*"]).unwrap();
        assert!(all.include("main") && all.include("*"));
        let many = vec!["b"; caps::TOKEN_BRANDS + 1];
        for wrong in [&[][..], &["*", "main"], &[""], &["a b"], &many] {
            assert_eq!(brands(wrong).unwrap_err().field, "brands", "{wrong:?}");
        }
        assert!(brands(many.get(1..).unwrap()).is_ok());
    }

    #[test]
    fn a_grant_has_a_name_a_role_and_an_end_ahead() {
        let grant = Grant {
            name: "gateway".to_owned(),
            brands: brands(&["main"]).unwrap(),
            roles: BTreeSet::from([Role::Filter]),
            created_at: 1_000,
            expires_at: Some(1_001),
        };
        assert_eq!(grant.check(), Ok(()));
        assert_eq!((grant.is_over(1_000), grant.is_over(1_001)), (false, true));
        assert!(!grant.runs_the_server());
        let field = |grant: Grant| grant.check().unwrap_err().field;
        assert_eq!(field(Grant { expires_at: Some(1_000), ..grant.clone() }), "expires_at_ms");
        assert_eq!(field(Grant { expires_at: Some(i64::MAX), ..grant.clone() }), "expires_at_ms");
        assert_eq!(field(Grant { roles: BTreeSet::new(), ..grant.clone() }), "roles");
        for name in ["", "a b", "a\n", "ü", &"n".repeat(caps::TOKEN_NAME_BYTES + 1)] {
            assert_eq!(field(Grant { name: name.to_owned(), ..grant.clone() }), "name", "{name}");
        }
        let longest = "n".repeat(caps::TOKEN_NAME_BYTES);
        assert_eq!(Grant { name: longest, ..grant }.check(), Ok(()));
    }
}
