//! What the registry would refuse of a file to be uploaded (R12).

use std::collections::HashSet;

use super::{
    BATCH_ROWS, MAX_ROWS, TooManyRows,
    code::Code,
    limit::Standing,
    recipient,
    registry::{Registry, Subject},
    time,
    upload::{Form, Place, UploadRow},
    words::{DATE_2015, IysType, RecipientType, SOURCE_2015, SOURCE_DECISION, SOURCES, Status},
};
use crate::domain::address::{Accept, read_phone};

/// Digits of a Turkish number after its country code.
const NATIONAL_DIGITS: usize = 10;

/// Checks the rows of one file, in their order.
#[derive(Debug)]
pub struct Checker {
    /// What the registry holds; without it, what depends on that is not checked.
    registry: Option<Registry>,
    form: Form,
    /// The type of recipients that do not name theirs.
    default_type: RecipientType,
    /// Dates before this are refused, and dates after now.
    earliest_ms: i64,
    now_ms: i64,
    batch: u64,
    rows_in_batch: usize,
    subjects_in_batch: HashSet<Subject>,
    undated: u64,
}

impl Checker {
    /// A checker of a file of this form, as the registry would see it at `now_ms`.
    #[must_use]
    pub fn new(
        registry: Option<Registry>,
        form: Form,
        default_type: RecipientType,
        now_ms: i64,
    ) -> Self {
        Self {
            registry,
            form,
            default_type,
            earliest_ms: time::parse(DATE_2015).unwrap_or(i64::MAX),
            now_ms,
            batch: 0,
            rows_in_batch: 0,
            subjects_in_batch: HashSet::new(),
            undated: 0,
        }
    }

    /// Why the registry would refuse the next row, in a fixed order; empty if
    /// it would not. A row that cannot be read is none.
    ///
    /// # Errors
    /// One batch has more than [`MAX_ROWS`] subjects.
    pub fn check(
        &mut self,
        place: Place,
        row: Option<&UploadRow>,
    ) -> Result<Vec<Code>, TooManyRows> {
        self.count(place.batch);
        let mut codes = Vec::new();
        match row {
            None => codes.push(Code::Row),
            Some(row) => self.check_row(row, &mut codes)?,
        }
        if self.rows_in_batch > BATCH_ROWS {
            codes.push(Code::H125);
        }
        Ok(codes)
    }

    /// Rows whose three business days could not be counted, because the
    /// holidays of their year are not known.
    #[must_use]
    pub fn undated(&self) -> u64 {
        self.undated
    }

    fn count(&mut self, batch: u64) {
        if self.batch != batch {
            self.batch = batch;
            self.rows_in_batch = 0;
            self.subjects_in_batch.clear();
        }
        self.rows_in_batch += 1;
    }

    fn check_row(&mut self, row: &UploadRow, codes: &mut Vec<Code>) -> Result<(), TooManyRows> {
        let iys_type = IysType::parse(&row.iys_type);
        let recipient_type = match row.recipient_type.as_str() {
            "" => Some(self.default_type),
            word => RecipientType::parse(word),
        };
        let mut refuse_unless = |fine: bool, code: Code| {
            if !fine {
                codes.push(code)
            }
        };
        refuse_unless(iys_type.is_some(), Code::H117);
        refuse_unless(recipient_type.is_some(), Code::H116);
        refuse_unless(row.status.is_some(), Code::H115);
        // A merchant's first record may come without these two.
        let may_lack = recipient_type == Some(RecipientType::Merchant);
        let lacks_source = may_lack && row.source.is_empty();
        refuse_unless(lacks_source || SOURCES.contains(&row.source.as_str()), Code::H119);
        let wrong_address = iys_type.and_then(|it| address_fault(it, &row.recipient, self.form));
        codes.extend(wrong_address);
        let consent_time = self.check_date(row, may_lack, codes);
        if row.source == SOURCE_DECISION && row.status == Some(Status::Approved) {
            codes.push(Code::H408);
        }
        let (Some(iys_type), Some(recipient_type), None) =
            (iys_type, recipient_type, wrong_address)
        else {
            return Ok(());
        };
        let Some(recipient) = recipient::canonical(iys_type, &row.recipient, Accept::Valid) else {
            return Ok(());
        };
        let subject = Subject::new(iys_type, recipient_type, &recipient);
        self.compare_with_registry(row, subject, consent_time, may_lack, codes);
        if self.subjects_in_batch.len() == MAX_ROWS {
            return Err(TooManyRows);
        }
        if !self.subjects_in_batch.insert(subject) {
            codes.push(Code::H194);
        }
        Ok(())
    }

    /// Checks the date by itself; returns it if it can be read.
    fn check_date(
        &mut self,
        row: &UploadRow,
        may_lack: bool,
        codes: &mut Vec<Code>,
    ) -> Option<i64> {
        let consent_time = time::parse(&row.consent_date);
        if row.source == SOURCE_2015 {
            // These are older than any limit, by their nature.
            codes.extend((row.consent_date != DATE_2015).then_some(Code::H155));
            return consent_time;
        }
        let Some(consent_time) = consent_time else {
            let lacks = may_lack && row.consent_date.is_empty();
            codes.extend((!lacks).then_some(Code::Date));
            return None;
        };
        if consent_time < self.earliest_ms {
            codes.push(Code::H156);
        } else if consent_time > self.now_ms {
            codes.push(Code::H162);
        } else {
            match Standing::of(&row.source, consent_time, self.now_ms) {
                Standing::Past => codes.push(Code::H467),
                Standing::Unknown => self.undated += 1,
                Standing::NoLimit | Standing::Left(_) => {}
            }
        }
        Some(consent_time)
    }

    fn compare_with_registry(
        &self,
        row: &UploadRow,
        subject: Subject,
        consent_time: Option<i64>,
        may_lack: bool,
        codes: &mut Vec<Code>,
    ) {
        let Some(registry) = &self.registry else { return };
        let Some(held) = registry.held(subject) else {
            codes.extend((row.status == Some(Status::Refused)).then_some(Code::H175));
            return;
        };
        // Where they may never lack, that was found without the registry.
        codes.extend((may_lack && row.consent_date.is_empty()).then_some(Code::H462));
        codes.extend((may_lack && row.source.is_empty()).then_some(Code::H463));
        codes.extend((row.status == Some(held.status)).then_some(Code::H174));
        let not_newer = consent_time.zip(held.consent_time_ms).is_some_and(|(new, old)| new <= old);
        codes.extend(not_newer.then_some(Code::H178));
    }
}

/// What is wrong with an address, in the form that the file needs.
fn address_fault(iys_type: IysType, text: &str, form: Form) -> Option<Code> {
    if iys_type == IysType::Email {
        let is_number = !text.is_empty() && text.bytes().all(|byte| b"+0123456789".contains(&byte));
        let is_email =
            text.trim() == text && recipient::canonical(iys_type, text, Accept::Valid).is_some();
        return match (is_number, is_email) {
            (true, _) => Some(Code::H166),
            (false, true) => None,
            (false, false) => Some(Code::H120),
        };
    }
    if text.contains('@') {
        return Some(Code::H166);
    }
    let national = match form {
        Form::Table => Some(text),
        Form::Json => text.strip_prefix("+90"),
    };
    let digits = national.filter(|digits| {
        digits.len() == NATIONAL_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit())
    });
    let Some(digits) = digits else { return Some(Code::H121) };
    let exists = read_phone(format!("+90{digits}").as_bytes(), None, Accept::Valid).is_ok();
    (!exists).then_some(Code::H160)
}
