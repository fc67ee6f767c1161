//! What is packaged exists and fits the binary.

use std::{ffi::OsStr, fs, path::Path, process::Command};

use toml::Table;

use crate::process::{run, sendgate};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Its standard output; it must succeed.
fn output(arguments: &[&str]) -> String {
    let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    let output = run(&arguments, b"");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_file_of_the_package_exists() {
    let manifest: Table = text("Cargo.toml").parse().unwrap();
    let deb = manifest["package"]["metadata"]["deb"].as_table().unwrap();
    let mut targets = Vec::new();
    for asset in deb["assets"].as_array().unwrap() {
        let part = |at: usize| asset[at].as_str().unwrap();
        let source = part(0);
        match source.strip_suffix("*.md") {
            Some(folder) => assert!(root().join(folder).is_dir(), "{source}"),
            // What scripts/package.sh builds.
            None if source.starts_with("target/release/") => {
                let name = source.trim_start_matches("target/release/");
                let is_built = name == "sendgate"
                    || text("scripts/package.sh").contains(name.trim_start_matches("completions"));
                assert!(is_built, "{source}");
            }
            None => assert!(root().join(source).is_file(), "{source}"),
        }
        let name = source.rsplit('/').next().unwrap();
        targets.push(if part(1).ends_with('/') {
            format!("/{}{name}", part(1))
        } else {
            part(1).to_owned()
        });
    }
    for file in deb["conf-files"].as_array().unwrap() {
        assert!(
            targets.iter().any(|target| target == file.as_str().unwrap()),
            "{file} of {targets:?}"
        );
    }
    let scripts = deb["maintainer-scripts"].as_str().unwrap();
    for script in ["postinst", "postrm"] {
        let script = text(&format!("{scripts}{script}"));
        assert!(script.starts_with("#!/bin/sh\n") && script.contains("\nset -e\n"));
        assert!(script.contains("\n#DEBHELPER#\n"), "cargo-deb starts the unit there");
    }
    let units = deb["systemd-units"].as_table().unwrap();
    let unit = format!(
        "{}{}.service",
        units["unit-scripts"].as_str().unwrap(),
        units["unit-name"].as_str().unwrap()
    );
    assert!(root().join(unit).is_file());
}

/// The value of a key of the unit.
fn unit(key: &str) -> String {
    let unit = text("deploy/sendgate.service");
    let found = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {key}")).to_owned()
}

#[test]
fn the_unit_starts_the_binary_as_it_is() {
    let start = unit("ExecStart");
    let words: Vec<&str> = start.split(' ').collect();
    assert_eq!(words[0], "/usr/bin/sendgate");
    let help = output(&["serve", "--help"]);
    for flag in words.iter().filter(|word| word.starts_with("--")) {
        assert!(help.contains(*flag), "{flag}");
    }
    assert_eq!(unit("Type"), "notify");
    let default = output(&["config", "print", "--json"]);
    let default: serde_json::Value = serde_json::from_str(&default).unwrap();
    let keys = default.as_array().unwrap();
    let deadline = keys.iter().find(|entry| entry["key"] == "shutdown_deadline").unwrap();
    let stop: u64 = unit("TimeoutStopSec").parse().unwrap();
    assert!(stop > deadline["value"].as_u64().unwrap(), "systemd must not kill what still stops");
    assert_eq!(unit("RestartPreventExitStatus"), "2", "of a wrong configuration");
    let connections = keys.iter().find(|entry| entry["key"] == "connections").unwrap();
    let files: u64 = unit("LimitNOFILE").parse().unwrap();
    assert!(files > connections["value"].as_u64().unwrap() + sendgate::caps::OTHER_FILES);
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("there is no systemd-analyze: the unit was not verified");
        return;
    }
    // The binary is not installed where the unit says.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sendgate.service");
    let binary = env!("CARGO_BIN_EXE_sendgate");
    fs::write(&path, text("deploy/sendgate.service").replace("/usr/bin/sendgate", binary)).unwrap();
    let analyze = |arguments: &[&str]| {
        let output = Command::new("systemd-analyze").args(arguments).arg(&path).output().unwrap();
        let talk = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(talk).unwrap())
    };
    let (is_right, talk) = analyze(&["verify", "--man=no"]);
    let about_it: Vec<&str> =
        talk.lines().filter(|line| line.contains("sendgate.service")).collect();
    assert!(is_right && about_it.is_empty(), "{talk}");
    // Ten times the exposure that systemd reckons, which goes from 0 to 10.
    let (is_safe, talk) = analyze(&["security", "--offline=true", "--threshold=20", "--no-pager"]);
    assert!(is_safe, "{talk}");
}

/// `deploy/sendgate.toml` is `config print` with every key in a comment but the
/// folder, which is that of the package.
#[test]
fn the_packaged_configuration_says_the_defaults_and_passes_the_check() {
    let packaged = text("deploy/sendgate.toml");
    let (_, keys) = packaged.split_once("\n\n").expect("a paragraph of its own says what it is");
    let mut command = sendgate();
    command.env_remove("SENDGATE_HTTP_LISTEN").args(["config", "print"]);
    let printed = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let expected: Vec<String> = printed
        .lines()
        .map(|line| match line.strip_suffix(" # default").or(line.strip_suffix(" # not set")) {
            Some("data = \"sendgate-data\"") => "data = \"/var/lib/sendgate\"".to_owned(),
            Some(set) => format!("#{}", set.trim_start_matches('#')),
            None => line.to_owned(),
        })
        .collect();
    let found: Vec<&str> = keys.lines().collect();
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected, "deploy/sendgate.toml differs from `config print`");
    }
    assert_eq!(found.len(), expected.len());
    let path = root().join("deploy/sendgate.toml");
    assert_eq!(output(&["config", "check", "--config", path.to_str().unwrap()]), "ok\n");
}

#[test]
fn the_image_has_what_the_build_and_the_server_need() {
    let dockerfile = text("deploy/Dockerfile");
    let value = |name: &str| {
        let line = dockerfile.lines().rfind(|line| line.starts_with(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name}")).to_owned()
    };
    assert_eq!(value("USER"), "USER nonroot");
    let printed = output(&["config", "print"]);
    for port in value("EXPOSE").split(' ').skip(1) {
        let is_used = printed.contains(&format!(":{port}\""));
        assert!(is_used || port == "9464", "{port} is no port of the defaults");
    }
    let words: Vec<String> = serde_json::from_str(value("CMD").trim_start_matches("CMD ")).unwrap();
    assert_eq!(words, ["serve"]);
    for copied in
        dockerfile.lines().filter_map(|line| line.split_once("&& cp ")).map(|(_, rest)| rest)
    {
        assert!(root().join(copied.split(' ').next().unwrap()).is_file(), "{copied}");
    }
}
