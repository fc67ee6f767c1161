//! The two ways to decide on an audience: container by container, and read into a bitmap.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests say what they expect by failing"
)]

use proptest::prelude::*;
use roaring::RoaringTreemap;

use super::{
    audience::read_audience,
    filter::{FilterError, Session},
    filter_tests::{question, view},
    plane::Plane,
    view::{Place, View},
};
use crate::domain::{contact::ContactKind, plane::PlaneRole, scope::Regime};

const CAP: u64 = 1 << 21;
const ALL: [Regime; 3] = [Regime::OptIn, Regime::OptOut, Regime::Exempt];

/// A view in which nobody was erased and these are the members of every verdict plane.
fn view_of(kind: ContactKind, members: &RoaringTreemap) -> View {
    let mut view = view();
    view.erased = std::sync::Arc::default();
    let plane = Plane::empty().with_changes(members.iter().map(|id| (id, true)));
    let mut planes = (*view.planes).clone();
    for scope in 0..view.policy.scopes().len() {
        planes.replace(Place::Scope(scope), kind, PlaneRole::Verdict, plane.clone());
    }
    view.planes = std::sync::Arc::new(planes);
    view
}

/// Both ways agree on whether the bytes are an audience, and if so on every verdict.
fn agree(view: &View, kind: ContactKind, bytes: &[u8]) {
    let question = question(view, kind, &ALL, false);
    let found = Session::default().filter_roaring(view, &question, bytes, CAP);
    let expected = read_audience(bytes, CAP)
        .map_err(FilterError::from)
        .and_then(|audience| Session::default().filter_audience(view, &question, &audience));
    match (found, expected) {
        (Ok(found), Ok(expected)) => {
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(
                    (found.recipients, found.permitted),
                    (expected.recipients, expected.permitted)
                );
                let read = |bits: &[u8]| RoaringTreemap::deserialize_from(bits).unwrap();
                assert!(read(&found.bits) == read(&expected.bits));
                // What is answered can be asked about again, so it is in order to the last byte.
                assert_eq!(read_audience(&found.bits, CAP).unwrap().len(), found.permitted);
            }
        }
        (found, expected) => assert_eq!(found.err(), expected.err()),
    }
}

fn bytes(set: &RoaringTreemap) -> Vec<u8> {
    let mut bytes = Vec::new();
    set.serialize_into(&mut bytes).unwrap();
    bytes
}

/// Sets over a few pages of each form, where phones are, where they end, and far off.
fn ids() -> impl Strategy<Value = RoaringTreemap> {
    let pages = [13_814_104_u64, 13_814_105, 15, 16, 0, 15_258_789_062, 1 << 40, 1 << 47];
    let page = (
        proptest::sample::select(pages.to_vec()),
        proptest::sample::select(vec![1_usize, 3, 9, 20, 500, 30_000]),
        0_u64..60_000,
        1_u64..65_536,
    );
    proptest::collection::vec(page, 0..6).prop_map(|pages| {
        let mut ids = RoaringTreemap::new();
        for (index, step, from, length) in pages {
            let to = (from + length).min(65_536);
            ids.extend((from..to).step_by(step).map(|low| index << 16 | low));
        }
        ids
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn container_by_container_is_as_read_into_a_bitmap(
        members in ids(),
        audience in ids(),
        runs: bool,
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 0..12),
    ) {
        let mut audience = audience;
        if runs {
            audience = RoaringTreemap::from_bitmaps(audience.bitmaps().map(|(high, half)| {
                let mut half = half.clone();
                half.optimize();
                (high, half)
            }));
        }
        let mut bytes = bytes(&audience);
        for kind in [ContactKind::Phone, ContactKind::ContactId] {
            let view = view_of(kind, &members);
            agree(&view, kind, &bytes);
            for (place, bit) in &flips {
                let at = place.index(bytes.len().min(100));
                bytes[at] ^= 1 << bit;
                agree(&view, kind, &bytes);
                bytes[at] ^= 1 << bit;
                let at = place.index(bytes.len());
                bytes[at] ^= 1 << bit;
                agree(&view, kind, &bytes);
                bytes[at] ^= 1 << bit;
            }
        }
    }
}

#[test]
fn what_an_audience_is_made_of_must_be_in_order() {
    let view = view_of(ContactKind::ContactId, &(0..70_000).collect());
    // One container of key 7: an array, or runs behind their cookie.
    let array = |values: &[u16]| {
        let mut bytes =
            [1_u64.to_le_bytes().as_slice(), &[0; 4], &12_346_u32.to_le_bytes()].concat();
        bytes.extend([1, 0, 0, 0, 7, 0, values.len() as u8 - 1, 0, 16, 0, 0, 0]);
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        bytes
    };
    let runs = |runs: &[[u16; 2]]| {
        let mut bytes =
            [1_u64.to_le_bytes().as_slice(), &[0; 4], &12_347_u32.to_le_bytes()].concat();
        bytes.extend([1, 7, 0, 0, 0, runs.len() as u8, 0]);
        bytes.extend(runs.as_flattened().iter().flat_map(|value| value.to_le_bytes()));
        bytes
    };
    for (audience, is_in_order) in [
        (array(&[1, 2]), true),
        (array(&[2, 1]), false),
        (array(&[2, 2]), false),
        (runs(&[[0, 3], [5, 9]]), true),
        (runs(&[[0, 3], [4, 9]]), false),
        (runs(&[[5, 9], [0, 3]]), false),
        (runs(&[[65_530, 5]]), true),
        (runs(&[[65_530, 6]]), false),
        (runs(&[[0, u16::MAX]]), true),
        (runs(&[]), false),
    ] {
        agree(&view, ContactKind::ContactId, &audience);
        assert_eq!(read_audience(&audience, CAP).is_ok(), is_in_order, "{audience:?}");
    }
}
