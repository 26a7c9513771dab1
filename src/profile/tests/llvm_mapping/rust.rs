//! Programs in Rust.

use crate::support::Build;

/// Generics, closures, macros, matches, traits, loops and what never runs.
pub const MAIN: &str = r#"
use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

macro_rules! add {
    ($a:expr, $b:expr) => {
        if $a > $b { $a + $b } else { $b - $a }
    };
}

trait Shape {
    fn area(&self) -> u64;
    fn name(&self) -> String {
        "shape".to_owned()
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Square(u64);
struct Circle(u64);

impl Shape for Square {
    fn area(&self) -> u64 {
        self.0 * self.0
    }
}

impl Shape for Circle {
    fn area(&self) -> u64 {
        3 * self.0
    }
    fn name(&self) -> String {
        format!("circle of {}", self.0)
    }
}

fn show<T: Display>(values: &[T]) -> String {
    let mut text = String::new();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text += &value.to_string();
    }
    text
}

fn never<T: Default>() -> T {
    T::default()
}

struct Later(u32);

impl Future for Later {
    type Output = u32;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u32> {
        if self.0 == 0 {
            return Poll::Ready(7);
        }
        self.0 -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

async fn work(times: u32) -> u32 {
    let mut sum = 0;
    for i in 0..times {
        sum += Later(i).await;
        let inner = async { if i == 1 { Later(1).await } else { 0 } };
        sum += inner.await;
    }
    sum
}

fn block<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}

fn parse(text: &str) -> Result<u32, std::num::ParseIntError> {
    let number: u32 = text.parse()?;
    Ok(match number {
        0 => 1,
        1..=9 => number,
        n if n % 2 == 0 && n > 50 || n == 77 => n / 2,
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_parses() {
        assert_eq!(super::parse("4").unwrap(), 4);
    }
}

mod inner {
    pub fn deep(n: u32) -> u32 {
        let f = |x: u32| { let g = |y: u32| y + 1; g(x) * 2 };
        if n == 0 { 0 } else { f(n) + deep(n - 1) }
    }
}

fn main() {
    let shapes: Vec<Box<dyn Shape>> = vec![Box::new(Square(3)), Box::new(Circle(4))];
    let total: u64 = shapes.iter().map(|shape| shape.area()).filter(|a| *a > 10).sum();
    println!("{total} {}", shapes[1].name());
    println!("{} {}", show(&[1, 2, 3]), show(&["a", "b"]));
    println!("{}", add!(3, 4) + add!(9, 4));
    println!("{}", block(work(3)));
    let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
    for word in ["1", "x", "60", "77", "13"] {
        match parse(word) {
            Ok(number) => *counts.entry(number).or_insert(0) += 1,
            Err(error) => println!("{error}"),
        }
    }
    println!("{counts:?} {}", inner::deep(3));
    if std::env::args().count() > 5 {
        println!("{}", never::<u32>());
        unreachable!();
    }
    let result = std::panic::catch_unwind(|| { let v: Vec<u8> = vec![]; v[0] });
    assert!(result.is_err());
}
"#;

#[test]
fn a_program_is_as_llvm_cov_says() {
    let build = Build::new(&[("main.rs", MAIN)]);
    for (program, flags) in [
        ("debug", &[][..]),
        ("release", &["-Copt-level=3"]),
        ("lto", &["-Copt-level=3", "-Clto=fat", "-Ccodegen-units=1"]),
        ("tests", &["--test"]),
        ("stripped", &["-Cstrip=symbols", "-Cpanic=abort"]),
    ] {
        let mut args = vec!["main.rs", "-o", program];
        args.extend(flags);
        build.rustc(&args).run(program, &[]).run(program, &["x"]);
        build.merge(&[program], "merged.profdata");
        build.check(&[program], "merged.profdata");
    }
}
