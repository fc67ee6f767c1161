//! Authorities and certificates made for a test.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SerialNumber, date_time_ymd,
};

/// Valid for as long as these tests are run.
pub const VALID: (i32, i32) = (2020, 2090);

/// Somebody who issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// A certificate and its key, in PEM form.
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = params(&[], VALID);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Of a name of its own, by which certificates name it.
        let name: String = key.public_key_raw().iter().map(|byte| format!("{byte:02x}")).collect();
        params.distinguished_name.push(DnType::CommonName, &name[..32]);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for these names, valid from the first day of one year to
    /// the first of another.
    pub fn issue(&self, names: &[&str], years: (i32, i32), serial: u8) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut params = params(names, years);
        params.serial_number = Some(SerialNumber::from_slice(&[serial]));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

fn params(names: &[&str], (begins, ends): (i32, i32)) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(begins, 1, 1);
    params.not_after = date_time_ymd(ends, 1, 1);
    params
}

impl Issued {
    /// Writes both as `name.pem` and `name.key`, in the place of older ones.
    pub fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        (
            write(folder, &format!("{name}.pem"), &self.certificate),
            write(folder, &format!("{name}.key"), &self.key),
        )
    }
}

/// Writes a file that only its owner may read; it appears whole.
pub fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let (new, path) = (folder.join("new"), folder.join(name));
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&new, &path).unwrap();
    path
}
