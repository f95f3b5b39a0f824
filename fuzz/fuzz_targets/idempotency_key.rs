#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| headroom::fuzzing::idempotency_key_header(data));
