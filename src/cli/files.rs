//! Files that commands read and write; `-` is standard input or output.

use std::{
    error::Error,
    fs::{File, Permissions},
    io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
};

use indicatif::{ProgressBar, ProgressBarIter};
use tempfile::NamedTempFile;
use tokio::sync::mpsc;

use super::{Failure, output};
use crate::formats::{is_workbook, sheet_to_csv};

/// Reads on a thread of its own, some items ahead; the thread ends with the
/// receiver. A panic there must not look like the end of the file, behind which
/// there may be opt-outs.
pub fn read_in_background<T: Send + 'static>(
    ahead: usize,
    read: impl FnOnce(&mpsc::Sender<io::Result<T>>) + Send + 'static,
) -> mpsc::Receiver<io::Result<T>> {
    let (sender, receiver) = mpsc::channel(ahead);
    thread::spawn(move || {
        // Nothing that it leaves behind is looked at again.
        let read = catch_unwind(AssertUnwindSafe(|| read(&sender)));
        if read.is_err() {
            let error = "the file could not be read on, by a mistake in this program: report it";
            // Whether anybody still listens does not matter at the end.
            drop(sender.blocking_send(Err(io::Error::other(error))));
        }
    });
    receiver
}

/// Enough that system calls do not show in a profile, in bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// A file being read, with its progress.
pub type Input = BufReader<ProgressBarIter<Box<dyn Read + Send>>>;

/// Opens a file, or standard input for `-`.
///
/// # Errors
/// There is no such file, or it may not be read.
pub fn open(path: &Path) -> Result<(Input, ProgressBar), Failure> {
    let (reader, length): (Box<dyn Read + Send>, _) = if is_standard(path) {
        (Box::new(io::stdin()), None)
    } else {
        let named = |error| Failure::failed(format!("{}: {error}", path.display()));
        let file = File::open(path).map_err(named)?;
        let metadata = file.metadata().map_err(named)?;
        (Box::new(file), Some(metadata.len()).filter(|_| metadata.is_file()))
    };
    let progress = output::progress(length);
    let reader = BufReader::with_capacity(BUFFER_BYTES, progress.wrap_read(reader));
    Ok((reader, progress))
}

/// A file with a row a line.
pub struct Table {
    /// Its text, or that of a sheet.
    pub input: Input,
    /// How far it is read.
    pub progress: ProgressBar,
    /// What stands between fields, if that is known: in what was a sheet.
    pub delimiter: Option<u8>,
}

/// Opens a text file or a sheet of an Excel file, which is read to its end
/// first: so that a broken one is found out before a row of it is used.
///
/// # Errors
/// The file cannot be read, or there is no such sheet.
pub fn open_table(path: &Path, sheet: Option<&str>) -> Result<Table, Failure> {
    let (mut input, progress) = open(path)?;
    if !is_workbook(input.fill_buf()?) {
        if sheet.is_some() {
            return Err(Failure::usage("--sheet is for Excel files (.xlsx)"));
        }
        return Ok(Table { input, progress, delimiter: None });
    }
    if is_standard(path) {
        return Err(Failure::usage("an Excel file is not read from standard input; name it"));
    }
    let named = |error: &dyn Error| Failure::failed(format!("{}: {error}", path.display()));
    let mut text = BufWriter::new(tempfile::tempfile()?);
    let sheet = sheet_to_csv(&mut input, sheet, &mut text).map_err(|error| named(&error))?;
    progress.finish_and_clear();
    eprintln!("{}: sheet {sheet}, read as CSV", path.display());
    let mut file = text.into_inner().map_err(|error| named(&error))?;
    file.rewind()?;
    let progress = output::progress(file.metadata().ok().map(|metadata| metadata.len()));
    let reader: Box<dyn Read + Send> = Box::new(file);
    let input = BufReader::with_capacity(BUFFER_BYTES, progress.wrap_read(reader));
    Ok(Table { input, progress, delimiter: Some(b',') })
}

