//! The check of one answer of a filter stream.
//!
//! A shifted bit would send to the wrong person, so nothing is taken on trust:
//! the lengths, the count, the padding bits, and the agreement of bits and
//! reasons are all verified before a caller sees a verdict.

use bytes::Bytes;

use super::ClientError;
use crate::proto::v1::{AnswerForm, BatchAnswer, Reason, Revision, ScopeAnswer};

const BITS: usize = 8;

/// The verdicts on one batch, verified.
#[derive(Clone, Debug)]
pub struct Verdicts {
    recipients: usize,
    permitted_count: usize,
    permitted: Bytes,
    reasons: Bytes,
    /// The revision that the batch was decided at.
    pub revision: Option<Revision>,
    /// The time that the batch was decided for, in ms.
    pub as_of_ms: i64,
    /// The version of the policy that decided.
    pub policy_version: String,
}

impl Verdicts {
    /// Verifies the answer to the batch `batch_id` of `recipients` recipients.
    pub(super) fn verify(
        answer: BatchAnswer,
        batch_id: u64,
        recipients: usize,
        form: AnswerForm,
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
        let [scope] = <[ScopeAnswer; 1]>::try_from(answer.scopes).map_err(|scopes| {
            contract(format!("batch {batch_id} has {} scopes instead of one", scopes.len()))
        })?;
        let verdicts = Self {
            recipients,
            permitted_count: scope.permitted_count as usize,
            permitted: scope.permitted,
            reasons: scope.reasons,
            revision: answer.revision,
            as_of_ms: answer.as_of_ms,
            policy_version: answer.policy_version,
        };
        match verdicts.fault(scope.recipients as usize, form) {
            None => Ok(verdicts),
            Some(fault) => Err(contract(format!("batch {batch_id}: {fault}"))),
        }
    }

    /// The number of recipients in the batch.
    #[must_use]
    pub fn recipients(&self) -> usize {
        self.recipients
    }

    /// How many of them are permitted.
    #[must_use]
    pub fn permitted_count(&self) -> usize {
        self.permitted_count
    }

    /// One bit a recipient, least significant first, as the server sent them.
    #[must_use]
    pub fn permitted_bits(&self) -> &[u8] {
        &self.permitted
    }

    /// Whether the message may go to recipient `index`. Nobody beyond the
    /// batch is permitted.
    #[must_use]
    pub fn is_permitted(&self, index: usize) -> bool {
        self.permitted.get(index / BITS).is_some_and(|byte| byte >> (index % BITS) & 1 == 1)
    }

    /// The reason for recipient `index`; `REASON_UNSPECIFIED` where the stream
    /// asked for bits only, or the value is newer than this client.
    #[must_use]
    pub fn reason(&self, index: usize) -> Reason {
        let byte = self.reasons.get(index).copied().unwrap_or_default();
        Reason::try_from(i32::from(byte)).unwrap_or(Reason::Unspecified)
    }

    /// What is wrong with the answer, if anything.
    fn fault(&self, stated_recipients: usize, form: AnswerForm) -> Option<String> {
        let due = self.recipients;
        if stated_recipients != due {
            return Some(format!("{due} recipients asked, {stated_recipients} answered"));
        }
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
        let reasons_due = if form == AnswerForm::Reasons { due } else { 0 };
        if self.reasons.len() != reasons_due {
            return Some(format!("{} reasons for {reasons_due}", self.reasons.len()));
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

    fn answer(recipients: u32, count: u32, bits: &[u8], reasons: &[u8]) -> BatchAnswer {
        BatchAnswer {
            batch_id: 7,
            scopes: vec![ScopeAnswer {
                recipients,
                permitted_count: count,
                permitted: Bytes::copy_from_slice(bits),
                reasons: Bytes::copy_from_slice(reasons),
                reason_counts: Vec::new(),
            }],
            ..Default::default()
        }
    }

    fn bits(answer: BatchAnswer, recipients: usize) -> Result<Verdicts, ClientError> {
        Verdicts::verify(answer, 7, recipients, AnswerForm::PermittedBits)
    }

    fn reasons(answer: BatchAnswer, recipients: usize) -> Result<Verdicts, ClientError> {
        Verdicts::verify(answer, 7, recipients, AnswerForm::Reasons)
    }

    #[test]
    fn a_right_answer_is_read_bit_by_bit() {
        let verdicts = bits(answer(9, 2, &[0b0000_0010, 1], &[]), 9).unwrap();
        let permitted: Vec<usize> = (0..100).filter(|i| verdicts.is_permitted(*i)).collect();
        assert_eq!(permitted, [1, 8]);
        assert_eq!(verdicts.reason(1), Reason::Unspecified);
    }

    #[test]
    fn an_empty_batch_has_no_bytes() {
        assert_eq!(bits(answer(0, 0, &[], &[]), 0).unwrap().permitted_count(), 0);
        assert!(bits(answer(0, 0, &[0], &[]), 0).is_err());
    }

    #[test]
    fn every_mismatch_is_an_error() {
        let wrong_id = Verdicts::verify(answer(1, 0, &[0], &[]), 8, 1, AnswerForm::PermittedBits);
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
        assert!(!verdicts.is_permitted(0));
        assert_eq!(verdicts.reason(0), Reason::Unspecified);
    }
}
