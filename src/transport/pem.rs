//! Certificates and keys from files in PEM form, and what is wrong with them.

use std::{
    fmt,
    fs::File,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use x509_cert::{Certificate, der::Decode};

use crate::caps;

/// What is wrong with a file, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    file: PathBuf,
    what: String,
}

impl TlsError {
    pub(super) fn new(file: &Path, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), what: what.into() }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.file.display(), self.what)
    }
}

impl std::error::Error for TlsError {}

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Privacy {
    Public,
    /// Nobody but its owner.
    Secret,
}

/// The bytes of a file.
pub(super) fn read(file: &Path, privacy: Privacy) -> Result<Vec<u8>, TlsError> {
    let wrong = |what: String| TlsError::new(file, what);
    let unreadable = |error| {
        wrong(format!("cannot be read: {error}. Name a PEM file that the server's user may read"))
    };
    let open = File::open(file).map_err(unreadable)?;
    // Of the file that is open, not of its name, which may change meanwhile.
    let metadata = open.metadata().map_err(unreadable)?;
    let mode = metadata.permissions().mode() & 0o777;
    if privacy == Privacy::Secret && mode & 0o077 != 0 {
        return Err(wrong(format!(
            "others on this machine may use the key (mode {mode:04o}). Run `chmod 600` on it, and \
             make a new key if anybody may have read it"
        )));
    }
    let mut bytes = Vec::new();
    open.take(caps::TLS_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > caps::TLS_FILE_BYTES {
        return Err(wrong(format!("is larger than {} bytes", caps::TLS_FILE_BYTES)));
    }
    Ok(bytes)
}

/// The certificates in a file, in its order; at least one.
pub(super) fn certificates(
    file: &Path,
    bytes: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let found = found.map_err(|error| TlsError::new(file, damaged(&error)))?;
    if !found.is_empty() {
        return Ok(found);
    }
    let hint = if PrivateKeyDer::from_pem_slice(bytes).is_ok() {
        "it holds a private key. Were the two files swapped?"
    } else {
        "a PEM file with -----BEGIN CERTIFICATE----- is needed"
    };
    Err(TlsError::new(file, format!("holds no certificate: {hint}")))
}

/// The private key in a file.
pub(super) fn key(file: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| {
        let what = match error {
            pem::Error::NoItemsFound if CertificateDer::from_pem_slice(bytes).is_ok() => {
                "holds no private key: it holds a certificate. Were the two files swapped?"
                    .to_owned()
            }
            pem::Error::NoItemsFound => "holds no private key: a PEM file with -----BEGIN PRIVATE \
                                         KEY----- is needed, without a password"
                .to_owned(),
            error => damaged(&error),
        };
        TlsError::new(file, what)
    })
}

fn damaged(error: &pem::Error) -> String {
    format!("is no whole PEM file ({error}). Copy it again")
}

/// When a certificate is valid, in ms since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub begins: i64,
    pub ends: i64,
}

/// Reads a certificate's validity.
pub(super) fn validity(
    file: &Path,
    certificate: &CertificateDer<'_>,
) -> Result<Validity, TlsError> {
    let read = Certificate::from_der(certificate)
        .map_err(|error| TlsError::new(file, format!("holds a damaged certificate: {error}")))?;
    let validity = read.tbs_certificate().validity();
    let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    Ok(Validity {
        begins: ms(validity.not_before.to_unix_duration()),
        ends: ms(validity.not_after.to_unix_duration()),
    })
}

impl Validity {
    /// Whether it is valid at `now`; else why not, and what to do.
    pub fn at(self, now: i64) -> Result<(), String> {
        if now < self.begins {
            return Err(format!(
                "the certificate is not valid before {}, and this machine's clock says {}: set the \
                 clock, or use the certificate later",
                time(self.begins),
                time(now)
            ));
        }
        if now > self.ends {
            return Err(format!(
                "the certificate expired at {}: get a new one (this machine's clock says {})",
                time(self.ends),
                time(now)
            ));
        }
        Ok(())
    }
}

/// A time for people.
pub(super) fn time(ms: i64) -> String {
    Timestamp::from_second(ms.div_euclid(1_000))
        .map_or_else(|_| format!("{ms} ms"), |time| time.to_string())
}
