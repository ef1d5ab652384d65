//! Streams of packets, for our decoder and another one.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    wherry_tests::fuzz::differential(data);
});
