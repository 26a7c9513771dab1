//! A text profile that is read is written and read again as the same, and
//! adding it to itself changes no place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use podcov_profile::go::lines::{lines, statements};
use podcov_profile::go::text::Profile;

fuzz_target!(|bytes: &[u8]| {
    let Ok(profile) = Profile::parse(bytes) else { return };
    assert_eq!(Profile::parse(profile.to_text().as_bytes()).as_ref(), Ok(&profile));
    let mut twice = profile.clone();
    twice.merge(&profile).expect("a profile fits itself");
    for (file, blocks) in &profile.files {
        assert_eq!(statements(blocks), statements(&twice.files[file]));
        let small = blocks.keys().all(|span| span.end_line.saturating_sub(span.start_line) < 1000);
        if small {
            let _ = lines(blocks);
        }
    }
});
