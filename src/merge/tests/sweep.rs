//! What our readers let through does not crash the toolchains' tools: every
//! byte of real files is changed, and what is accepted is given to the tool.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{llvm, run};
use podcov_profile::classify;
use podcov_profile::go::files::{read_counters, read_meta};

const META: &str = "covmeta.365db558e60f45db96600bc1c17ccd6e";
const COUNTERS: &str = "covcounters.365db558e60f45db96600bc1c17ccd6e.2384.1795257547508204385";

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../profile/tests/fixtures")
        .join(path)
}

/// Changes each byte to each of `values`, and gives what is accepted to `tool`.
fn sweep(
    bytes: &[u8],
    values: &[fn(u8) -> u8],
    accepted: impl Fn(&[u8]) -> bool,
    mut tool: impl FnMut(&[u8]) -> Output,
) {
    let mut bytes = bytes.to_vec();
    let (mut given, mut refused) = (0, 0);
    for at in 0..bytes.len() {
        let kept = bytes[at];
        for value in values
            .iter()
            .map(|value| value(kept))
            .filter(|value| *value != kept)
        {
            bytes[at] = value;
            if !accepted(&bytes) {
                refused += 1;
                continue;
            }
            given += 1;
            let output = tool(&bytes);
            let said = String::from_utf8_lossy(&output.stderr);
            // A signal has no code, and `timeout` ends with 124.
            let crashed = output.status.code().is_none_or(|code| code >= 124)
                || said.contains("panic:")
                || said.contains("Stack dump:");
            assert!(
                !crashed,
                "byte {at} as {value:#04x}: {}\n{said}",
                output.status
            );
        }
        bytes[at] = kept;
    }
    assert!(
        given > 100 && refused > 100,
        "{given} given, {refused} refused"
    );
}

#[test]
fn llvm_profdata_survives_what_we_accept() {
    let bytes = fs::read(fixture("rust/plain.profraw")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.profraw");
    let limited = format!(
        "ulimit -v 4194304; exec timeout 20 {} merge -sparse x.profraw -o x.profdata",
        llvm("profdata").display()
    );
    sweep(
        &bytes,
        &[|_| 0xff],
        |bytes| classify("x.profraw", bytes).problem.is_none(),
        |bytes| {
            fs::write(&file, bytes).unwrap();
            Command::new("sh")
                .args(["-c", &limited])
                .current_dir(&dir)
                .output()
                .unwrap()
        },
    );
}

#[test]
fn go_covdata_survives_what_we_accept() {
    let covdata = run(Command::new("go").args(["tool", "-n", "covdata"])).stdout;
    let covdata = String::from_utf8(covdata).unwrap().trim().to_owned();
    // Go builds the tool when it is first run.
    let _ = Command::new("go")
        .args(["tool", "covdata", "percent"])
        .output();
    let read = |name: &str| fs::read(fixture("go").join(name)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (name, other) in [(META, COUNTERS), (COUNTERS, META)] {
        let beside = read(other);
        fs::write(dir.path().join(other), &beside).unwrap();
        let accepted = |bytes: &[u8]| {
            if classify(name, bytes).problem.is_some() {
                return false;
            }
            let (meta, counters) = if name == META {
                (bytes, &*beside)
            } else {
                (&*beside, bytes)
            };
            let counters = read_counters(counters).unwrap();
            read_meta(meta).unwrap().check(&counters).is_ok()
        };
        let values: &[fn(u8) -> u8] = &[|_| 0, |_| 0x7f, |_| 0xff, |kept| kept ^ 1];
        sweep(&read(name), values, accepted, |bytes| {
            fs::write(dir.path().join(name), bytes).unwrap();
            let mut command = Command::new("timeout");
            command
                .arg("20")
                .arg(&covdata)
                .args(["textfmt", "-i", ".", "-o", "x.txt"]);
            command.current_dir(&dir).output().unwrap()
        });
    }
}
