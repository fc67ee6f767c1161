//! A server that a workload starts, stops and kills.

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use sendgate::client::Client;
use tempfile::TempDir;

use crate::{
    arguments::Own,
    data::{self, Events},
    failure::Failure,
    machine,
    server::{Options, Server},
};

/// A folder for stores.
enum Folder {
    Ours(TempDir),
    Theirs(PathBuf),
}

/// Where a workload's server lives.
pub struct Home {
    folder: Folder,
    binary: Option<PathBuf>,
    core: Option<usize>,
}

/// How quickly a server was there again.
#[derive(Clone, Copy, Debug)]
pub struct Readiness {
    /// From its start to where it serves.
    pub serving: Duration,
    /// From its start to its first right answer.
    pub answering: Duration,
}

impl Home {
    /// Makes the folder if none was named, and moves this process off the
    /// server's core.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new(own: &Own) -> Result<Self, Failure> {
        let folder = match &own.data {
            Some(path) => Folder::Theirs(path.clone()),
            None => Folder::Ours(tempfile::Builder::new().prefix("loadtest-").tempdir()?),
        };
        // With a single core there is nothing to share out.
        let several = thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
        let core = several.then_some(own.server_core);
        if let Some(core) = core {
            machine::keep_off(core)?;
        }
        Ok(Self { folder, binary: own.server.clone(), core })
    }

    /// Where the store is.
    pub fn path(&self) -> &Path {
        match &self.folder {
            Folder::Ours(folder) => folder.path(),
            Folder::Theirs(path) => path,
        }
    }

    /// How the server is placed, for a report.
    pub fn placement(&self) -> String {
        match self.core {
            Some(core) => format!("the server on core {core}, the load test on the others"),
            None => "one core for all".to_owned(),
        }
    }

    /// Starts a server and waits until it serves.
    ///
    /// # Errors
    /// It did not start.
    pub async fn start(&self) -> Result<Server, Failure> {
        let mut options = Options::new(self.path());
        options.binary.clone_from(&self.binary);
        options.core = self.core;
        Server::start(options).await
    }

    /// Starts a server on a store that holds these people, and waits for its
    /// first right answer.
    ///
    /// # Errors
    /// It did not start, or answered wrongly.
    pub async fn start_again(
        &self,
        events: &Events,
    ) -> Result<(Server, Client, Readiness), Failure> {
        let begun = Instant::now();
        let server = self.start().await?;
        let serving = begun.elapsed();
        let client = Client::connect(server.endpoint()).await?;
        let sample = data::sample(&events.population);
        if let Some(wrong) = data::verify(&client, events, sample).await? {
            return Err(format!("after a restart the server answered WRONGLY: {wrong}").into());
        }
        let readiness = Readiness { serving, answering: begun.elapsed() };
        Ok((server, client, readiness))
    }
}
