//! The names of all metrics: what `/metrics` serves, dashboards draw, and
//! alerts are about. A name is a promise to whoever has written one down.

use super::{Kind, Metric};

macro_rules! names {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                help: $help,
                labels: &[$($label),*],
            };
        )*
        /// All of them.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

names! {
    // The process.
    BUILD = Gauge "sendgate_build_info" ["version", "rustc"]
        "Always 1; the labels say what was built with what.";
    START = Gauge "sendgate_start_timestamp_seconds" []
        "When the server was started, in seconds since 1970.";
    RESIDENT = Gauge "sendgate_resident_memory_bytes" []
        "Memory of the process, as the system counts it.";
    MEMORY_LEFT = Gauge "sendgate_memory_left_bytes" []
        "Memory that the process may still take; absent where the system bounds none.";
    OPEN_FILES = Gauge "sendgate_open_files" [] "Files and connections that the process has open.";
    DISK_FREE = Gauge "sendgate_disk_free_bytes" []
        "Bytes free on the file system that holds the store.";
    DISK_SIZE = Gauge "sendgate_disk_size_bytes" []
        "Size of the file system that holds the store.";

    // Health.
    READY = Gauge "sendgate_ready" [] "1 while /readyz says so, otherwise 0.";
    FAILING = Gauge "sendgate_check_failing" ["check"]
        "1 for each check of /readyz that fails, otherwise 0.";
    HIDDEN_SCOPES = Gauge "sendgate_hidden_scopes" []
        "Scopes, or brands with all of theirs, answered by nobody until a damaged page is rebuilt.";
    SCRUB_PASSES = Counter "sendgate_scrub_passes_total" []
        "Passes of the scrub over all planes in memory.";
    SCRUBBED_PAGES = Counter "sendgate_scrubbed_pages_total" []
        "Pages that the scrub has checked.";
    REBUILT_PAGES = Counter "sendgate_rebuilt_pages_total" []
        "Pages found damaged in memory and rebuilt from the ledger.";
    CERTIFICATE_EXPIRY = Gauge "sendgate_certificate_expiry_timestamp_seconds" []
        "When the first certificate of the server's chain expires; absent without TLS.";

    // Filters.
    RECIPIENTS = Counter "sendgate_recipients_total" [] "Recipients in answered batches.";
    VERDICTS = Counter "sendgate_verdicts_total" ["reason"]
        "Verdicts of filter streams; refused without a reason where none was asked for.";
    BATCHES = Counter "sendgate_batches_total" [] "Batches answered with verdicts.";
    REFUSED_BATCHES = Counter "sendgate_refused_batches_total" ["error"]
        "Batches refused with an error.";
    BATCH_DURATION = Histogram "sendgate_batch_duration_seconds" []
        "Time from a batch being read to its answer being ready.";
    OPEN_STREAMS = Gauge "sendgate_open_streams" [] "Filter streams open now.";
    FILTER_FREE = Gauge "sendgate_filter_memory_free_bytes" []
        "Room left for batches being filtered and for answers that wait.";
    CALLS = Gauge "sendgate_running_calls" ["call"]
        "Long calls running now, of those that are few at once.";

    // Writes.
    CHANGES = Counter "sendgate_changes_total" ["outcome"]
        "Consents, suppressions and lifts by what became of them.";
    REFUSED_WRITES = Counter "sendgate_refused_writes_total" ["reason"]
        "Writes refused before anything of them happened.";
    IMPORTS = Counter "sendgate_imports_total" [] "Imports begun.";
    COMMIT_DURATION = Histogram "sendgate_commit_duration_seconds" []
        "Time from a group of changes leaving the queue to its acknowledgement.";
    GROUP_CHANGES = Histogram "sendgate_group_changes" [] "Changes committed together.";
    SYNC_DURATION = Histogram "sendgate_sync_duration_seconds" []
        "Time that the disk took to make a commit durable.";
    QUEUED = Gauge "sendgate_queued_changes" [] "Changes waiting for the writer.";
    QUEUE_CAPACITY = Gauge "sendgate_queue_capacity_changes" []
        "Changes that may wait for the writer.";

    // The ledger.
    REVISION = Gauge "sendgate_revision" [] "The last revision that is visible.";
    AS_OF = Gauge "sendgate_as_of_timestamp_seconds" []
        "The time that filters are answered for, in seconds since 1970.";
    CHECKPOINT_REVISION = Gauge "sendgate_checkpoint_revision" []
        "The revision of the last checkpoint.";
    CHECKPOINT_TIME = Gauge "sendgate_checkpoint_timestamp_seconds" []
        "When the last checkpoint was made, in seconds since 1970; 0 before the first.";
    CHECKPOINT_DURATION = Gauge "sendgate_checkpoint_duration_seconds" []
        "How long writing the last checkpoint took; 0 before the first since the start.";
    CHECKPOINTS = Counter "sendgate_checkpoints_total" [] "Checkpoints made.";

    // Memory.
    PLANES_MEMORY = Gauge "sendgate_planes_memory_bytes" []
        "Memory of all planes; measured once a minute at most.";
    SCOPE_CONTACTS = Gauge "sendgate_scope_contacts"
        ["brand", "recipient_type", "channel", "purpose", "kind", "verdict"]
        "Contacts in each scope: the permitted where unknown is refused, otherwise the refused.";
    DIRECTORY_MEMORY = Gauge "sendgate_directory_memory_bytes" [] "Memory of both directories.";
    DIRECTORY_ENTRIES = Gauge "sendgate_directory_entries" ["kind"] "Addresses in each directory.";
    ERASED = Gauge "sendgate_erased_contacts" []
        "Contacts that were erased and are not known again.";

    // Callers.
    CONNECTIONS = Gauge "sendgate_connections" ["state"] "Connections now.";
    REFUSED_CONNECTIONS = Counter "sendgate_refused_connections_total" ["reason"]
        "Connections refused before a call.";
    TRANSPORT_MEMORY = Gauge "sendgate_transport_memory_bytes" ["direction"]
        "Bytes of unfinished requests and of unread answers.";
    TOKENS = Gauge "sendgate_tokens" [] "Tokens; 0 means that no call needs one.";
    DENIALS = Counter "sendgate_denials_total" ["reason"]
        "Calls and messages denied for their token.";
    AUDIT_FAILURES = Counter "sendgate_audit_failures_total" []
        "Rows that could not be written to the audit log.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_end_as_their_kind_asks() {
        let names: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for Metric { name, kind, help, .. } in ALL {
            assert!(name.starts_with("sendgate_"), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(help.ends_with('.') && !help.contains(['\\', '\n']), "{name}: {help}");
        }
    }
}
