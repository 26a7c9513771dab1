//! Macros by example that expand to control flow.

macro_rules! rule {
    (sum $($one:expr),*) => {{
        let mut sum = 0;
        $(
            if $one > 1 {
                sum += $one;
            }
        )*
        sum
    }};
    (max $left:expr, $right:expr) => {
        match ($left, $right) {
            (left, right) if left > right => left,
            (_, right) => right,
        }
    };
}
