//! The program of the pods in `collect_pods.rs`, built with coverage.

use std::hint::black_box;
use std::time::Duration;

fn main() {
    let mode = std::env::args().nth(1).unwrap_or_default();
    println!("worker {mode}");
    match mode.as_str() {
        // Until it is told to end, which it does not notice.
        "serve" => loop {
            tick();
            std::thread::sleep(Duration::from_millis(50));
        },
        "once" => tick(),
        "fail" => {
            println!("something is missing");
            std::process::exit(3);
        }
        // Killed by the kernel in the middle of its work.
        "eat" => {
            let mut all = Vec::new();
            loop {
                tick();
                all.push(black_box(vec![1u8; 1 << 20]));
            }
        }
        other => panic!("no mode {other}"),
    }
}

#[inline(never)]
fn tick() {
    black_box(());
}
