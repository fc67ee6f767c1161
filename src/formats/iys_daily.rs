//! `iys-daily`: the daily file of İYS,
//! `creationDate,transactionId,recipient,recipientType,type,status,consentDate,source`.

use super::{
    Changes, Defaults, IysMapping,
    cells::Cells,
    iys::{self, IysRow, Names},
};

/// The columns without which a file is not of this format.
pub(super) const REQUIRED: [&str; 5] = ["recipient", "type", "status", "consentdate", "source"];

pub(super) const NAMES: Names = Names {
    recipient: "recipient",
    recipient_type: "recipientType",
    iys_type: "type",
    date: "consentDate",
};

/// The changes that one row stands for.
pub(super) fn changes(cells: Cells<'_>, mapping: &IysMapping, defaults: &Defaults) -> Changes {
    let row = IysRow {
        names: &NAMES,
        registered: true,
        answer: iys::answer(cells.get("status")),
        recipient: cells.get("recipient"),
        recipient_type: cells.get("recipienttype"),
        iys_type: cells.get("type"),
        consent_date: cells.get("consentdate"),
        creation_date: cells.get("creationdate"),
        source: cells.get("source"),
        transaction_id: cells.get("transactionid"),
    };
    iys::changes(&row, mapping, defaults)
}
