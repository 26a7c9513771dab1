//! Asks the server; each request is a branch of its own.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

fn low(number: u32) -> u32 {
    number
}

fn high(number: u32) -> u32 {
    number
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let number: u32 = words[2].parse().unwrap();
    let number = if number < 6 { low(number) } else { high(number) };
    // The server may be about to start.
    let mut stream = loop {
        match UnixStream::connect(&words[1]) {
            Ok(stream) => break stream,
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    };
    writeln!(stream, "{number}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(!answer.is_empty());
}
