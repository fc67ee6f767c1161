//! A bounded run of what the fuzz targets run without end: the same oracles,
//! fed with what is nearly right (F13, F16).

use std::{fs, path::Path};

use proptest::{collection::vec, prelude::*, sample::Index};
use roaring::RoaringTreemap;

#[path = "../../fuzz/src/lib.rs"]
mod oracles;

/// Every file of a folder of fixtures.
fn fixtures(folder: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    // In the order of their names, so that a seed finds the same file again.
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

/// A small damage to bytes.
#[derive(Clone, Debug)]
enum Damage {
    Set(Index, u8),
    Flip(Index, u8),
    Cut(Index),
    Remove(Index, usize),
    Repeat(Index, usize),
    Insert(Index, Vec<u8>),
}

impl Damage {
    fn to(&self, bytes: &mut Vec<u8>) {
        let place = |index: &Index| index.index(bytes.len() + 1);
        match self {
            Self::Set(index, value) if !bytes.is_empty() => {
                let at = index.index(bytes.len());
                bytes[at] = *value;
            }
            Self::Flip(index, bit) if !bytes.is_empty() => {
                let at = index.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Self::Set(..) | Self::Flip(..) => {}
            Self::Cut(index) => bytes.truncate(place(index)),
            Self::Remove(index, length) => {
                let from = place(index);
                bytes.drain(from..(from + length).min(bytes.len()));
            }
            Self::Repeat(index, length) => {
                let from = place(index);
                let part = bytes[from..(from + length).min(bytes.len())].to_vec();
                bytes.splice(from..from, part);
            }
            Self::Insert(index, part) => {
                let at = place(index);
                bytes.splice(at..at, part.iter().copied());
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let index = any::<Index>;
    let one = prop_oneof![
        (index(), any::<u8>()).prop_map(|(at, value)| Damage::Set(at, value)),
        (index(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        index().prop_map(Damage::Cut),
        (index(), 1..40_usize).prop_map(|(at, length)| Damage::Remove(at, length)),
        (index(), 1..40_usize).prop_map(|(at, length)| Damage::Repeat(at, length)),
        (index(), vec(any::<u8>(), 1..6)).prop_map(|(at, part)| Damage::Insert(at, part)),
    ];
    vec(one, 0..5)
}

/// One of these, damaged.
fn damaged(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (prop::sample::select(seeds), damage()).prop_map(|(mut bytes, damage)| {
        damage.iter().for_each(|each| each.to(&mut bytes));
        bytes
    })
}

/// A field of a batch, of any number and wire type, mostly as it should be.
fn batch_field() -> impl Strategy<Value = Vec<u8>> {
    let varint = |value: u64| crate::wire::varint(value);
    let numbers = || vec(any::<u64>(), 0..6);
    let key = move |number: u64, wire_type: u64| crate::wire::tag(number, wire_type);
    prop_oneof![
        4 => (2..4_u64, numbers()).prop_map(|(number, values)| crate::wire::packed(number, &values)),
        4 => (2..4_u64, numbers())
            .prop_map(|(number, values)| crate::wire::unpacked(number, &values)),
        2 => (4..6_u64, vec(any::<u8>(), 0..20))
            .prop_map(|(number, bytes)| crate::wire::field(number, &bytes)),
        2 => (prop::sample::select(vec![1_u64, 6]), any::<u64>())
            .prop_map(move |(number, value)| [key(number, 0), varint(value)].concat()),
        1 => (1..9_u64, 0..8_u64, vec(any::<u8>(), 0..20)).prop_map(
            move |(number, wire_type, bytes)| [key(number, wire_type), bytes].concat()
        ),
        1 => (7..2_000_u64, numbers()).prop_map(move |(number, values)| {
            [key(number, 3), crate::wire::packed(2, &values), key(number, 4)].concat()
        }),
    ]
}

fn spelling() -> impl Strategy<Value = Vec<u8>> {
    let text = |pattern: &'static str| pattern.prop_map(String::into_bytes);
    prop_oneof![
        text(
            "(\\+|00)?(90)?[ (]{0,2}0?5[0-9]{2}[ )\\-.]{0,2}[0-9]{3}[ \\-.]?[0-9]{2}[ \\-.]?[0-9]{2}( |x|\\.0)?"
        ),
        text("\\+?[0-9]{6,17}"),
        text("[ +\\-0-9().\\t]{0,36}"),
        text("[a-zA-Z0-9._+\\-]{1,30}@[a-z0-9\\-]{1,30}\\.[a-z]{2,6}\\.?"),
        text("[a-zİıŞ@.+ \\-_\"]{0,70}"),
        text("[1-9][0-9]{0,20}"),
        vec(any::<u8>(), 0..80),
    ]
}

/// Whether a part of the line is cut off, and what is between two lines.
fn column() -> impl Strategy<Value = Vec<u8>> {
    let end = prop::sample::select(vec![&b"\n"[..], b"\r\n", b"\n\n", b"\r"]);
    vec((spelling(), end), 0..12)
        .prop_map(|lines| lines.into_iter().flat_map(|(line, end)| [&line, end].concat()).collect())
}

fn treemap() -> impl Strategy<Value = Vec<u8>> {
    let part = (any::<u64>(), 1..3_000_u64, prop::sample::select(vec![1_u64, 2, 700, 65_536]));
    (vec(part, 0..5), any::<bool>()).prop_map(|(parts, runs)| {
        let members = parts.into_iter().flat_map(|(from, length, step)| {
            (0..length).map(move |at| from.wrapping_add(at * step))
        });
        let mut set: RoaringTreemap = members.collect();
        if runs {
            set = RoaringTreemap::from_bitmaps(set.bitmaps().map(|(high, half)| {
                let mut half = half.clone();
                half.optimize();
                (high, half)
            }));
        }
        let mut bytes = Vec::new();
        set.serialize_into(&mut bytes).unwrap();
        bytes
    })
}

/// A page of so many values, as it is stored, behind its index.
fn page() -> impl Strategy<Value = Vec<u8>> {
    let count =
        prop_oneof![0..8_usize, 2_560..2_580_usize, 4_090..4_100_usize, 65_530..65_537_usize];
    (any::<[u8; 6]>(), count, 1..13_u32).prop_map(|(index, count, step)| {
        let values = (0..65_536_u32).step_by(if count < 4_000 { step as usize } else { 1 });
        let set: roaring::RoaringBitmap = values.take(count).collect();
        let mut bytes = index.to_vec();
        set.serialize_into(&mut bytes).unwrap();
        bytes
    })
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn both_decoders_of_a_batch_agree(fields in vec(batch_field(), 0..8), damage in damage()) {
        let mut bytes = fields.concat();
        oracles::wire(&bytes);
        damage.iter().for_each(|each| each.to(&mut bytes));
        oracles::wire(&bytes);
    }

    #[test]
    fn short_cuts_read_a_column_as_the_full_rules(column in column(), damage in damage()) {
        let mut column = column;
        oracles::addresses(&column);
        damage.iter().for_each(|each| each.to(&mut column));
        oracles::addresses(&column);
    }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn damaged_files_end_in_rows_or_errors(file in damaged(fixtures("imports"))) {
        oracles::files(&file);
    }

    #[test]
    fn damaged_registry_files_end_in_rows_or_errors(file in damaged(fixtures("iys"))) {
        oracles::files(&file);
    }

    #[test]
    fn damaged_sheets_end_in_rows_or_errors(file in damaged(fixtures("sheets"))) {
        oracles::files(&file);
    }

    #[test]
    fn pages_have_one_spelling(page in page(), damage in damage()) {
        let mut page = page;
        oracles::pages(&page);
        damage.iter().for_each(|each| each.to(&mut page));
        oracles::pages(&page);
    }

    #[test]
    fn audiences_are_the_sets_that_they_spell(audience in treemap(), damage in damage()) {
        let mut audience = audience;
        oracles::audiences(&audience);
        damage.iter().for_each(|each| each.to(&mut audience));
        oracles::audiences(&audience);
    }
}
