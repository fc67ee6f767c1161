//! What must hold for any bytes. The fuzz targets call these for as long as one
//! lets them, and `tests/it/fuzzing.rs` a bounded number of times.

use std::{collections::BTreeSet, io::Cursor, ops::Range};

use bytes::{Buf, Bytes};
use prost::Message;
use roaring::RoaringTreemap;
use sendgate::{
    caps,
    domain::address::{
        Accept, PhoneColumn, Region, read_contact_id, read_email, read_email_in, read_external_id,
        read_phone,
    },
    engine::{
        audience::{count, read_audience},
        lines::count_lines,
        page::Page,
        plane::Plane,
    },
    formats::{
        DailyRows, Defaults, Format, ItemReader, IysMapping, Meaning, Opened, Status, is_workbook,
        sheet_to_csv,
    },
    proto::{
        RecipientBatch,
        v1::{ContactKind, FilterRequest},
    },
};

/// `RecipientBatch` as prost derives it from the fields in `filter.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct Derived {
    #[prost(uint64, tag = "1")]
    pub batch_id: u64,
    #[prost(fixed64, repeated, tag = "2")]
    pub phones: Vec<u64>,
    #[prost(fixed64, repeated, tag = "3")]
    pub contact_ids: Vec<u64>,
    #[prost(bytes = "bytes", tag = "4")]
    pub lines: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    pub roaring: Bytes,
    #[prost(uint32, tag = "6")]
    pub count: u32,
}

impl Derived {
    fn of(batch: &RecipientBatch) -> Self {
        Self {
            batch_id: batch.batch_id,
            phones: batch.phones.iter().collect(),
            contact_ids: batch.contact_ids.iter().collect(),
            lines: batch.lines.clone(),
            roaring: batch.roaring.clone(),
            count: batch.count,
        }
    }
}

/// Both decoders take the same bytes for the same batch, whole or in two
/// buffers, and refuse the same.
pub fn wire(data: &[u8]) {
    let derived = Derived::decode(data).ok();
    let by_hand = RecipientBatch::decode(data).ok();
    assert_eq!(by_hand.as_ref().map(Derived::of), derived, "{data:02x?}");
    for at in [data.len() / 3, data.len() / 2, data.len().saturating_sub(1)] {
        let (front, back) = data.split_at(at);
        let parts = Bytes::copy_from_slice(front).chain(Bytes::copy_from_slice(back));
        let in_parts = RecipientBatch::decode(parts).ok();
        assert_eq!(in_parts, by_hand, "cut at {at}: {data:02x?}");
    }
    if let (Some(by_hand), Some(derived)) = (by_hand, derived) {
        let bytes = by_hand.encode_to_vec();
        assert_eq!(bytes.len(), by_hand.encoded_len());
        assert_eq!(Derived::decode(&bytes[..]).ok().as_ref(), Some(&derived));
        assert_eq!(RecipientBatch::decode(&derived.encode_to_vec()[..]).ok(), Some(by_hand));
    }
    drop(FilterRequest::decode(data));
}

/// Lines of a column are read by the short cuts as by the full rules, whatever
/// stands before and behind them, and what was read reads as itself.
pub fn addresses(data: &[u8]) {
    let regions: Vec<Option<Region>> = [None, Some("TR"), Some("US"), Some("DE")]
        .map(|code| code.and_then(|it| it.parse().ok()))
        .into();
    let lines = lines(data);
    assert_eq!(lines.len(), count_lines(data));
    for range in lines {
        let line = &data[range.clone()];
        for region in &regions {
            let number = PhoneColumn::of(*region).read(data, range.clone());
            assert_eq!(number, read_phone(line, *region, Accept::Valid), "{line:?}");
            if let Ok(number) = number {
                let canonical = format!("+{number}");
                assert_eq!(read_phone(canonical.as_bytes(), None, Accept::Valid), Ok(number));
                assert_eq!(read_phone(line, *region, Accept::Possible), Ok(number), "{line:?}");
            }
        }
        let (mut short, mut full) = (String::new(), String::new());
        let email = read_email_in(data, range, &mut short).map(<[u8]>::to_vec);
        let expected = read_email(line, &mut full).map(|text| text.as_bytes().to_vec());
        assert_eq!(email, expected, "{line:?}");
        if let Ok(email) = email {
            let again = read_email(&email, &mut full).map(|text| text.as_bytes().to_vec());
            assert_eq!(again, Ok(email));
        }
        if let Ok(id) = read_contact_id(line) {
            assert_eq!(id.to_string().as_bytes(), line);
        }
        if let Ok(id) = read_external_id(line) {
            assert_eq!(id.as_bytes(), line);
        }
    }
}

