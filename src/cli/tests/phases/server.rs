//! A server whose every request is other code, and a background that works
//! all the time.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::time::Duration;

macro_rules! operations {
    ($($name:ident $number:literal)*) => {
        $(
            fn $name(input: u32) -> u32 {
                std::hint::black_box(input + $number)
            }
        )*
        fn perform(number: u32) -> u32 {
            match number {
                $($number => $name(number),)*
                _ => unknown(number),
            }
        }
    };
}

operations! {
    zero 0 one 1 two 2 three 3 four 4 five 5 six 6 seven 7 eight 8 nine 9 ten 10 eleven 11
}

fn unknown(number: u32) -> u32 {
    std::hint::black_box(number)
}

/// Every third request is odd in another way.
fn shared(number: u32) -> u32 {
    if number % 3 == 0 {
        return third(number);
    }
    number
}

fn third(number: u32) -> u32 {
    std::hint::black_box(number / 3)
}

fn background(beat: u64) {
    if beat % 2 == 0 {
        std::hint::black_box(beat);
    } else {
        std::hint::black_box(beat + 1);
    }
}

fn main() {
    let socket = std::env::args().nth(1).unwrap();
    std::thread::spawn(|| {
        for beat in 0.. {
            background(beat);
            std::thread::sleep(Duration::from_millis(3));
        }
    });
    let listener = UnixListener::bind(socket).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        let number: u32 = line.trim().parse().unwrap();
        let answer = perform(number) + shared(number);
        writeln!(stream, "{answer}").unwrap();
    }
}
