//! Counts what it does by hand, and ends as it is told.

mod truth;

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use truth::Name;

unsafe extern "C" {
    fn kill(process: i32, signal: i32) -> i32;
    fn signal(signal: i32, handler: extern "C" fn(i32)) -> usize;
}

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

static TERMINATED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_sigterm(_: i32) {
    TERMINATED.store(true, Ordering::SeqCst);
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |at: usize, otherwise: u64| match args.get(at) {
        Some(text) => text.parse().expect("a number"),
        None => otherwise,
    };
    let end = args.get(1).map_or("clean", String::as_str);
    let (steps, threads) = (number(2, 1000), number(3, 1));
    if end == "term" {
        // SAFETY: the handler only stores to an atomic.
        unsafe { signal(SIGTERM, on_sigterm) };
    }
    match end {
        "eat" => drop(std::thread::spawn(eat)),
        "fill" => {
            let dir = std::env::var("FILL_DIR").expect("FILL_DIR");
            std::fs::write(format!("{dir}/full"), vec![0; 8 << 20]).expect("room");
        }
        _ => {}
    }
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut i = 0;
                while i < steps || steps == 0 {
                    step(i);
                    i += 1;
                }
            });
        }
    });
    println!("ready");
    let itself = |end: &str| {
        let mut itself = Command::new("/proc/self/exe");
        itself.args([end, &steps.to_string(), &threads.to_string()]);
        itself
    };
    match end {
        "exit" => std::process::exit(3),
        "panic" => panic!("as told"),
        "abort" => std::process::abort(),
        "kill" => {
            // SAFETY: no memory is involved.
            unsafe { kill(std::process::id() as i32, SIGKILL) };
        }
        "term" => {
            while !TERMINATED.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            truth::add(Name::Handler); // truth: handler
        }
        "exec" => panic!("{}", itself("clean").exec()),
        "spawn" => println!("{:?}", itself("kill").status()),
        _ => {}
    }
}

fn eat() {
    let mut eaten = Vec::new();
    loop {
        eaten.push(vec![1_u8; 1 << 20]);
        std::hint::black_box(&eaten);
    }
}

fn step(i: u64) {
    truth::add(Name::Step); // truth: step
    if i % 2 == 0 {
        truth::add(Name::Even); // truth: even
    } else {
        truth::add(Name::Odd); // truth: odd
    }
}
