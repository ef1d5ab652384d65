//! Arbitrary calls of a broker.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    wherry_tests::fuzz::broker(data);
});
