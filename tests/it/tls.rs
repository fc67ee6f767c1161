//! F18: who is not trusted gets nothing, wrong files are named, and
//! certificates are changed while streams go on.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use sendgate::{
    app::{Config, Server},
    caps::Limits,
    client::{Client, ClientTls},
    clock::Clock,
    proto::v1::{self, AnswerForm, ContactKind, GetStatisticsRequest, filter_request},
    transport::TlsFiles,
};
use tempfile::TempDir;
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};
use x509_cert::der::Decode;

use crate::{
    certificates::{Authority, Issued, VALID, write},
    process::{Process, run},
    support::{Asking, START, options, phones},
};

const LONG: Duration = Duration::from_secs(60);
const NAMES: &[&str] = &["localhost", "127.0.0.1"];

/// A server with TLS, in this process.
struct Secured {
    server: Server,
    clock: Arc<AtomicI64>,
    authority: Authority,
    folder: TempDir,
    endpoint: String,
}

impl Secured {
    async fn start(client_ca: Option<&Authority>, limits: Limits) -> Self {
        let authority = Authority::new();
        let certificate = authority.issue(NAMES, VALID, 1);
        Self::start_as(authority, &certificate, client_ca, limits, START).await
    }

    async fn start_as(
        authority: Authority,
        certificate: &Issued,
        client_ca: Option<&Authority>,
        limits: Limits,
        time: i64,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tls = files(folder.path(), certificate, client_ca);
        let clock = Arc::new(AtomicI64::new(time));
        let server = open(folder.path(), tls, limits, &clock).await.unwrap();
        let endpoint = format!("https://localhost:{}", server.address().port());
        Self { server, clock, authority, folder, endpoint }
    }

    fn trusting(&self, identity: Option<Issued>) -> ClientTls {
        ClientTls {
            authorities: Some(self.authority.pem.clone().into()),
            identity: identity.map(|issued| (issued.certificate.into(), issued.key.into())),
        }
    }

    /// The serial number that a new connection is shown.
    async fn serial(&self) -> Vec<u8> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem.as_bytes()).unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(self.server.address()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        let shown = &stream.get_ref().1.peer_certificates().unwrap()[0];
        let certificate = x509_cert::Certificate::from_der(shown).unwrap();
        certificate.tbs_certificate().serial_number().as_bytes().to_vec()
    }
}

fn files(folder: &Path, certificate: &Issued, client_ca: Option<&Authority>) -> TlsFiles {
    let (certificate, key) = certificate.write(folder, "server");
    let client_ca = client_ca.map(|authority| write(folder, "clients.pem", &authority.pem));
    TlsFiles { certificate, key, client_ca }
}

async fn open(
    folder: &Path,
    tls: TlsFiles,
    limits: Limits,
    clock: &Arc<AtomicI64>,
) -> Result<Server, sendgate::app::AppError> {
    let config = Config {
        folder: folder.join("data"),
        listen: "127.0.0.1:0".parse().unwrap(),
        http: None,
        tls: Some(tls),
        limits,
        clock: Clock::Manual(Arc::clone(clock)),
    };
    Server::start(config).await
}

