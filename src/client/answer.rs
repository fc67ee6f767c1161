//! The check of one answer of a filter stream.
//!
//! A shifted bit would send to the wrong person, so nothing is taken on trust:
//! the lengths, the count, the padding bits, and the agreement of bits and
//! reasons are all verified before a caller sees a verdict.

use bytes::Bytes;
use roaring::RoaringTreemap;

use super::{ClientError, audience};
use crate::proto::v1::{AnswerForm, BatchAnswer, Reason, Revision, ScopeAnswer};

const BITS: usize = 8;

/// The verdicts on one batch, verified.
#[derive(Clone, Debug)]
pub struct Verdicts {
    recipients: usize,
    scopes: Vec<ScopeVerdicts>,
    /// The revision that the batch was decided at.
    pub revision: Option<Revision>,
    /// The time that the batch was decided for, in ms.
    pub as_of_ms: i64,
    /// The version of the policy that decided.
    pub policy_version: String,
}

/// The verdicts on one batch in one scope.
#[derive(Clone, Debug)]
pub struct ScopeVerdicts {
    permitted_count: usize,
    permitted: Bytes,
    /// What `permitted` stands for where the batch was an audience.
    members: Option<RoaringTreemap>,
    reasons: Bytes,
}

/// The verdicts in a scope that was not asked about.
static NOBODY: ScopeVerdicts = ScopeVerdicts {
    permitted_count: 0,
    permitted: Bytes::new(),
    members: None,
    reasons: Bytes::new(),
};

/// What was asked, and so what its answer must be.
#[derive(Clone, Copy)]
pub(super) struct Due<'a> {
    pub scopes: usize,
    pub form: AnswerForm,
    /// The members, where the batch is an audience.
    pub audience: Option<&'a RoaringTreemap>,
}

impl Verdicts {
    /// Verifies the answer to the batch `batch_id` of `recipients` recipients.
    pub(super) fn verify(
        answer: BatchAnswer,
        batch_id: u64,
        recipients: usize,
        due: Due<'_>,
    ) -> Result<Self, ClientError> {
        if answer.batch_id != batch_id {
            return Err(contract(format!(
                "batch {batch_id} was due and batch {} came",
                answer.batch_id
            )));
        }
        if let Some(error) = answer.error {
            return Err(ClientError::refused(batch_id, error));
        }
        if answer.scopes.len() != due.scopes {
            return Err(contract(format!(
                "batch {batch_id}: {} scopes asked, {} answered",
                due.scopes,
                answer.scopes.len()
            )));
        }
        let verified = |(at, scope): (usize, ScopeAnswer)| {
            let stated_recipients = scope.recipients as usize;
            let mut verdicts = ScopeVerdicts {
                permitted_count: scope.permitted_count as usize,
                permitted: scope.permitted,
                members: None,
                reasons: scope.reasons,
            };
            if due.audience.is_some() {
                verdicts.members =
                    Some(audience::read(&verdicts.permitted).map_err(|fault| {
                        contract(format!("batch {batch_id}, scope {at}: {fault}"))
                    })?);
            }
            match verdicts.fault(recipients, stated_recipients, due) {
                None => Ok(verdicts),
                Some(fault) => Err(contract(format!("batch {batch_id}, scope {at}: {fault}"))),
            }
        };
        Ok(Self {
            recipients,
            scopes: answer
                .scopes
                .into_iter()
                .enumerate()
                .map(verified)
                .collect::<Result<_, _>>()?,
            revision: answer.revision,
            as_of_ms: answer.as_of_ms,
            policy_version: answer.policy_version,
        })
    }

    /// The number of recipients in the batch.
    #[must_use]
    pub fn recipients(&self) -> usize {
        self.recipients
    }

    /// The verdicts in each scope, in the order of the stream's options.
    #[must_use]
    pub fn scopes(&self) -> &[ScopeVerdicts] {
        &self.scopes
    }

    /// The verdicts in the scope at this place of the stream's options; in one
    /// that was not asked about nobody is permitted.
    #[must_use]
    pub fn scope(&self, at: usize) -> &ScopeVerdicts {
        self.scopes.get(at).unwrap_or(&NOBODY)
    }
}

impl ScopeVerdicts {
    /// How many recipients are permitted.
    #[must_use]
    pub fn permitted_count(&self) -> usize {
        self.permitted_count
    }

    /// One bit a recipient, least significant first, as the server sent them;
    /// none for an audience, whose answer is
    /// [`permitted_members`](Self::permitted_members).
    #[must_use]
    pub fn permitted_bits(&self) -> &[u8] {
        if self.members.is_some() { &[] } else { &self.permitted }
    }

    /// The permitted members, where the batch was an audience.
    #[must_use]
    pub fn permitted_members(&self) -> Option<&RoaringTreemap> {
        self.members.as_ref()
    }

    /// Whether the message may go to recipient `index` of a column or of lines.
    /// Nobody beyond the batch is permitted.
    #[must_use]
    pub fn is_permitted(&self, index: usize) -> bool {
        self.permitted_bits().get(index / BITS).is_some_and(|byte| byte >> (index % BITS) & 1 == 1)
    }

