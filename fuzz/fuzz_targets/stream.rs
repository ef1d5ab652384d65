//! Whole connections, in one piece and byte by byte.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    wherry_tests::fuzz::stream(data);
});
