//! A server whose every request is other code, and a background that works
//! all the time.

mod background;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

macro_rules! operations {
    ($($name:ident $number:literal)*) => {
        fn perform(number: u32) -> u32 {
            match number {
                $($number => operation::$name(number),)*
                _ => unknown(number),
            }
        }
    };
}

operations! {
    zero 0 one 1 two 2 three 3 four 4 five 5 six 6 seven 7 eight 8 nine 9 ten 10 eleven 11
}

mod operation;

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

fn main() {
    std::thread::spawn(background::work);
    let listener = TcpListener::bind("0.0.0.0:8080").unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let lines = BufReader::new(&stream).lines().map(Result::unwrap);
        let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        // A request is `GET /7 HTTP/1.1`; one for `/` asks whether it is there.
        let path = head[0].split(' ').nth(1).unwrap();
        let answer = match path[1..].parse() {
            Ok(number) => perform(number) + shared(number),
            Err(_) => 0,
        };
        let text = format!("{answer}\n");
        let length = text.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{text}"
        )
        .unwrap();
    }
}
