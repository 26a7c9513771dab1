//! Programs and images: whether they are instrumented, by what, and how their
//! counters reach the disk.

use std::path::Path;

use podcov_build::{Image, Looked, look};
use podcov_cluster::doctor::Check;
use podcov_profile::bundle::Mode;
use podcov_profile::elf::Program;

/// A program, an image archive, or a folder with an OCI layout.
pub fn path(path: &Path) -> Vec<Check> {
    let subject = path.display().to_string();
    if path.is_dir() || is_archive(path) {
        return image(&subject, path);
    }
    match fs_err::read(path) {
        Ok(bytes) => of_bytes(&subject, &bytes),
        Err(error) => vec![Check::bad(
            &subject,
            error.to_string(),
            "name a file that can be read",
        )],
    }
}

/// By the name of its first entry: what `docker save` and others write.
fn is_archive(path: &Path) -> bool {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase();
    [".tar", ".tar.gz", ".tgz", ".oci"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// An image, and the program that it starts.
pub fn image(subject: &str, path: &Path) -> Vec<Check> {
    let image = match Image::open(path) {
        Ok(image) => image,
        Err(error) => {
            let remedy = "give an archive of `docker save`, `podman save` or `skopeo copy`, or a \
                          folder with an OCI layout";
            return vec![Check::bad(subject, error.to_string(), remedy)];
        }
    };
    let mut checks = Vec::new();
    if image.has_launcher() {
        checks.push(Check::good(subject, "podcov's launcher starts it"));
    } else {
        checks.push(Check::warning(
            subject,
            "it does not start with podcov's launcher, so two starts of a container can write over \
             one another and the end of a process is not recorded",
            "let `podcov build` make the image, or put `/podcov/launcher --` before its entry point",
        ));
    }
    for (name, value) in &image.env {
        if ["GOCOVERDIR", "LLVM_PROFILE_FILE"].contains(&name.as_str()) {
            checks.push(Check::bad(
                subject,
                format!("the image sets {name}={value}, and evidence goes there"),
                "take it out of the Dockerfile: the launcher sets it for each process",
            ));
        }
    }
    let Some(program) = image.program() else {
        let remedy = "give it an ENTRYPOINT";
        checks.push(Check::bad(subject, "the image starts nothing", remedy));
        return checks;
    };
    match image.file(program) {
        Ok(Some(bytes)) => {
            checks.extend(of_bytes(&format!("{subject} {program}"), &bytes));
        }
        Ok(None) if program.starts_with('/') => checks.push(Check::bad(
            subject,
            format!("expected the program at {program}, found no such file in it"),
            "see COPY and ENTRYPOINT of its Dockerfile, or `image_build` in podcov.toml",
        )),
        Ok(None) => checks.push(Check::warning(
            subject,
            format!("`{program}` is looked for on PATH in the container"),
            "give the entry point as an absolute path, so that it can be looked at",
        )),
        Err(error) => checks.push(Check::bad(
            subject,
            error.to_string(),
            "export the image again",
        )),
    }
    checks
}

/// The bytes of a program.
pub fn of_bytes(subject: &str, bytes: &[u8]) -> Vec<Check> {
    match look(bytes) {
        Ok(looked) => program(subject, &looked),
        Err(error) if bytes.starts_with(b"#!") => vec![Check::warning(
            subject,
            format!("{error}: it is a script"),
            "look at the program that it starts; the launcher measures what a script starts, too",
        )],
        Err(error) => vec![Check::bad(
            subject,
            error.to_string(),
            "name an instrumented program",
        )],
    }
}

fn program(subject: &str, looked: &Looked) -> Vec<Check> {
    let program = &looked.program;
    let mut checks = Vec::new();
    if program.go {
        checks.push(go(subject, looked));
    } else {
        checks.extend(rust(subject, looked));
    }
    if program.arch != std::env::consts::ARCH {
        checks.push(Check::warning(
            subject,
            format!(
                "it is for {}, this machine is {}",
                program.arch,
                std::env::consts::ARCH
            ),
            "see that the nodes of the cluster are of its kind",
        ));
    }
    checks
}

fn go(subject: &str, looked: &Looked) -> Check {
    let program = &looked.program;
    if !program.go_coverage {
        return Check::bad(
            subject,
            "a Go program without coverage",
            "build it with the variables of `podcov env --language go`, and see that -coverpkg \
             names its main package: without it Go links no coverage runtime and says nothing",
        );
    }
    match looked.mode {
        Mode::Continuous => Check::good(subject, "Go, its counters are in a file while it runs"),
        Mode::Ticker => Check::warning(
            subject,
            "Go, its counters are written every second: a kill loses what came since",
            "a release of Go that podcov knows gets counters that survive a kill",
        ),
        Mode::TestMain => Check::warning(
            subject,
            "Go, made by `go test -c`: its profile is written when the test returns, and a kill \
             loses it",
            "build it with `go build -cover` (`build = \"cover\"` in podcov.toml)",
        ),
        Mode::AtExit => Check::warning(
            subject,
            "Go, its counters are written when it ends by itself: a kill loses all",
            "build it with the variables of `podcov env --language go`",
        ),
    }
}

fn rust(subject: &str, looked: &Looked) -> Vec<Check> {
    let program = &looked.program;
    if !program.llvm_counters {
        return vec![Check::bad(
            subject,
            "a program without coverage: it has none of LLVM's sections",
            "build it with the variables of `podcov env --language rust`",
        )];
    }
    let mut checks = Vec::new();
    if !program.llvm_mapping {
        checks.push(Check::bad(
            subject,
            "it has counters and no coverage mapping (section __llvm_covmap), so nobody can say \
             what they count",
            "build with -C instrument-coverage, not -C profile-generate, and keep its sections",
        ));
    }
    if program.build_id.is_none() {
        checks.push(Check::bad(
            subject,
            "it has no build id, so its evidence cannot be told from another build's",
            "link with `-C link-arg=-Wl,--build-id=sha1`, as `podcov env --language rust` does",
        ));
    }
    checks.push(match program.llvm_relocation {
        Some(true) => Check::good(subject, "LLVM counters, in a file while it runs"),
        Some(false) => Check::warning(
            subject,
            "LLVM counters that are written when it ends by itself: a kill loses all, and in \
             continuous mode (%c) even a clean end does",
            "build it with `-C llvm-args=-runtime-counter-relocation`, as `podcov env --language \
             rust` does",
        ),
        None => Check::warning(
            subject,
            "LLVM counters; its symbols were stripped, so it cannot be told whether they survive a \
             kill",
            "look at the program before it is stripped, or try it: `podcov doctor -- CMD`",
        ),
    });
    needs(subject, program, &mut checks);
    checks
}

/// A dynamic program in an image from scratch does not start.
fn needs(subject: &str, program: &Program, checks: &mut Vec<Check>) {
    if !program.is_static() {
        let needed = program.needed.join(", ");
        checks.push(Check::good(subject, format!("dynamic: needs {needed}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use podcov_cluster::doctor::Level;

    fn bare() -> Program {
        Program {
            arch: std::env::consts::ARCH.to_owned(),
            build_id: None,
            go_build_id: None,
            llvm_mapping: false,
            llvm_counters: false,
            llvm_relocation: None,
            go: false,
            go_coverage: false,
            interpreter: None,
            needed: vec![],
        }
    }

    fn levels(program_: Program, mode: Mode) -> Vec<Level> {
        let looked = Looked {
            program: program_,
            mode,
        };
        program("p", &looked)
            .iter()
            .map(|check| check.level)
            .collect()
    }

    #[test]
    fn what_a_program_lacks_is_told() {
        use Level::{Bad, Good, Warning};
        let llvm = || Program {
            llvm_counters: true,
            llvm_mapping: true,
            ..bare()
        };
        let id = || Some("build-id:00aa".parse().unwrap());
        assert_eq!(levels(bare(), Mode::AtExit), [Bad]);
        assert_eq!(levels(llvm(), Mode::AtExit), [Bad, Warning]);
        let whole = Program {
            build_id: id(),
            llvm_relocation: Some(true),
            ..llvm()
        };
        assert_eq!(levels(whole.clone(), Mode::Continuous), [Good]);
        let at_exit = Program {
            llvm_relocation: Some(false),
            ..whole.clone()
        };
        assert_eq!(levels(at_exit, Mode::AtExit), [Warning]);
        let unmapped = Program {
            llvm_mapping: false,
            ..whole
        };
        assert_eq!(levels(unmapped, Mode::Continuous), [Bad, Good]);
        assert_eq!(levels(Program { go: true, ..bare() }, Mode::AtExit), [Bad]);
        let go = Program {
            go: true,
            go_coverage: true,
            ..bare()
        };
        assert_eq!(levels(go.clone(), Mode::Ticker), [Warning]);
        assert_eq!(levels(go, Mode::Continuous), [Good]);
    }
}