/// Refuses to write over one of `others`: a list that replaces its own input,
/// or one output that replaces the other, is lost without a word.
///
/// # Errors
/// `path` is one of the others, perhaps under another name.
pub fn refuse_overwriting(option: &str, path: &Path, others: &[&Path]) -> Result<(), Failure> {
    let is_same = |other: &&&Path| match (path.metadata(), other.metadata()) {
        (Ok(one), Ok(other)) => {
            one.is_file() && (one.dev(), one.ino()) == (other.dev(), other.ino())
        }
        (Err(_), Err(_)) => absolute(path) == absolute(other),
        _ => false,
    };
    match others.iter().find(is_same).filter(|_| !is_standard(path)) {
        None => Ok(()),
        Some(other) => Err(Failure::usage(format!(
            "{option} {} would overwrite {}",
            path.display(),
            other.display()
        ))),
    }
}

/// The path that a new file will have, whatever way leads to its folder.
fn absolute(path: &Path) -> Option<PathBuf> {
    let folder = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    Some(folder.canonicalize().ok()?.join(path.file_name()?))
}

/// Whether a path means standard input or output.
pub fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

/// A file being written.
///
/// A regular file appears under its name only when [`finish`](Self::finish)
/// is called: whoever finds a list of permitted recipients may send to it, so
/// one that an error cut short must not be found.
pub struct Output {
    target: Target,
}

enum Target {
    /// A stream or device, which cannot be taken back.
    Stream(BufWriter<Box<dyn Write>>),
    /// A regular file under a temporary name.
    Replace(BufWriter<NamedTempFile>, PathBuf),
}

impl Output {
    /// Creates the file, or takes standard output for `-`.
    ///
    /// # Errors
    /// The file cannot be created in its directory.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let named = |error| Failure::failed(format!("{}: {error}", path.display()));
        let stream = |writer| Target::Stream(BufWriter::with_capacity(BUFFER_BYTES, writer));
        let exists_otherwise = path.metadata().is_ok_and(|metadata| !metadata.is_file());
        let target = if is_standard(path) {
            stream(Box::new(io::stdout()))
        } else if exists_otherwise {
            // A pipe or /dev/null is written to, never replaced.
            stream(Box::new(File::options().write(true).open(path).map_err(named)?))
        } else {
            // A link is followed: what it points to is replaced, not the link.
            let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            let file = temporary_beside(&path).map_err(named)?;
            Target::Replace(BufWriter::with_capacity(BUFFER_BYTES, file), path)
        };
        Ok(Self { target })
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// The last bytes cannot be written, or the name cannot be given.
    pub fn finish(self) -> io::Result<()> {
        match self.target {
            Target::Stream(mut writer) => writer.flush(),
            Target::Replace(writer, path) => {
                writer.into_inner()?.persist(path)?;
                Ok(())
            }
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.target {
            Target::Stream(writer) => writer.write(bytes),
            Target::Replace(writer, _) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.target {
            Target::Stream(writer) => writer.flush(),
            Target::Replace(writer, _) => writer.flush(),
        }
    }
}

/// A temporary file in the directory of `path`, so that renaming stays within
/// one file system, with the permissions of any other new file.
fn temporary_beside(path: &Path) -> io::Result<NamedTempFile> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    tempfile::Builder::new()
        .prefix(&format!(".{name}."))
        .suffix(".partial")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_panics_has_not_come_to_the_end() {
        let mut read = read_in_background(2, |sender| {
            sender.blocking_send(Ok(7)).unwrap();
            panic!("in the middle of a file");
        });
        assert_eq!(read.blocking_recv().unwrap().unwrap(), 7);
        let error = read.blocking_recv().unwrap().unwrap_err();
        assert!(error.to_string().contains("could not be read on"), "{error}");
        assert!(read.blocking_recv().is_none());
        let mut read = read_in_background::<u8>(2, |_| {});
        assert!(read.blocking_recv().is_none(), "an end is an end");
    }

    #[test]
    fn a_file_appears_only_when_it_is_finished() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("permitted.csv");
        let mut dropped = Output::create(&path).unwrap();
        dropped.write_all(b"half").unwrap();
        drop(dropped);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        let mut finished = Output::create(&path).unwrap();
        finished.write_all(b"whole").unwrap();
        assert!(!path.exists());
        finished.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
    }

    #[test]
    fn a_device_is_written_to_and_not_replaced() {
        let path = Path::new("/dev/null");
        let output = Output::create(path).unwrap();
        assert!(matches!(output.target, Target::Stream(_)));
    }
}
