//! What every target does with its input: read it, within the memory and the
//! time that the crate promises.

pub mod counting;
pub mod entries;

use std::time::{Duration, Instant};

#[global_allocator]
static COUNTING: counting::Counting = counting::Counting;

/// Longer than any input of a target's size may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// Gives the input to the entry point of this name.
///
/// # Panics
/// When the reader does, when it holds more memory than it may, or is slow.
pub fn check(name: &str, bytes: &[u8]) {
    let read = entries::named(name);
    let begin = Instant::now();
    let (_, peak) = counting::peak_of(|| read(bytes));
    let took = begin.elapsed();
    let allowed = counting::allowed(bytes.len());
    assert!(
        peak <= allowed,
        "{peak} bytes were held, {allowed} are allowed"
    );
    assert!(took <= PATIENCE, "it took {took:?}");
}

/// A fuzz target of an entry point.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| $crate::check($name, bytes));
    };
}
