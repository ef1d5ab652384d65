//! Topic filters and retained topics, against lists and loops.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    wherry_tests::fuzz::topic(data);
});
