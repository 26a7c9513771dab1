/// Called once a tick; every third number is another branch.
#[inline(never)]
pub fn tick(number: u32) {
    if number % 3 == 0 {
        std::hint::black_box(third(number));
    } else {
        std::hint::black_box(number);
    }
}

fn third(number: u32) -> u32 {
    number / 3
}

#[allow(dead_code)]
pub fn never(number: u32) -> u32 {
    if number > 1 { never(number - 1) } else { number }
}
