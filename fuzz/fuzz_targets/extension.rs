#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringperf::fuzzing::extension(data));
