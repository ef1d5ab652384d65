//! The black-box suite of `wherry-tests`, run against this package's binary with several shards.

wherry_tests::suite!(env!("CARGO_BIN_EXE_wherry-smol"), 4);
