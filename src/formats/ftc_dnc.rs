//! `ftc-dnc`: the national do-not-call list of the USA, `area,number`, with or
//! without that header.

use super::{
    Changes, Defaults, Problem,
    cells::Cells,
    event::{contact, suppression},
};
use crate::proto::v1::{ContactKind, Reason};

/// The columns, whether the file names them or not.
pub(super) const COLUMNS: [&str; 2] = ["area", "number"];
const SOURCE: &str = "ftc-dnc";
/// Digits of an area code, and of a number within it.
const DIGITS: [usize; 2] = [3, 7];

/// Whether a line looks like a row of the list.
pub(super) fn is_row(fields: &[&str]) -> bool {
    matches!(fields, [area, number] if digits(area, number).is_ok())
}

/// The block that a row stands for.
pub(super) fn changes(cells: Cells<'_>, defaults: &Defaults) -> Changes {
    let [area, number] = COLUMNS.map(|name| cells.get(name));
    let contact = contact("number", ContactKind::Phone, &digits(area, number)?, "")?;
    let channel = defaults.channel_or("call");
    let entry = defaults.suppression(contact, channel, Reason::LegalBlock, None, SOURCE);
    Ok(vec![suppression(entry)])
}

fn digits(area: &str, number: &str) -> Result<String, Problem> {
    let mut address = "+1".to_owned();
    for ((name, text), count) in COLUMNS.into_iter().zip([area, number]).zip(DIGITS) {
        let digits = text.trim().replace('-', "");
        if digits.len() != count || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Problem::new(name, format!("not {count} digits")));
        }
        address += &digits;
    }
    Ok(address)
}