/// Where the lines of a column lie: between newlines, without a carriage return
/// before one.
fn lines(column: &[u8]) -> Vec<Range<usize>> {
    let mut start = 0;
    let mut lines = Vec::new();
    for line in column.split_inclusive(|byte| *byte == b'\n') {
        let end = start + line.len();
        let line =
            line.strip_suffix(b"\n").map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line));
        lines.push(start..start + line.len());
        start = end;
    }
    lines
}

const POLICY: &str = r#"
    version = "t"
    channels.sms = { kinds = ["phone"], iys = "MESAJ" }
    channels.call = { kinds = ["phone"], iys = "ARAMA" }
    channels.email = { kinds = ["email"], iys = "EPOSTA" }
    purposes.marketing = { individual = "opt_in", iys = true }
    brands.main = {}
"#;

fn meanings() -> Vec<Meaning> {
    let mapping = || IysMapping::from_policy(POLICY, "main").ok();
    let registry = [Meaning::IysDaily, Meaning::IysJson, Meaning::IysUpload];
    let mut meanings: Vec<Meaning> =
        registry.into_iter().filter_map(|meaning| mapping().map(meaning)).collect();
    assert_eq!(meanings.len(), 3, "the policy maps the registry");
    meanings.extend([
        Meaning::SendgateCsv,
        Meaning::SendgateJson,
        Meaning::SesCsv,
        Meaning::SesJson,
        Meaning::Sendgrid,
        Meaning::Mailgun(BTreeSet::from(["marketing".to_owned()])),
        Meaning::Mailchimp,
        Meaning::HubspotOptout,
        Meaning::TwilioConsent,
        Meaning::FtcDnc,
        Meaning::Plain(Status::Withdrawn),
    ]);
    meanings
}

/// A file read as any format ends, row by row, in errors or items; lines go on
/// and never back.
pub fn files(data: &[u8]) {
    for kind in [ContactKind::Phone, ContactKind::Email] {
        for meaning in meanings() {
            let Ok(opened) = Opened::read(Cursor::new(data), "TR") else { continue };
            let _recognised = Format::recognise(&opened);
            let defaults = Defaults {
                brand: "main".to_owned(),
                kind,
                region: "TR".to_owned(),
                ..Defaults::default()
            };
            let Ok(mut reader) = ItemReader::new(opened, meaning, defaults) else { continue };
            let mut line = 0;
            while let Ok(Some(row)) = reader.next_row() {
                assert!(row.line >= line, "line {} after {line}", row.line);
                line = row.line;
            }
        }
    }
    if let Ok(mut rows) = DailyRows::new(Cursor::new(data)) {
        while let Ok(Some(_)) = rows.next_row() {}
    }
    if is_workbook(data) {
        drop(sheet_to_csv(Cursor::new(data), None, &mut Vec::new()));
    }
}

/// Bytes are a page in one spelling only; the first six are its index.
pub fn pages(data: &[u8]) {
    let Some((index, bytes)) = data.split_first_chunk::<6>() else { return };
    let [a, b, c, d, e, f] = *index;
    let index = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
    let Ok(page) = Page::from_bytes(index, bytes) else { return };
    assert_eq!(page.to_bytes(), bytes);
    assert_eq!(page.index(), index);
    let values: Vec<u16> = page.values().collect();
    assert!(values.is_sorted_by(|a, b| a < b));
    assert_eq!(values.len(), page.len());
    let set: BTreeSet<u16> = values.into_iter().collect();
    assert!((0..=u16::MAX).all(|low| page.contains(low) == set.contains(&low)));
}

/// An audience within the cap is the set that its bytes spell, and a plane of it
/// answers as a plain set does.
pub fn audiences(data: &[u8]) {
    let counted = count(data, caps::AUDIENCE_MEMBERS);
    let Ok(audience) = read_audience(data, caps::AUDIENCE_MEMBERS) else { return };
    assert_eq!(counted, Ok(audience.len()));
    assert_eq!(RoaringTreemap::deserialize_from(data).ok().as_ref(), Some(&audience));
    if audience.len() > 1 << 16 {
        return;
    }
    let members: BTreeSet<u64> = audience.iter().collect();
    assert_eq!(members.len() as u64, audience.len());
    let plane = Plane::empty().with_changes(members.iter().map(|id| (*id, true)));
    let asked: Vec<u64> =
        members.iter().flat_map(|id| [id.wrapping_sub(1), *id, id.wrapping_add(1)]).collect();
    let mut bits = vec![0; asked.len().div_ceil(64)];
    plane.probe(&asked, &mut bits);
    for (at, id) in asked.iter().enumerate() {
        assert_eq!(bits[at / 64] >> (at % 64) & 1 == 1, members.contains(id), "{id}");
    }
}