    /// The reasons of all recipients, a byte each, as the server sent them; of
    /// an audience in ascending order of its members.
    #[must_use]
    pub fn reasons(&self) -> &[u8] {
        &self.reasons
    }

    /// The reason for recipient `index`; `REASON_UNSPECIFIED` where the stream
    /// asked for bits only, or the value is newer than this client.
    #[must_use]
    pub fn reason(&self, index: usize) -> Reason {
        let byte = self.reasons.get(index).copied().unwrap_or_default();
        Reason::try_from(i32::from(byte)).unwrap_or(Reason::Unspecified)
    }

    /// What is wrong with the answer, if anything.
    fn fault(&self, due: usize, stated_recipients: usize, asked: Due<'_>) -> Option<String> {
        if stated_recipients != due {
            return Some(format!("{due} recipients asked, {stated_recipients} answered"));
        }
        let reasons_due = if asked.form == AnswerForm::Reasons { due } else { 0 };
        if self.reasons.len() != reasons_due {
            return Some(format!("{} reasons for {reasons_due}", self.reasons.len()));
        }
        match (asked.audience, &self.members) {
            (Some(audience), Some(permitted)) => {
                audience::fault(audience, permitted, self.permitted_count, &self.reasons)
            }
            _ => self.bits_fault(due),
        }
    }

    /// What is wrong with the bits, if anything.
    fn bits_fault(&self, due: usize) -> Option<String> {
        if self.permitted.len() != due.div_ceil(BITS) {
            return Some(format!("{} bytes of bits for {due} recipients", self.permitted.len()));
        }
        let padding = self.permitted.len() * BITS - due;
        let last = self.permitted.last().copied().unwrap_or_default();
        if (last.leading_zeros() as usize) < padding {
            return Some("bits are set beyond the last recipient".to_owned());
        }
        let ones = self.permitted.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
        if ones != self.permitted_count {
            return Some(format!("{ones} bits are set, permitted_count {}", self.permitted_count));
        }
        let disagrees = |(index, reason): (usize, &u8)| {
            self.is_permitted(index) != (i32::from(*reason) == Reason::Permitted as i32)
                || i32::from(*reason) == Reason::Unspecified as i32
        };
        let position = self.reasons.iter().enumerate().position(disagrees)?;
        Some(format!("bit and reason of recipient {position} disagree"))
    }
}

