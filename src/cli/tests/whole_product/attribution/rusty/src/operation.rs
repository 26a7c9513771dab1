//! What only one request does.

pub fn zero(input: u32) -> u32 {
    std::hint::black_box(input + 0)
}

pub fn one(input: u32) -> u32 {
    std::hint::black_box(input + 1)
}

pub fn two(input: u32) -> u32 {
    std::hint::black_box(input + 2)
}

pub fn three(input: u32) -> u32 {
    std::hint::black_box(input + 3)
}

pub fn four(input: u32) -> u32 {
    std::hint::black_box(input + 4)
}

pub fn five(input: u32) -> u32 {
    std::hint::black_box(input + 5)
}

pub fn six(input: u32) -> u32 {
    std::hint::black_box(input + 6)
}

pub fn seven(input: u32) -> u32 {
    std::hint::black_box(input + 7)
}

pub fn eight(input: u32) -> u32 {
    std::hint::black_box(input + 8)
}

pub fn nine(input: u32) -> u32 {
    std::hint::black_box(input + 9)
}

pub fn ten(input: u32) -> u32 {
    std::hint::black_box(input + 10)
}

pub fn eleven(input: u32) -> u32 {
    std::hint::black_box(input + 11)
}
