//! Calls `tick` as often as TICKS says, then waits to be killed.

mod count;

fn main() {
    let times = std::env::var("TICKS").ok().and_then(|text| text.parse().ok());
    for number in 0..times.unwrap_or(0) {
        count::tick(number);
    }
    if std::env::var_os("GRUMPY").is_some() {
        grumble();
    }
    println!("counted");
    loop {
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
}

fn grumble() {
    println!("last words");
}
