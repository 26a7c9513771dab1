//! What counting costs: work for the processor (`cpu N`), and requests over
//! loopback (`io N`), which is what an operator does.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let count: u64 = args[2].parse().expect("a number");
    let answer = match args[1].as_str() {
        "cpu" => cpu(count),
        "io" => io(count),
        other => panic!("cpu or io, not {other}"),
    };
    println!("{answer}");
}

/// Many small functions and branches: the worst case for counters.
fn cpu(count: u64) -> u64 {
    let mut words = BTreeMap::<&str, u64>::new();
    let mut sum = 0u64;
    for number in 0..count {
        sum = sum.wrapping_add(mix(number));
        *words.entry(word(sum)).or_default() += 1;
    }
    sum ^ words.values().fold(0, |all, count| mix(all ^ count)) ^ sieve(count / 2)
}

fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    number ^ (number >> 33)
}

fn word(number: u64) -> &'static str {
    if number % 15 == 0 {
        "both"
    } else if number % 5 == 0 {
        "five"
    } else if number % 3 == 0 {
        "three"
    } else {
        "none"
    }
}

fn sieve(count: u64) -> u64 {
    let count = count as usize;
    let mut prime = vec![true; count];
    let mut found = 0;
    for number in 2..count {
        if prime[number] {
            found += 1;
            let mut multiple = number * number;
            while multiple < count {
                prime[multiple] = false;
                multiple += number;
            }
        }
    }
    found
}

/// A server with a thread for each of two clients; each waits for its answer.
fn io(count: u64) -> u64 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let server = std::thread::spawn(move || {
        let served: Vec<_> = listener
            .incoming()
            .take(2)
            .map(|stream| std::thread::spawn(move || serve(stream.expect("a client"))))
            .collect();
        served.into_iter().for_each(|one| one.join().expect("served"));
    });
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let stream = TcpStream::connect(address).expect("the server");
            std::thread::spawn(move || ask(stream, count / 2))
        })
        .collect();
    let sum = clients.into_iter().map(|one| one.join().expect("asked")).sum();
    server.join().expect("ended");
    sum
}

fn serve(stream: TcpStream) {
    stream.set_nodelay(true).expect("a socket");
    let mut answers = stream.try_clone().expect("a socket");
    for line in BufReader::new(stream).lines() {
        let number: u64 = line.expect("a line").parse().expect("a number");
        writeln!(answers, "{} {}", mix(number), word(number)).expect("answered");
    }
}

fn ask(stream: TcpStream, count: u64) -> u64 {
    stream.set_nodelay(true).expect("a socket");
    let mut requests = stream.try_clone().expect("a socket");
    let mut answers = BufReader::new(stream);
    let mut sum = 0u64;
    let mut line = String::new();
    for number in 0..count {
        writeln!(requests, "{number}").expect("asked");
        line.clear();
        answers.read_line(&mut line).expect("an answer");
        sum = sum.wrapping_add(line.len() as u64);
    }
    sum
}
