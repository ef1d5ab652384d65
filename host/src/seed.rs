//! The one random number that a broker is given.

use std::hash::{BuildHasher, RandomState};

/// A number nobody outside can guess: it keys every hash table and is the source of assigned client
/// identifiers.
///
/// The standard library takes the keys of a [`RandomState`] from the operating system; what its
/// hash function makes of a fixed input under them is as hard to guess as the keys, so no further
/// crate is needed for eight bytes once per process.
pub fn seed() -> u64 {
    RandomState::new().hash_one("wherry")
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_seeds_differ() {
        assert_ne!(super::seed(), super::seed());
    }
}
