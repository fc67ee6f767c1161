//! The hot loops on small, fixed data, for benches that count instead of timing.
//!
//! Data come from a hash of numbers and not from a library of random numbers, so that no update
//! of one changes a count.

#![allow(dead_code, reason = "each bench uses a part")]
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a bench that goes wrong must stop"
)]

pub mod data;

use std::hint::black_box;

use bytes::Bytes;
use prost::Message;
use sendgate::domain::{contact::ContactKind, scope::Regime};
use sendgate::engine::{
    filter::{Question, Session},
    lines::count_lines,
    plane::Plane,
    view::View,
};
use sendgate::proto::{Fixed64Column, RecipientBatch};

use data::{Numbers, emails, phone_lines, plane, view};

/// Recipients of a message, as `sendgate filter` sends them.
pub const BATCH: usize = 16_384;

/// Numbers changed by one commit.
const CHANGES: usize = 1_000;

/// A loop to be measured.
pub struct Hot {
    /// What it is called in the table of budgets.
    pub name: &'static str,
    /// Recipients, lines, members or changes that one call handles.
    pub recipients: usize,
    /// One call: a batch.
    pub run: Box<dyn FnMut()>,
}

/// Makes a loop, for batches of a size.
type Make = fn(&'static str, usize) -> Hot;

/// Every loop by its name.
pub const LOOPS: [(&str, Make); 14] = [
    ("probe, dense pages, random", |name, batch| probe(name, Numbers::DENSE.list(batch))),
    ("probe, dense pages, sorted", |name, batch| probe(name, sorted(Numbers::DENSE.list(batch)))),
    ("probe, thin pages, random", |name, batch| probe_thin(name, Numbers::THIN.list(batch))),
    ("probe, thin pages, sorted", |name, batch| {
        probe_thin(name, sorted(Numbers::THIN.list(batch)))
    }),
    ("probe, scattered IDs", probe_scattered),
    ("filter phones, bits", |name, batch| filter_phones(name, batch, false)),
    ("filter phones, reasons", |name, batch| filter_phones(name, batch, true)),
    ("filter lines of e-mails, bits", |name, batch| {
        filter_lines(name, batch, ContactKind::Email, &emails(batch))
    }),
    ("filter lines of phones, bits", |name, batch| {
        filter_lines(name, batch, ContactKind::Phone, &phone_lines(batch))
    }),
    ("filter audience, thin containers", |name, batch| {
        filter_audience(name, &Numbers::DENSE.list(4 * batch))
    }),
    ("filter audience, bitset containers", |name, batch| {
        let first = Numbers::DENSE.first;
        let every_third: Vec<u64> = (0..batch as u64).map(|at| first + 3 * at).collect();
        filter_audience(name, &every_third)
    }),
    ("decode packed column", decode),
    ("change dense pages", |name, _| change(name, &Numbers::DENSE)),
    ("change thin pages", |name, _| change(name, &Numbers::THIN)),
];

/// Makes one loop.
pub fn hot(name: &str, batch: usize) -> Option<Hot> {
    LOOPS.iter().find(|(it, _)| *it == name).map(|(name, make)| make(name, batch))
}

fn sorted(mut list: Vec<u64>) -> Vec<u64> {
    list.sort_unstable();
    list
}

fn probe(name: &'static str, list: Vec<u64>) -> Hot {
    probe_in(name, Numbers::DENSE.plane(), list)
}

fn probe_thin(name: &'static str, list: Vec<u64>) -> Hot {
    probe_in(name, Numbers::THIN.plane(), list)
}

fn probe_scattered(name: &'static str, batch: usize) -> Hot {
    let members = (0..50_000).map(data::hash);
    let plane = plane(sorted(members.collect()).into_iter());
    // Every second one is a stranger.
    let list = (0..batch as u64).map(|at| data::hash(at % 2 * 1_000_000 + at * 7 % 50_000));
    probe_in(name, plane, list.collect())
}

fn probe_in(name: &'static str, plane: Plane, list: Vec<u64>) -> Hot {
    let mut out = vec![0; list.len().div_ceil(64)];
    let recipients = list.len();
    Hot { name, recipients, run: Box::new(move || plane.probe(black_box(&list), &mut out)) }
}

/// A question about one scope that asks for consent.
fn question(view: &View, kind: ContactKind, reasons: bool) -> Question {
    let opt_in = |at: &usize| view.rules(*at).unwrap().regime == Regime::OptIn;
    Question {
        brand: view.policy.brand("main").unwrap(),
        scopes: (0..view.policy.scopes().len()).filter(opt_in).take(1).collect(),
        kind,
        region: Some("TR".parse().unwrap()),
        reasons,
        deduplicate: false,
    }
}

fn filter_phones(name: &'static str, batch: usize, reasons: bool) -> Hot {
    let view = view(ContactKind::Phone);
    let question = question(&view, ContactKind::Phone, reasons);
    let column = Fixed64Column::from(Numbers::DENSE.list(batch).as_slice());
    let mut session = Session::default();
    let run = move || {
        session.read_column(black_box(&column).as_bytes(), &question, &view);
        black_box(session.filter(&view, &question).unwrap());
    };
    Hot { name, recipients: batch, run: Box::new(run) }
}

fn filter_lines(name: &'static str, batch: usize, kind: ContactKind, lines: &str) -> Hot {
    let view = view(kind);
    let question = question(&view, kind, false);
    let lines = Bytes::from(lines.to_owned());
    let mut session = Session::default();
    let run = move || {
        assert_eq!(count_lines(black_box(&lines)), batch);
        session.read_lines(&lines, &question, &view);
        black_box(session.filter(&view, &question).unwrap());
    };
    Hot { name, recipients: batch, run: Box::new(run) }
}

fn filter_audience(name: &'static str, members: &[u64]) -> Hot {
    let view = view(ContactKind::Phone);
    let question = question(&view, ContactKind::Phone, false);
    let bitmap: roaring::RoaringTreemap = members.iter().copied().collect();
    let mut bytes = Vec::new();
    bitmap.serialize_into(&mut bytes).unwrap();
    let mut session = Session::default();
    let run = move || {
        black_box(session.filter_roaring(&view, &question, black_box(&bytes), 1 << 21).unwrap());
    };
    Hot { name, recipients: members.len(), run: Box::new(run) }
}

fn decode(name: &'static str, batch: usize) -> Hot {
    let phones = Fixed64Column::from(Numbers::DENSE.list(batch).as_slice());
    let bytes = RecipientBatch { batch_id: 1, phones, ..RecipientBatch::default() };
    let bytes = Bytes::from(bytes.encode_to_vec());
    let mut ids = Vec::with_capacity(batch);
    let run = move || {
        let batch = RecipientBatch::decode(black_box(&bytes).clone()).unwrap();
        ids.clear();
        ids.extend(batch.phones.iter());
        black_box(&mut ids);
    };
    Hot { name, recipients: batch, run: Box::new(run) }
}

/// A commit to a plane that readers hold.
fn change(name: &'static str, numbers: &Numbers) -> Hot {
    let plane = numbers.plane();
    let mut ids = sorted(numbers.list(CHANGES));
    ids.dedup();
    let recipients = ids.len();
    let run = move || {
        let changes = black_box(&ids).iter().map(|id| (*id, id % 2 == 0));
        drop(black_box(plane.with_changes(changes)));
    };
    Hot { name, recipients, run: Box::new(run) }
}
