//! A sendgate process of our own, which cannot outlive us.

use std::{
    collections::VecDeque,
    env,
    ffi::OsString,
    fs,
    io::{self, BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal},
    thread::{CpuSet, sched_setaffinity},
};
use tokio::sync::oneshot;

use crate::failure::Failure;

/// Lines of its log that are kept, to say why a server ended.
const KEPT_LINES: usize = 20;

/// How to start a server.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// The sendgate binary; the one beside this program if not said.
    pub binary: Option<PathBuf>,
    /// The folder of its store; made if it is missing.
    pub data: &'a Path,
    /// The only core that it may use.
    pub core: Option<usize>,
    /// Further arguments of `sendgate serve`.
    pub arguments: Vec<OsString>,
    /// Further environment variables.
    pub variables: Vec<(OsString, OsString)>,
}

impl<'a> Options<'a> {
    /// The sendgate beside this program, on this folder, on any core.
    pub fn new(data: &'a Path) -> Self {
        Self { binary: None, data, core: None, arguments: Vec::new(), variables: Vec::new() }
    }
}

/// A running server. It is killed when this is dropped, and by the kernel if
/// this program ends in any other way.
#[derive(Debug)]
pub struct Server {
    pid: Pid,
    endpoint: String,
    log: Log,
    /// Ends with the process, and says how it ended.
    keeper: Option<JoinHandle<io::Result<ExitStatus>>>,
}

/// The last lines of a server's log.
type Log = Arc<Mutex<VecDeque<String>>>;

impl Server {
    /// Starts a server on a free loopback port and waits until it serves: it
    /// names its address only when its store is ready.
    ///
    /// # Errors
    /// There is no such binary, or the server ended; the error holds its log.
    pub async fn start(options: Options<'_>) -> Result<Self, Failure> {
        let binary = options.binary.clone().map_or_else(beside_this_program, Ok)?;
        if options.core.is_some_and(|core| core >= CpuSet::MAX_CPU) {
            return Err("there is no such core".into());
        }
        let mut command = command(&binary, &options);
        let log = Log::default();
        let (started, starting) = oneshot::channel();
        let (serving, address) = oneshot::channel();
        // The kernel kills the child when the thread that started it ends, so
        // that thread stays until the child has ended.
        let keep = {
            let log = Arc::clone(&log);
            move || {
                let child = command.spawn();
                match child {
                    Ok(child) => {
                        // An error means that nobody waits any more.
                        let _ = started.send(Ok(child.id()));
                        keep(child, &log, serving)
                    }
                    Err(error) => {
                        let _ = started.send(Err(error));
                        Err(io::Error::other("it did not start"))
                    }
                }
            }
        };
        let keeper = thread::Builder::new().name("server".to_owned()).spawn(keep)?;
        let cannot = |error: io::Error| {
            format!(
                "cannot start {}: {error}. Build it with `cargo build --release`, or name it with \
                 --server",
                binary.display()
            )
        };
        let pid = starting.await?.map_err(cannot)?;
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or("no process ID")?;
        let mut server = Self { pid, endpoint: String::new(), log, keeper: Some(keeper) };
        match address.await {
            Ok(address) => {
                server.endpoint = format!("http://{address}");
                Ok(server)
            }
            // The log ended without an address.
            Err(_) => {
                let status = server.ended()?;
                Err(format!("the server did not start, {status}:\n{}", server.log()).into())
            }
        }
    }

    /// Where it listens, as a client wants it.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Its process ID.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// The memory that it holds now (RSS), in bytes.
    ///
    /// # Errors
    /// It has ended.
    pub fn memory_bytes(&self) -> Result<u64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().strip_suffix("kB"))
            .and_then(|kib| kib.trim().parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| "the server has ended".into())
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Errors
    /// It ended in another way than asked; the error holds its log.
    pub fn stop(mut self) -> Result<(), Failure> {
        kill_process(self.pid, Signal::TERM)?;
        let status = self.ended()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the server ended badly, {status}:\n{}", self.log()).into())
        }
    }

    /// Ends it at once (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// The system refused.
    pub fn kill(mut self) -> Result<(), Failure> {
        kill_process(self.pid, Signal::KILL)?;
        self.ended()?;
        Ok(())
    }

    /// The last lines of its log.
    pub fn log(&self) -> String {
        let lines = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// Waits for its end.
    fn ended(&mut self) -> Result<ExitStatus, Failure> {
        let keeper = self.keeper.take().ok_or("the server has ended")?;
        let status = keeper.join().map_err(|_| "the thread that kept the server failed")?;
        Ok(status?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // While the keeper has not been joined the process is not reaped, or
        // only just, so its ID is still its own.
        if self.keeper.as_ref().is_some_and(|keeper| !keeper.is_finished()) {
            let _ = kill_process(self.pid, Signal::KILL);
            let _ = self.ended();
        }
    }
}

/// The sendgate that was built with this program.
fn beside_this_program() -> Result<PathBuf, Failure> {
    let binary = env::current_exe()?.with_file_name("sendgate");
    if binary.is_file() {
        return Ok(binary);
    }
    Err(format!(
        "there is no {}: build it with `cargo build --release`, or name another with --server",
        binary.display()
    )
    .into())
}

fn command(binary: &Path, options: &Options<'_>) -> Command {
    let mut command = Command::new(binary);
    // The caller's settings are for servers of its own.
    for (name, _) in env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"SENDGATE_") {
            command.env_remove(name);
        }
    }
    // Several servers may run at once, and the usual port is one.
    command.env("SENDGATE_HTTP_LISTEN", "off");
    command.env("NO_COLOR", "1").envs(options.variables.iter().cloned());
    command.arg("serve").arg("--data").arg(options.data).args(["--listen", "127.0.0.1:0"]);
    command.args(&options.arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    dies_with_us(&mut command, options.core);
    command
}

/// Binds a child's life to ours, and the child to a core.
///
/// The kernel goes by the *thread* that starts the child: it must live as long.
pub fn dies_with_us(command: &mut Command, core: Option<usize>) {
    let parent = getpid();
    // No signal that was meant for this program's terminal: it ends its
    // children itself.
    command.process_group(0);
    let prepare = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // We may have ended before that was set.
        if getppid() != Some(parent) {
            return Err(Errno::SRCH.into());
        }
        if let Some(core) = core {
            let mut cores = CpuSet::new();
            cores.set(core);
            sched_setaffinity(None, &cores)?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only; it
    // takes no lock and allocates nothing.
    unsafe { command.pre_exec(prepare) };
}

/// Reads a server's log until its end, so that the pipe never fills; passes on
/// the address that it serves at.
fn keep(mut child: Child, log: &Log, serving: oneshot::Sender<String>) -> io::Result<ExitStatus> {
    let mut serving = Some(serving);
    let lines = child.stderr.take().map(|pipe| BufReader::new(pipe).lines());
    for line in lines.into_iter().flatten().map_while(Result::ok) {
        let address = line.split_once("address=").and_then(|(_, rest)| rest.split(' ').next());
        if let Some(address) = address
            && let Some(serving) = serving.take()
        {
            let _ = serving.send(address.to_owned());
        }
        let mut kept = log.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(line);
    }
    drop(serving);
    child.wait()
}
