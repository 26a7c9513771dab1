//! A little of everything that coverage mappings are made of.

mod exec;
#[macro_use]
mod rules;
mod shapes;

use shapes::{Area, Circle, Rectangle, total};

unsafe extern "C" {
    fn part_score(numbers: *const i32, count: i32) -> i32;
}

fn score(numbers: &[i32]) -> i32 {
    // SAFETY: the pointer and the length are of one slice.
    unsafe { part_score(numbers.as_ptr(), numbers.len() as i32) }
}

fn largest<T: PartialOrd + Copy>(all: &[T]) -> Option<T> {
    let mut found = None;
    for one in all {
        if found.is_none_or(|found| *one > found) {
            found = Some(*one);
        }
    }
    found
}

fn digits(text: &str) -> Result<u32, std::num::ParseIntError> {
    let number: u32 = text.trim().parse()?;
    Ok(if number > 9 { number / 10 } else { number })
}

async fn twice(number: u32) -> u32 {
    exec::pause().await;
    if number > 100 {
        return 0;
    }
    number * 2
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let compose = |f: fn(u32) -> u32, times: usize| move |x| (0..times).fold(x, |x, _| f(x));
    let add = compose(|x| x + 1, 3);
    println!("{} {:?} {:?}", add(1), largest(&[1, 5, 3]), largest::<f64>(&[]));
    println!("{:?} {:?}", digits("42"), digits("x").is_err());
    println!("{}", exec::block_on(async { twice(twice(4).await).await }));
    let shapes: [&dyn Area; 2] = [&Circle(2), &Rectangle { width: 2, height: 3 }];
    println!("{} {}", total(&shapes), rule!(sum 1, 2, 3));
    println!("{} {}", score(&[1, 2, -9, 7]), score(&[]));
    let caught = std::panic::catch_unwind(|| {
        std::panic::set_hook(Box::new(|_| ()));
        let empty: Vec<u32> = Vec::with_capacity(args.len());
        empty[0]
    });
    println!("{}", rule!(max caught.is_err() as u32, 0));
    if let [first, ..] = &*args {
        std::process::exit(i32::try_from(first.len()).unwrap_or(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_is_found() {
        assert_eq!(largest(b"abz"), Some(b'z'));
    }

    #[test]
    fn c_is_called() {
        assert_eq!(score(&[3, 0]), 2 - 1 + 1 - 1);
    }
}
