//! What the program does by itself.

use std::time::Duration;

pub fn work() {
    for beat in 0u64.. {
        if beat % 2 == 0 {
            even(beat);
        } else {
            odd(beat);
        }
        if beat % 30 == 29 {
            sweep(beat);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn even(beat: u64) {
    std::hint::black_box(beat);
}

fn odd(beat: u64) {
    std::hint::black_box(beat + 1);
}

/// So seldom that a test may meet it or not.
fn sweep(beat: u64) {
    std::hint::black_box(beat * 2);
}
