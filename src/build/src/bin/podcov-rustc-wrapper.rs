//! RUSTC_WRAPPER on its own; the `podcov` program does the same when cargo
//! starts it with `PODCOV_RUSTC_WRAPPER` set.

fn main() -> std::process::ExitCode {
    podcov_build::rustc_wrapper(std::env::args_os().skip(1))
}
