//! How many files, and so connections, the system lets this process have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::caps;

/// Raises the limit of open files as far as the system lets it, and says how
/// many of `wanted` connections fit. The ledger must never find no file left: a
/// failed write is final (A10).
pub(super) fn connections(wanted: usize) -> usize {
    let needed = u64::try_from(wanted).unwrap_or(u64::MAX).saturating_add(caps::OTHER_FILES);
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX).min(needed);
    let mut current = limit.current.unwrap_or(u64::MAX);
    if current < most {
        match setrlimit(Resource::Nofile, Rlimit { current: Some(most), ..limit }) {
            Ok(()) => current = most,
            Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
        }
    }
    let fits = allowed(current, wanted);
    if fits < wanted {
        tracing::warn!(
            connections = fits,
            open_files = current,
            "the limit of open files allows fewer connections: raise it (ulimit -n, LimitNOFILE)"
        );
    }
    fits
}

/// Connections among so many files: all but the ledger's, or half of very few.
fn allowed(files: u64, wanted: usize) -> usize {
    let left = files.saturating_sub(caps::OTHER_FILES).max(files / 2);
    usize::try_from(left).unwrap_or(usize::MAX).min(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_keeps_its_files() {
        assert_eq!(allowed(1_000_000, 4_096), 4_096);
        assert_eq!(allowed(5_120, 4_096), 4_096);
        assert_eq!(allowed(5_119, 4_096), 4_095);
        assert_eq!(allowed(1_024, 4_096), 512);
    }
}
