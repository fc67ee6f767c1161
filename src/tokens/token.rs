//! The secret that a caller shows.

use std::{env, fmt, io};

use sha2::{Digest as _, Sha256};

/// How every token begins, so that scanners of repositories and logs find one
/// that leaked: `sendgate_[0-9a-f]{64}`.
const PREFIX: &str = "sendgate_";
/// Random bytes of a token.
const BYTES: usize = 32;

/// A token as its holder keeps it. It prints as nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A new token, of 32 random bytes.
    #[must_use]
    pub fn random() -> Self {
        Self(format!("{PREFIX}{}", hexadecimal(&rand::random::<[u8; BYTES]>())))
    }

    /// Reads a token; `None` if the text is not spelled like one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_spelled = digits.len() == 2 * BYTES && digits.bytes().all(is_digit);
        is_spelled.then(|| Self(text.to_owned()))
    }

    /// As [`parse`](Self::parse), for what a person typed or stored: white
    /// space around it is dropped.
    ///
    /// # Errors
    /// The text is no token. It is not repeated: it may be another secret.
    pub fn read(text: &str) -> io::Result<Self> {
        let what = "it holds no token: one begins with sendgate_ and has 64 hexadecimal digits";
        Self::parse(text.trim()).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, what))
    }

    /// The token in the environment variable `SENDGATE_TOKEN`, if there is one.
    /// No argument takes a token: others see the arguments of a process.
    ///
    /// # Errors
    /// The variable holds something else.
    pub fn of_environment() -> io::Result<Option<Self>> {
        let text = env::var_os("SENDGATE_TOKEN");
        text.map(|text| Self::read(&text.to_string_lossy())).transpose()
    }

    /// The token itself, for its holder or for the wire; never for a log.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token")
    }
}

/// The SHA-256 of a token: all that is stored.
///
/// A quick hash is enough. Slow ones make it dear to try what people think of;
/// nobody can try 2^256 tokens at any speed, and a slow one would let whoever
/// sends garbage use up the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Reads 64 hexadecimal digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let byte = |at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
        let bytes = (0..64).step_by(2).map(byte).collect::<Option<Vec<u8>>>()?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hexadecimal(&self.0))
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_spelled_one_way_and_never_printed() {
        let token = Token::random();
        assert_ne!(token, Token::random());
        assert_eq!(Token::parse(token.expose()), Some(token.clone()));
        assert_eq!(token.expose().len(), 73);
        assert_eq!(format!("{token:?}"), "Token");
        assert_eq!(Token::read(&format!(" {}\r\n", token.expose())).unwrap(), token);
        let upper = token.expose().to_uppercase();
        let longer = format!("{}0", token.expose());
        for wrong in ["", "sendgate_", "sendgate_zz", upper.as_str(), longer.as_str()] {
            assert_eq!(Token::parse(wrong), None, "{wrong}");
        }
        let error = Token::read("hunter2").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_digest_is_sha_256_of_the_spelling() {
        let token = Token::parse(&format!("{PREFIX}{}", "0".repeat(64))).unwrap();
        let expected = "aa7cf21188c283339162671f701f64300eddf4832bdad7a2f31c46cbf07f848e";
        let digest = token.digest();
        assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
        assert_eq!(digest.to_string(), expected);
        for wrong in ["", "0", &"g".repeat(64), &"0".repeat(65), &"é".repeat(32)] {
            assert_eq!(Digest::parse(wrong), None, "{wrong}");
        }
    }
}
