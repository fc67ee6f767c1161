//! Members, lists and a view for the hot loops.

use std::fmt::Write;
use std::sync::Arc;

use sendgate::domain::{
    contact::ContactKind,
    plane::PlaneRole,
    policy::{Names, Policy, STARTER},
    reason::Reason,
    secret::Secret,
    time::Now,
};
use sendgate::engine::{
    directory::Directory,
    plane::Plane,
    view::{Directories, Place, Planes, View},
};

/// E-mails in the directory.
const EMAILS: u64 = 20_000;

/// A number that looks random, by splitmix64.
pub fn hash(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

/// A range of phone numbers of which some are members: one, somewhere, in each stretch of so many.
pub struct Numbers {
    /// The first number.
    pub first: u64,
    /// How many members there are.
    members: u64,
    /// Numbers in a stretch.
    stretch: u64,
}

impl Numbers {
    /// As many members a page as population A has, which fill bitsets.
    pub const DENSE: Numbers = Numbers { first: 905_320_000_000, members: 400_000, stretch: 15 };
    /// As many members a page as population B has.
    pub const THIN: Numbers = Numbers { first: 905_320_000_000, members: 100_000, stretch: 100 };

    fn member(&self, at: u64) -> u64 {
        self.first + at * self.stretch + hash(at) % self.stretch
    }

    pub fn plane(&self) -> Plane {
        plane((0..self.members).map(|at| self.member(at)))
    }

    /// Recipients in no order, half of them members.
    pub fn list(&self, length: usize) -> Vec<u64> {
        let drawn = |at: u64| {
            let draw = hash(at ^ 1 << 40);
            let at = draw % self.members;
            // The neighbour of a member is another stretch's member once in a while.
            self.member(at) + (draw >> 63)
        };
        (0..length as u64).map(drawn).collect()
    }

    /// Strangers for whom a reason is known: one in so many stretches has one.
    fn refused(&self, one_in: u64) -> Plane {
        let stretches = (0..self.members).filter(|at| at % one_in == 0);
        plane(stretches.map(|at| self.member(at) + 1))
    }
}

/// A plane that is the same in every run.
pub fn plane(members: impl Iterator<Item = u64>) -> Plane {
    Plane::seeded(1).with_changes(members.map(|id| (id, true)))
}

fn email(number: u64) -> String {
    const DOMAINS: [&str; 4] = ["gmail.com", "hotmail.com", "outlook.com.tr", "ornek.example"];
    let hash = hash(number);
    format!("user.{}{:x}@{}", number, hash >> 48, DOMAINS[(hash % 4) as usize])
}

/// Lower-case addresses, every second one unknown.
pub fn emails(count: usize) -> String {
    (0..count as u64).fold(String::new(), |mut lines, at| {
        let number = hash(at) % EMAILS + at % 2 * EMAILS;
        writeln!(lines, "{}", email(number)).unwrap();
        lines
    })
}

/// Turkish mobiles in the spellings that lists have, half of them members.
pub fn phone_lines(count: usize) -> String {
    Numbers::DENSE.list(count).into_iter().enumerate().fold(
        String::new(),
        |mut lines, (at, phone)| {
            let digits = phone.to_string();
            let (a, b, c, d) = (&digits[2..5], &digits[5..8], &digits[8..10], &digits[10..]);
            match hash(at as u64 ^ 1 << 43) % 8 {
                0 | 1 => writeln!(lines, "+90{a}{b}{c}{d}"),
                2 => writeln!(lines, "90{a}{b}{c}{d}"),
                3 => writeln!(lines, "0{a}{b}{c}{d}"),
                4 => writeln!(lines, "{a}{b}{c}{d}"),
                5 => writeln!(lines, "0{a} {b} {c} {d}"),
                6 => writeln!(lines, "0 ({a}) {b} {c} {d}"),
                _ => writeln!(lines, "+90 {a} {b} {c} {d}"),
            }
            .unwrap();
            lines
        },
    )
}

/// A view in which every scope permits the members, and knows why it refuses some of the others:
/// a tenth of them for a hard bounce, half of the rest for an opt-out.
pub fn view(kind: ContactKind) -> View {
    let policy = Policy::read(STARTER, Names::default()).unwrap();
    let secret = Secret::from_bytes(&[7; Secret::BYTES]).unwrap();
    let mut planes = Planes::empty(policy.scopes().len());
    let mut email_directory = Directory::new();
    let mut put = |role, plane: Plane| {
        for scope in 0..policy.scopes().len() {
            planes.replace(Place::Scope(scope), kind, role, plane.clone());
        }
    };
    if kind == ContactKind::Phone {
        put(PlaneRole::Verdict, Numbers::DENSE.plane());
        put(PlaneRole::Reason(Reason::HardBounce), Numbers::DENSE.refused(10));
        put(PlaneRole::Reason(Reason::OptedOut), Numbers::DENSE.refused(2));
    } else {
        put(PlaneRole::Verdict, plane(0..EMAILS));
        for number in 0..EMAILS {
            let fingerprint = secret.fingerprint(email(number).as_bytes());
            email_directory.insert(fingerprint, number as u32).unwrap();
        }
    }
    View {
        epoch: "0123456789abcdef0123456789abcdef".into(),
        revision: 1,
        now: Now { consents: 0, suppressions: 0 },
        planes: Arc::new(planes),
        policy: Arc::new(policy),
        policy_revision: 1,
        directories: Directories {
            email: email_directory.handle(),
            external_id: Directory::new().handle(),
            emails: EMAILS,
            external_ids: 0,
            bytes: 0,
        },
        erased: Arc::default(),
        secret,
    }
}
