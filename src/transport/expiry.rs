//! When a call is over: at its age, or before that where its caller says so.

use std::time::Duration;

use tokio::time::Instant;
use tonic::{
    Code, Status,
    codegen::http::{HeaderMap, HeaderName},
};

use super::pace::end;

/// The header in which gRPC's clients say how long they will wait.
static HEADER: HeaderName = HeaderName::from_static("grpc-timeout");
/// The digits that gRPC allows in it.
const DIGITS: usize = 8;

/// The ends of a call.
#[derive(Clone, Copy)]
pub(super) struct Expiry {
    /// When its messages may stream no longer. Its age alone ends no call whose
    /// answer has not begun, because some acts are long.
    pub at: Instant,
    /// When its caller will have given up, which ends any call.
    pub deadline: Option<Instant>,
}

impl Expiry {
    /// That of a call with these headers that begins now.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: the caller's deadline cannot be read.
    pub fn of(headers: &HeaderMap, age: Duration) -> Result<Self, Status> {
        let now = Instant::now();
        let Some(timeout) = headers.get(&HEADER) else {
            return Ok(Self { at: now + age, deadline: None });
        };
        let timeout = timeout.to_str().ok().and_then(read).ok_or_else(|| {
            let what = "grpc-timeout: write up to eight digits and one of H, M, S, m, u and n";
            end(Code::InvalidArgument, "TIMEOUT_UNREADABLE", what)
        })?;
        // One that no clock can reach is as good as none.
        Ok(Self { at: now + timeout.min(age), deadline: now.checked_add(timeout) })
    }

    /// How a stream ends at `at`.
    pub fn status(self) -> Status {
        if self.deadline == Some(self.at) {
            late()
        } else {
            let what = "the stream has been open for too long; go on in a new one";
            end(Code::Aborted, "STREAM_AGE", what)
        }
    }
}

/// How a call ends at its deadline.
pub(super) fn late() -> Status {
    end(Code::DeadlineExceeded, "DEADLINE", "the time that the caller gave it is over")
}

/// Reads a time as gRPC writes it: digits, and their unit.
fn read(timeout: &str) -> Option<Duration> {
    let (digits, unit) = timeout.split_at_checked(timeout.len().checked_sub(1)?)?;
    // Parsing alone would take a sign.
    if digits.len() > DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_hours(number),
        "M" => Duration::from_mins(number),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_grpc_writes_them() {
        for (timeout, due) in [
            ("0n", Some(Duration::ZERO)),
            ("1n", Some(Duration::from_nanos(1))),
            ("20u", Some(Duration::from_micros(20))),
            ("300m", Some(Duration::from_millis(300))),
            ("4S", Some(Duration::from_secs(4))),
            ("5M", Some(Duration::from_secs(300))),
            ("99999999H", Some(Duration::from_secs(359_999_996_400))),
            ("", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("+1S", None),
            ("-1S", None),
            (" 1S", None),
            ("1 S", None),
            ("1.5S", None),
            ("100000000n", None),
            ("1é", None),
            ("١S", None),
        ] {
            assert_eq!(read(timeout), due, "{timeout:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_end_counts() {
        let age = Duration::from_secs(60);
        let of = |timeout: &'static str| {
            let headers = [(HEADER.clone(), timeout.parse().unwrap())];
            Expiry::of(&headers.into_iter().collect(), age)
        };
        let after = |expiry: Expiry| (expiry.at - Instant::now(), expiry.status().code());
        let none = Expiry::of(&HeaderMap::new(), age).unwrap();
        assert_eq!(after(none), (age, Code::Aborted));
        let sooner = (Duration::from_secs(59), Code::DeadlineExceeded);
        assert_eq!(after(of("59S").unwrap()), sooner);
        assert_eq!(after(of("99999999H").unwrap()), (age, Code::Aborted));
        let later = Instant::now() + Duration::from_secs(61);
        assert_eq!(of("61S").unwrap().deadline, Some(later));
        assert_eq!((after(of("61S").unwrap()), none.deadline), ((age, Code::Aborted), None));
        assert_eq!(of("soon").err().unwrap().code(), Code::InvalidArgument);
    }
}
