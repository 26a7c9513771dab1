//! What only the tests need: the reference tools and a browser. What a run
//! needs, podcov installs by itself.

use std::process::Command;

/// Program and the packages of Debian and Ubuntu that it takes.
const NEEDED: &[(&str, &str)] = &[
    ("llvm-cov-22", "llvm-22"),
    ("clang-22", "clang-22 libclang-rt-22-dev"),
    ("c++", "g++"),
    ("chromium", "chromium"),
];

/// Installs what is missing where that is possible; else says all of it.
pub fn ensure() -> Result<(), u8> {
    let missing: Vec<&str> = NEEDED
        .iter()
        .filter(|(program, _)| !is_there(program))
        .flat_map(|(_, packages)| packages.split(' '))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !is_there("apt-get") || !is_root() {
        eprintln!("error: the tests need what is not here: {list}");
        eprintln!("help: on Debian or Ubuntu, apt-get install {list}");
        return Err(2);
    }
    eprintln!("installing for the tests: {list}");
    apt(&["update", "-qq"])?;
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(missing);
    apt(&install)
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout == b"0\n")
}

fn apt(args: &[&str]) -> Result<(), u8> {
    let mut command = Command::new("apt-get");
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
    super::status(command)
}
