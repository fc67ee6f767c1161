//! `iys-upload`: what a sender is about to upload to İYS,
//! `IZIN TURU,ALICI,ONAY(1)-RET(0),IZIN KAYNAGI,IZIN TARIHI`, with ten digits
//! for a number. The registry does not hold it yet.

use super::{
    Changes, Defaults, IysMapping, Problem,
    cells::Cells,
    iys::{self, Answer, IysRow, Names},
};

/// The columns without which a file is not of this format; the third one
/// explains itself and begins so.
pub(super) const REQUIRED: [&str; 2] = ["izin turu", "alici"];
const ANSWER: &str = "onay";

const NAMES: Names = Names {
    recipient: "ALICI",
    recipient_type: "ALICI TIPI",
    iys_type: "IZIN TURU",
    date: "IZIN TARIHI",
};

/// Whether a header is of this format.
pub(super) fn is_header(names: &[&str]) -> bool {
    REQUIRED.iter().all(|name| names.contains(name)) && names.iter().any(|name| is_answer(name))
}

fn is_answer(column: &str) -> bool {
    column.starts_with(ANSWER)
}

/// The changes that one row stands for.
pub(super) fn changes(cells: Cells<'_>, mapping: &IysMapping, defaults: &Defaults) -> Changes {
    let answer = match cells.find(is_answer) {
        "1" => Ok(Answer::Onay),
        "0" => Ok(Answer::Ret),
        _ => Err(Problem::new("ONAY(1)-RET(0)", "neither 1 nor 0")),
    };
    let row = IysRow {
        names: &NAMES,
        registered: false,
        answer,
        recipient: cells.get("alici"),
        recipient_type: cells.get("alici tipi"),
        iys_type: cells.get("izin turu"),
        consent_date: cells.get("izin tarihi"),
        creation_date: "",
        source: cells.get("izin kaynagi"),
        transaction_id: "",
    };
    iys::changes(&row, mapping, defaults)
}
