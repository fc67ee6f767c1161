//! Batches as they travel: the decoder written by hand against the derived one.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sendgate_fuzz::wire(data));
