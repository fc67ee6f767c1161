//! TLS by rustls, with certificates that are read again when they change.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use tokio_rustls::rustls::{
    self, RootCertStore, ServerConfig,
    crypto::ring,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::{TLS12, TLS13},
};

use super::pem::{self, Privacy, TlsError, Validity};
use crate::{caps, clock::Clock};

/// Between two warnings that the certificate ends soon.
const DAY: i64 = 86_400_000;

/// The files that TLS needs, in PEM form.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The authorities whose certificates clients must have; none to let in
    /// clients without one.
    pub client_ca: Option<PathBuf>,
}

/// The TLS of a server. Each connection takes what is current when it comes;
/// those that are open keep what they began with.
pub struct Tls {
    files: TlsFiles,
    clock: Clock,
    current: ArcSwap<Loaded>,
    tried: Mutex<Tried>,
}

/// What was made of the files.
struct Loaded {
    config: Arc<ServerConfig>,
    validity: Validity,
}

/// What was tried last: the same files are not read into a configuration
/// twice, and the same error is not logged twice.
#[derive(PartialEq, Eq)]
enum Tried {
    Contents([u8; 32]),
    Unreadable(TlsError),
}

/// The contents of the files.
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// A file is missing, wrong, readable by others, expired or not yet valid,
    /// or the key is of another certificate.
    pub fn open(files: TlsFiles, clock: Clock) -> Result<Self, TlsError> {
        let contents = Contents::read(&files)?;
        let tried = Tried::Contents(contents.digest());
        let loaded = Loaded::new(&files, &contents, clock.now())?;
        Ok(Self { files, clock, current: ArcSwap::from_pointee(loaded), tried: Mutex::new(tried) })
    }

    /// What new connections agree on.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    /// When the first certificate of the chain in use expires, in ms.
    #[must_use]
    pub fn expires(&self) -> i64 {
        self.current.load().validity.ends
    }

    /// Looks at the files again and says in the log what became of it. A file
    /// that is wrong changes nothing. `always` takes the files even if they are
    /// as they were.
    pub fn reload(&self, always: bool) {
        match self.try_reload(always) {
            Ok(None) => {}
            Ok(Some(ends)) => tracing::info!(valid_until = ends, "new certificates are in use"),
            Err(error) => {
                tracing::error!(%error, "new certificates cannot be used; the old ones stay");
            }
        }
    }

    /// When the certificate ends that is now in use instead of another; none if
    /// nothing is new.
    fn try_reload(&self, always: bool) -> Result<Option<String>, TlsError> {
        // Held to the end, so that two who look do not overtake each other.
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let contents = match Contents::read(&self.files) {
            Ok(contents) => contents,
            Err(error) => {
                let now = Tried::Unreadable(error.clone());
                let is_known = !always && *tried == now;
                *tried = now;
                return if is_known { Ok(None) } else { Err(error) };
            }
        };
        let now = Tried::Contents(contents.digest());
        if !always && *tried == now {
            return Ok(None);
        }
        *tried = now;
        let loaded = Loaded::new(&self.files, &contents, self.clock.now())?;
        let ends = pem::time(loaded.validity.ends);
        self.current.store(Arc::new(loaded));
        Ok(Some(ends))
    }

    /// Looks at the files again and again, and warns of the end of the
    /// certificate. Contents are compared, not times: a link that is moved or a
    /// file that is restored has whatever time it likes.
    pub async fn keep(self: Arc<Self>, every: Duration) {
        let mut warned = i64::MIN;
        loop {
            let now = self.clock.now();
            if now.saturating_sub(warned) >= DAY && self.warn(now) {
                warned = now;
            }
            tokio::time::sleep(every).await;
            let tls = Arc::clone(&self);
            // A panic there has been printed.
            drop(tokio::task::spawn_blocking(move || tls.reload(false)).await);
        }
    }

    /// Warns if the certificate ends soon or has ended.
    fn warn(&self, now: i64) -> bool {
        let ends = self.current.load().validity.ends;
        let soon = i64::try_from(caps::TLS_WARNING.as_millis()).unwrap_or(i64::MAX);
        let file = self.files.certificate.display();
        if now > ends {
            let ended = pem::time(ends);
            tracing::error!(%file, ended, "the certificate has expired: clients refuse it");
        } else if ends - now < soon {
            let ends = pem::time(ends);
            tracing::warn!(%file, ends, "the certificate expires soon: renew it");
        } else {
            return false;
        }
        true
    }
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let client_ca = files.client_ca.as_ref().map(|file| pem::read(file, Privacy::Public));
        Ok(Self {
            certificate: pem::read(&files.certificate, Privacy::Public)?,
            key: pem::read(&files.key, Privacy::Secret)?,
            client_ca: client_ca.transpose()?,
        })
    }

    fn digest(&self) -> [u8; 32] {
        let client_ca = self.client_ca.as_deref().unwrap_or_default();
        let mut digest = Sha256::new();
        for part in [&self.certificate, &self.key, client_ca] {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }
}

impl Loaded {
    fn new(files: &TlsFiles, contents: &Contents, now: i64) -> Result<Self, TlsError> {
        let chain = pem::certificates(&files.certificate, &contents.certificate)?;
        let mut ends = i64::MAX;
        let mut begins = i64::MIN;
        for certificate in &chain {
            let validity = pem::validity(&files.certificate, certificate)?;
            validity.at(now).map_err(|why| TlsError::new(&files.certificate, why))?;
            ends = ends.min(validity.ends);
            begins = begins.max(validity.begins);
        }
        let key = pem::key(&files.key, &contents.key)?;

        let provider = Arc::new(ring::default_provider());
        let failed = |error: rustls::Error| {
            TlsError::new(&files.certificate, format!("cannot be used: {error}"))
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(failed)?;
        let builder = match (&files.client_ca, &contents.client_ca) {
            (Some(file), Some(bytes)) => {
                let roots = Arc::new(authorities(file, bytes, now)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = verifier
                    .build()
                    .map_err(|error| TlsError::new(file, format!("cannot be used: {error}")))?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsError::new(
                &files.key,
                format!(
                    "is not the key of the certificate in {}: name the two that were made together",
                    files.certificate.display()
                ),
            ),
            error => failed(error),
        })?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // Connections are long, so resuming them gains nothing; and each new
        // one must show a certificate that is valid now.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), validity: Validity { begins, ends } })
    }
}

/// The authorities in a file. Bundles keep old ones; one must be valid.
fn authorities(file: &std::path::Path, bytes: &[u8], now: i64) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let mut wrong = None;
    for certificate in pem::certificates(file, bytes)? {
        match pem::validity(file, &certificate)?.at(now) {
            Ok(()) => roots.add(certificate).map_err(|error| {
                TlsError::new(file, format!("holds a certificate of no authority: {error}"))
            })?,
            Err(why) => wrong = Some(why),
        }
    }
    match wrong {
        Some(why) if roots.is_empty() => Err(TlsError::new(file, why)),
        _ => Ok(roots),
    }
}
