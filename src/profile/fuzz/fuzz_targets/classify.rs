//! Any bytes under any name the classifier tells apart.
#![no_main]

use libfuzzer_sys::fuzz_target;
use podcov_profile::classify;
use podcov_profile::go::files::{read_counters, read_meta};
use podcov_profile::go::lines::functions;

fuzz_target!(|bytes: &[u8]| {
    for name in ["x.profraw", "covmeta.365db558e60f45db96600bc1c17ccd6e", "coverage.out"] {
        let _ = classify(name, bytes);
    }
    let counters = read_counters(bytes);
    if let Ok(meta) = read_meta(bytes) {
        let _ = functions(&meta);
        if let Ok(counters) = &counters {
            let _ = meta.check(counters);
        }
    }
});
