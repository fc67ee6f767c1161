//! Spellings of addresses: the wide short cuts against the full rules.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sendgate_fuzz::addresses(data));
