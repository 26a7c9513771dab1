//! Traits with default methods, derived ones, and inlined ones.

#[derive(Clone, Debug, PartialEq)]
pub struct Circle(pub u32);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rectangle {
    pub width: u32,
    pub height: u32,
}

pub trait Area {
    fn area(&self) -> u32;

    fn is_large(&self) -> bool {
        self.area() > 10
    }

    fn unused(&self) -> &'static str {
        "never"
    }
}

impl Area for Circle {
    #[inline(always)]
    fn area(&self) -> u32 {
        3 * self.0 * self.0
    }
}

impl Area for Rectangle {
    fn area(&self) -> u32 {
        self.width * self.height
    }
}

pub fn total(shapes: &[&dyn Area]) -> u32 {
    shapes
        .iter()
        .filter(|shape| shape.is_large())
        .map(|shape| shape.area())
        .sum()
}
