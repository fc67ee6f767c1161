//! The real binary, as a process of its own.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
};

use tonic::transport::Channel;

/// The binary under test, with nothing of the caller's settings.
pub fn sendgate() -> Command {
    without_settings(Command::new(env!("CARGO_BIN_EXE_sendgate")))
}

/// A command with no settings of this process: a server refuses variables of ours
/// that it does not know.
pub fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"SENDGATE_") {
            command.env_remove(name);
        }
    }
    // Many servers run at once, and the usual port is one.
    command.env("SENDGATE_HTTP_LISTEN", "off");
    command.env("NO_COLOR", "1").stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts a command whose standard input the test writes.
pub fn start(arguments: &[&OsStr]) -> Child {
    sendgate().args(arguments).stdin(Stdio::piped()).spawn().unwrap()
}

/// Runs a command to its end with this on standard input.
pub fn run(arguments: &[&OsStr], input: &[u8]) -> Output {
    run_with(&[], arguments, input)
}

/// As [`run`], with these variables in the environment.
pub fn run_with(variables: &[(&str, &str)], arguments: &[&OsStr], input: &[u8]) -> Output {
    let mut command = sendgate();
    command.args(arguments).envs(variables.iter().copied());
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // On a thread, so that neither side waits for the other with a full pipe.
    // A command that does not read to the end closes the pipe, which is no error here.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// A server process on a folder and a free port. Killed when dropped.
pub struct Process {
    child: Child,
    /// The rest of its log; a pipe that nobody reads would stop it.
    log: Option<thread::JoinHandle<String>>,
}

impl Process {
    /// Starts a server and waits until it serves; an error holds its log.
    pub fn serve(folder: &Path) -> Result<(Self, SocketAddr), String> {
        Self::serve_at(folder, "127.0.0.1:0")
    }

    /// As [`serve`](Self::serve), on this address.
    pub fn serve_at(folder: &Path, listen: &str) -> Result<(Self, SocketAddr), String> {
        Self::serve_by(sendgate(), folder, listen)
    }

    /// As [`serve`](Self::serve), with a log that tells everything.
    pub fn serve_talking(folder: &Path) -> Result<(Self, SocketAddr), String> {
        let mut command = sendgate();
        command.env("SENDGATE_LOG_LEVEL", "debug");
        Self::serve_by(command, folder, "127.0.0.1:0")
    }

    /// As [`serve_at`](Self::serve_at), with further arguments.
    pub fn serve_with(
        folder: &Path,
        listen: &str,
        arguments: &[&OsStr],
    ) -> Result<(Self, SocketAddr), String> {
        Self::start(sendgate(), folder, listen, arguments).serving()
    }

    /// As [`serve_at`](Self::serve_at), by a command with settings of its own.
    pub fn serve_by(
        command: Command,
        folder: &Path,
        listen: &str,
    ) -> Result<(Self, SocketAddr), String> {
        Self::launch_by(command, folder, listen).serving()
    }

    /// As [`serve`](Self::serve), with at most so many open files.
    pub fn serve_with_files(folder: &Path, files: u32) -> Result<(Self, SocketAddr), String> {
        let limited = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
        let mut command = without_settings(Command::new("sh"));
        command.args(["-c", &limited, env!("CARGO_BIN_EXE_sendgate")]);
        Self::serve_by(command, folder, "127.0.0.1:0")
    }

    /// Waits until it serves.
    fn serving(mut self) -> Result<(Self, SocketAddr), String> {
        let mut lines = BufReader::new(self.child.stderr.take().unwrap()).lines();
        let mut seen = String::new();
        while let Some(Ok(line)) = lines.next() {
            if let Some((_, rest)) = line.split_once("address=") {
                let address = rest.split(' ').next().unwrap().parse().unwrap();
                let rest = move || lines.map_while(Result::ok).collect::<Vec<_>>().join("\n");
                self.log = Some(thread::spawn(rest));
                return Ok((self, address));
            }
            seen += &line;
            seen.push('\n');
        }
        let status = self.child.wait().unwrap();
        Err(format!("{status}\n{seen}"))
    }

    /// Starts a server and does not wait for it.
    pub fn launch(folder: &Path) -> Self {
        Self::launch_by(sendgate(), folder, "127.0.0.1:0")
    }

    /// As [`launch`](Self::launch), by a command with settings of its own.
    pub fn launch_by(command: Command, folder: &Path, listen: &str) -> Self {
        Self::start(command, folder, listen, &[])
    }

    fn start(mut command: Command, folder: &Path, listen: &str, arguments: &[&OsStr]) -> Self {
        command.arg("serve").arg("--data").arg(folder).args(["--listen", listen]).args(arguments);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        Self { child, log: None }
    }

    /// The process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until it has ended; returns how, and the rest of its log.
    pub fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        let rest = self.log.take().map(|log| log.join().unwrap());
        (status, rest.unwrap_or_default())
    }

    /// Memory that it holds, in MiB.
    pub fn resident_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1_024
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        drop(self.kill_for_log());
    }

    /// SIGKILL; returns what it had logged since it served.
    pub fn kill_for_log(&mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.log.take().map(|log| log.join().unwrap()).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A connection to a server process.
pub async fn connect(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}
