//! Files that users bring, of every format.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sendgate_fuzz::files(data));
