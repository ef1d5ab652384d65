//! Streams of packets, in every version, from both sides.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    wherry_tests::fuzz::decode(data);
});
