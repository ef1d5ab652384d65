//! Text for the configuration.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    wherry_tests::fuzz::config(data);
});
