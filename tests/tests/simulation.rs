//! Some hundred worlds of the simulator; `simulate --runs` lives through as many as one likes.
#![allow(missing_docs)]

#[test]
fn worlds_keep_what_they_promise() {
    wherry_tests::sim::smoke(0, 300);
}

#[test]
fn worlds_over_the_real_store_are_the_same() {
    wherry_tests::sim::smoke_over_sqlite(500, 200);
}