fn contract(what: String) -> ClientError {
    ClientError::Contract(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERMITTED: u8 = Reason::Permitted as u8;
    const NO_CONSENT: u8 = Reason::NoConsent as u8;

    fn scope(recipients: u32, count: u32, bits: &[u8], reasons: &[u8]) -> ScopeAnswer {
        ScopeAnswer {
            recipients,
            permitted_count: count,
            permitted: Bytes::copy_from_slice(bits),
            reasons: Bytes::copy_from_slice(reasons),
            reason_counts: Vec::new(),
        }
    }

    fn answer(recipients: u32, count: u32, bits: &[u8], reasons: &[u8]) -> BatchAnswer {
        let scopes = vec![scope(recipients, count, bits, reasons)];
        BatchAnswer { batch_id: 7, scopes, ..Default::default() }
    }

    const BITS_DUE: Due<'_> = Due { scopes: 1, form: AnswerForm::PermittedBits, audience: None };
    const REASONS_DUE: Due<'_> = Due { form: AnswerForm::Reasons, ..BITS_DUE };

    fn bits(answer: BatchAnswer, recipients: usize) -> Result<Verdicts, ClientError> {
        Verdicts::verify(answer, 7, recipients, BITS_DUE)
    }

    fn reasons(answer: BatchAnswer, recipients: usize) -> Result<Verdicts, ClientError> {
        Verdicts::verify(answer, 7, recipients, REASONS_DUE)
    }

    #[test]
    fn a_right_answer_is_read_bit_by_bit() {
        let verdicts = bits(answer(9, 2, &[0b0000_0010, 1], &[]), 9).unwrap();
        let permitted: Vec<usize> =
            (0..100).filter(|i| verdicts.scope(0).is_permitted(*i)).collect();
        assert_eq!(permitted, [1, 8]);
        assert_eq!(verdicts.scope(0).reason(1), Reason::Unspecified);
    }

    #[test]
    fn each_scope_has_its_own_verdicts_and_a_further_one_none() {
        let due = Due { scopes: 2, ..REASONS_DUE };
        let mut both = answer(2, 1, &[1], &[PERMITTED, NO_CONSENT]);
        both.scopes.push(scope(2, 1, &[2], &[NO_CONSENT, PERMITTED]));
        let verdicts = Verdicts::verify(both.clone(), 7, 2, due).unwrap();
        let permitted = |at| [0, 1].map(|index| verdicts.scope(at).is_permitted(index));
        assert_eq!((permitted(0), permitted(1)), ([true, false], [false, true]));
        assert_eq!((permitted(2), verdicts.scopes().len()), ([false; 2], 2));
        // A fault in any scope is one of the whole answer.
        both.scopes[1].permitted_count = 2;
        let error = Verdicts::verify(both.clone(), 7, 2, due).unwrap_err();
        assert!(error.to_string().contains("scope 1"), "{error}");
        both.scopes.pop();
        assert!(Verdicts::verify(both, 7, 2, due).is_err(), "a scope is missing");
    }

    #[test]
    fn an_empty_batch_has_no_bytes() {
        assert_eq!(bits(answer(0, 0, &[], &[]), 0).unwrap().scope(0).permitted_count(), 0);
        assert!(bits(answer(0, 0, &[0], &[]), 0).is_err());
    }

    #[test]
    fn every_mismatch_is_an_error() {
        let wrong_id = Verdicts::verify(answer(1, 0, &[0], &[]), 8, 1, BITS_DUE);
        assert!(wrong_id.is_err());
        assert!(bits(answer(2, 0, &[0], &[]), 1).is_err(), "recipient count");
        assert!(bits(answer(9, 0, &[0], &[]), 9).is_err(), "too few bytes");
        assert!(bits(answer(8, 0, &[0, 0], &[]), 8).is_err(), "too many bytes");
        assert!(bits(answer(8, 1, &[3], &[]), 8).is_err(), "permitted count");
        assert!(bits(answer(7, 1, &[0x80], &[]), 7).is_err(), "padding");
        assert!(bits(answer(1, 1, &[1], &[PERMITTED]), 1).is_err(), "reasons not asked for");
        assert!(reasons(answer(2, 1, &[1], &[PERMITTED]), 2).is_err(), "too few reasons");
        assert!(reasons(answer(1, 1, &[1], &[NO_CONSENT]), 1).is_err(), "bit without reason");
        assert!(reasons(answer(1, 0, &[0], &[PERMITTED]), 1).is_err(), "reason without bit");
        assert!(reasons(answer(1, 0, &[0], &[0]), 1).is_err(), "no reason at all");
        let mut two_scopes = answer(1, 0, &[0], &[]);
        two_scopes.scopes.push(ScopeAnswer::default());
        assert!(bits(two_scopes, 1).is_err(), "scopes");
    }

    #[test]
    fn an_unknown_reason_is_a_refusal() {
        let verdicts = reasons(answer(1, 0, &[0], &[200]), 1).unwrap();
        assert!(!verdicts.scope(0).is_permitted(0));
        assert_eq!(verdicts.scope(0).reason(0), Reason::Unspecified);
    }

    /// Asks about the members 3, 70,000 and 2^40 and verifies this answer.
    fn audience(permitted: &[u64], count: u32, reasons: &[u8]) -> Result<Verdicts, ClientError> {
        let asked = RoaringTreemap::from_iter([3, 70_000, 1 << 40]);
        let mut bytes = Vec::new();
        RoaringTreemap::from_iter(permitted).serialize_into(&mut bytes).unwrap();
        let due = if reasons.is_empty() { BITS_DUE } else { REASONS_DUE };
        let due = Due { audience: Some(&asked), ..due };
        Verdicts::verify(answer(3, count, &bytes, reasons), 7, 3, due)
    }

    #[test]
    fn an_audience_is_answered_by_its_permitted_members() {
        let verdicts = audience(&[3, 1 << 40], 2, &[PERMITTED, NO_CONSENT, PERMITTED]).unwrap();
        let members = verdicts.scope(0).permitted_members().unwrap();
        assert_eq!(members.iter().collect::<Vec<_>>(), [3, 1 << 40]);
        assert_eq!(verdicts.scope(0).reason(1), Reason::NoConsent);
        // The bytes of a bitmap are no bits of recipients.
        assert!((0..1000).all(|index| !verdicts.scope(0).is_permitted(index)));
        assert_eq!(audience(&[], 0, &[]).unwrap().scope(0).permitted_count(), 0);
    }

    #[test]
    fn every_mismatch_of_an_audience_is_an_error() {
        assert!(audience(&[4], 1, &[]).is_err(), "nobody asked about 4");
        assert!(audience(&[3], 2, &[]).is_err(), "permitted count");
        assert!(audience(&[3], 1, &[PERMITTED, NO_CONSENT]).is_err(), "too few reasons");
        let swapped = audience(&[3], 1, &[NO_CONSENT, PERMITTED, NO_CONSENT]);
        assert!(swapped.is_err(), "the reasons permit somebody else");
        assert!(audience(&[3], 1, &[PERMITTED, 0, NO_CONSENT]).is_err(), "no reason at all");
        let due = Due { audience: Some(&RoaringTreemap::new()), ..BITS_DUE };
        for bytes in [&[][..], &[1; 7], &[0; 9]] {
            let error = Verdicts::verify(answer(0, 0, bytes, &[]), 7, 0, due);
            assert!(error.is_err(), "no bitmap, or more than one");
        }
    }
}
