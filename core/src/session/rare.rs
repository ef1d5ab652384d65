//! What most sessions never have, and should not pay for.

use alloc::boxed::Box;
use core::ops::{Deref, DerefMut};

/// A type of which there is an empty value for all who have none of their own.
pub(crate) trait Empty: Default + 'static {
    fn empty() -> &'static Self;
}

/// A value that is made when it is first changed. Until then it reads as the empty one, and takes
/// one pointer.
#[derive(Debug)]
pub(crate) struct Rare<T>(Option<Box<T>>);

impl<T: Empty> Rare<T> {
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    pub(crate) fn into_inner(self) -> T {
        self.0.map_or_else(T::default, |value| *value)
    }
}

impl<T: Empty> Deref for Rare<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match &self.0 {
            Some(value) => value,
            None => T::empty(),
        }
    }
}

impl<T: Empty> DerefMut for Rare<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}