/// Whether a client gets an answer. With TLS 1.3 a client hears only after its
/// own part of the handshake that its certificate was refused.
async fn answered(endpoint: &str, tls: &ClientTls) -> Result<(), String> {
    let client = Client::connect_with(endpoint, tls).await.map_err(|error| error.to_string())?;
    let asked =
        client.admin_service().get_statistics(GetStatisticsRequest::default()).await.map(drop);
    asked.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_is_trusted_and_trusts_is_answered() {
    let clients = Authority::new();
    let server = Secured::start(Some(&clients), Limits::default()).await;
    let of_client = |authority: &Authority, years| {
        server.trusting(Some(authority.issue(&["a client"], years, 7)))
    };

    answered(&server.endpoint, &of_client(&clients, VALID)).await.unwrap();

    let stranger = Authority::new();
    let wrong = [
        ("no certificate", server.trusting(None)),
        ("of another authority", of_client(&stranger, VALID)),
        ("of the server's authority", of_client(&server.authority, VALID)),
        ("expired", of_client(&clients, (2020, 2021))),
        ("not yet valid", of_client(&clients, (2089, 2090))),
    ];
    for (what, tls) in wrong {
        assert!(answered(&server.endpoint, &tls).await.is_err(), "{what}");
    }
    let mut mistrusting = of_client(&clients, VALID);
    mistrusting.authorities = Some(stranger.pem.clone().into());
    let error = answered(&server.endpoint, &mistrusting).await.unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");
    mistrusting.authorities = None;
    let error = answered(&server.endpoint, &mistrusting).await.unwrap_err();
    assert!(error.contains("--tls-ca"), "{error}");

    let plain = server.endpoint.replace("https", "http");
    assert!(answered(&plain, &ClientTls::default()).await.is_err(), "without TLS");
    let error = answered(&plain, &of_client(&clients, VALID)).await.unwrap_err();
    assert!(error.contains("must begin with https://"), "{error}");
    // And all of that kept nobody out.
    answered(&server.endpoint, &of_client(&clients, VALID)).await.unwrap();
    server.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_refuses_a_server_of_another_name_or_time() {
    let authority = Authority::new();
    let other = authority.issue(&["other.example"], VALID, 1);
    let server = Secured::start_as(authority, &other, None, Limits::default(), START).await;
    let error = answered(&server.endpoint, &server.trusting(None)).await.unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
    server.server.stop().await.unwrap();

    // The server's clock is in 2020, the client's is not.
    let authority = Authority::new();
    let old = authority.issue(NAMES, (2020, 2021), 1);
    let in_2020 = 1_590_000_000_000;
    let server = Secured::start_as(authority, &old, None, Limits::default(), in_2020).await;
    let error = answered(&server.endpoint, &server.trusting(None)).await.unwrap_err();
    assert!(error.contains("Expired") || error.contains("expired"), "{error}");
    server.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_is_named_and_nothing_is_served() {
    let authority = Authority::new();
    let good = authority.issue(NAMES, VALID, 1);
    let folder = tempfile::tempdir().unwrap();
    let expect = async |tls: TlsFiles, file: &str, words: &str| {
        let clock = Arc::new(AtomicI64::new(START));
        let started = open(folder.path(), tls, Limits::default(), &clock).await;
        let error = started.err().unwrap_or_else(|| panic!("{words}: it started")).to_string();
        assert!(error.contains(file) && error.contains(words), "{words}: {error}");
    };
    let path = || folder.path();
    let fine = || files(path(), &good, None);

    let expired = files(path(), &authority.issue(NAMES, (2020, 2021), 1), None);
    expect(expired, "server.pem", "expired at 2021-01-01T00:00:00Z").await;
    let early = files(path(), &authority.issue(NAMES, (2080, 2081), 1), None);
    expect(early, "server.pem", "not valid before 2080-01-01T00:00:00Z").await;
    let other = authority.issue(NAMES, VALID, 2);
    let mixed = Issued { certificate: good.certificate.clone(), key: other.key.clone() };
    expect(files(path(), &mixed, None), "server.key", "is not the key of the certificate").await;
    let swapped = Issued { certificate: good.key.clone(), key: good.certificate.clone() };
    expect(files(path(), &swapped, None), "server.pem", "swapped").await;
    let keyless = Issued { certificate: good.certificate.clone(), key: "no key".to_owned() };
    expect(files(path(), &keyless, None), "server.key", "holds no private key").await;
    let empty = Issued { certificate: String::new(), key: good.key.clone() };
    expect(files(path(), &empty, None), "server.pem", "holds no certificate").await;
    let cut = good.certificate[..good.certificate.len() / 2].to_owned();
    let cut = Issued { certificate: cut, key: good.key.clone() };
    expect(files(path(), &cut, None), "server.pem", "is no whole PEM file").await;
    let noise = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
    let noise = Issued { certificate: noise, key: good.key.clone() };
    expect(files(path(), &noise, None), "server.pem", "damaged certificate").await;
    let large = Issued { certificate: "x".repeat((1 << 20) + 1), key: good.key.clone() };
    expect(files(path(), &large, None), "server.pem", "larger than 1048576 bytes").await;
    for mode in [0o640, 0o604, 0o660] {
        let tls = fine();
        fs::set_permissions(&tls.key, fs::Permissions::from_mode(mode)).unwrap();
        expect(tls, "server.key", "chmod 600").await;
    }
    let mut missing = fine();
    missing.certificate = path().join("nowhere.pem");
    expect(missing, "nowhere.pem", "cannot be read").await;
    let mut no_authority = fine();
    no_authority.client_ca = Some(write(path(), "clients.pem", &good.key));
    expect(no_authority, "clients.pem", "holds no certificate").await;
    assert!(!path().join("data").exists(), "the store was opened before TLS was looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_change_under_load_and_no_stream_is_dropped() {
    let limits = Limits { tls_reload: Duration::from_millis(20), ..Limits::default() };
    let server = Secured::start(None, limits).await;
    let client = Client::connect_with(&server.endpoint, &server.trusting(None)).await.unwrap();
    let mut stream = Asking::open_bare(client.filter_service()).await;
    let asked = options(ContactKind::Phone, "sms", AnswerForm::Reasons);
    stream.send(filter_request::Message::Options(asked)).await;
    stream.ask(phones(1, &[905_321_234_567])).await;
    assert_eq!(server.serial().await, [1]);

    for serial in 2..6 {
        let new = server.authority.issue(NAMES, VALID, serial);
        new.write(server.folder.path(), "server");
        let changed = async {
            let mut batch = 0;
            while server.serial().await != [serial] {
                batch += 1;
                stream.ask(phones(batch, &[905_321_234_567])).await;
            }
        };
        timeout(LONG, changed).await.expect("the new certificate is never shown");
    }
    // What cannot be used changes nothing, neither by itself nor when asked to.
    let folder = server.folder.path();
    write(folder, "server.pem", "rubbish");
    server.server.reload_certificates().await;
    assert_eq!(server.serial().await, [5]);
    server.authority.issue(NAMES, (2020, 2021), 6).write(folder, "server");
    server.server.reload_certificates().await;
    fs::remove_file(folder.join("server.key")).unwrap();
    server.server.reload_certificates().await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(server.serial().await, [5]);
    stream.ask(phones(9, &[905_321_234_567])).await;
    // Valid from here on, for a clock that is set so.
    server.clock.store(1_590_000_000_000, Ordering::SeqCst);
    server.authority.issue(NAMES, (2020, 2090), 7).write(folder, "server");
    server.server.reload_certificates().await;
    assert_eq!(server.serial().await, [7]);
    let summary: v1::FilterSummary = stream.end().await;
    assert!(summary.batches > 2, "{summary:?}");
    drop(client);
    server.server.stop().await.unwrap();
}

/// Reads until the other side closes.
async fn closed(mut stream: TcpStream) {
    let mut bytes = Vec::new();
    // A reset is an end as well.
    let _ = timeout(LONG, stream.read_to_end(&mut bytes)).await.expect("it was not closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_handshakes_end_and_keep_nobody_out() {
    let limits = Limits { handshake: Duration::from_secs(2), ..Limits::default() };
    let server = Secured::start(None, limits).await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(server.server.address()).await.unwrap());
    }
    for _ in 0..10 {
        answered(&server.endpoint, &server.trusting(None)).await.unwrap();
    }
    for stream in silent {
        closed(stream).await;
    }
    server.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_at_once_are_capped() {
    let limits = Limits { handshakes: 2, handshake: Duration::from_secs(3), ..Limits::default() };
    let server = Secured::start(None, limits).await;
    let connect = || TcpStream::connect(server.server.address());
    let begun = [connect().await.unwrap(), connect().await.unwrap()];
    // The third is refused at once, and not when the time of the others is over.
    let third = connect().await.unwrap();
    closed(third).await;
    begun.iter().for_each(|stream| {
        let nothing = stream.try_read(&mut [0]).unwrap_err();
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock, "a handshake was cut short");
    });
    for stream in begun {
        closed(stream).await;
    }
    answered(&server.endpoint, &server.trusting(None)).await.unwrap();
    server.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_speaks_mutual_tls_and_the_audit_log_knows_the_peer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (authority, clients) = (Authority::new(), Authority::new());
    let tls = files(path, &authority.issue(NAMES, VALID, 1), Some(&clients));
    let ca = write(path, "ca.pem", &authority.pem);
    let (certificate, key) = clients.issue(&["a client"], VALID, 2).write(path, "client");
    let data = path.join("data");
    let client_ca = tls.client_ca.unwrap();
    let serve: [&OsStr; 6] = [
        "--tls-cert".as_ref(),
        tls.certificate.as_ref(),
        "--tls-key".as_ref(),
        tls.key.as_ref(),
        "--tls-client-ca".as_ref(),
        client_ca.as_ref(),
    ];
    let (_server, address) = Process::serve_with(&data, "127.0.0.1:0", &serve).unwrap();
    let endpoint = format!("https://localhost:{}", address.port());
    let history: [&OsStr; 9] = [
        "history".as_ref(),
        "--brand".as_ref(),
        "main".as_ref(),
        "+905321234567".as_ref(),
        "--json".as_ref(),
        "--endpoint".as_ref(),
        endpoint.as_ref(),
        "--tls-ca".as_ref(),
        ca.as_ref(),
    ];
    let anonymous = run(&history, b"");
    assert!(matches!(anonymous.status.code(), Some(1 | 3)), "{anonymous:?}");
    let identity: [&OsStr; 4] =
        ["--client-cert".as_ref(), certificate.as_ref(), "--client-key".as_ref(), key.as_ref()];
    let known = run(&[history.as_slice(), &identity].concat(), b"");
    assert!(known.status.success(), "{known:?}");
    let half = run(&[history.as_slice(), &identity[..2]].concat(), b"");
    assert_eq!(half.status.code(), Some(2), "{half:?}");
    let audit = fs::read_to_string(data.join("audit.jsonl")).unwrap();
    let row = audit.lines().find(|line| line.contains(r#""event":"history""#)).unwrap();
    assert!(row.contains(r#""peer":"127.0.0.1:"#), "{row}");
}
