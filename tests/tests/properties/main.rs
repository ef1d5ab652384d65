//! What holds for whatever is drawn: of the codec against the tests' own, of time-outs against a
//! list of them. Properties of private parts stand beside the code.

#[path = "../../../core/tests/support/mod.rs"]
mod support;

mod codec;
mod timers;
