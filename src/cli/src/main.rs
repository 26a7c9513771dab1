mod config;
mod exit;
fn main() {}
