//! What containerd and runc make of an image: the ones that clusters run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use podcov_build::{Contents, Context, ImageSpec, write_image};
use podcov_process::{Cancel, Silent};
use podcov_profile::bundle::Image;
use serde_json::Value;
use tempfile::TempDir;

/// A containerd of its own, gone with this value.
struct Containerd {
    dir: TempDir,
    child: Child,
}

impl Containerd {
    fn start() -> Self {
        // A short path: its sockets may have no more than 108 characters.
        let dir = tempfile::Builder::new()
            .prefix("pc")
            .tempdir_in("/tmp")
            .unwrap();
        let path = dir.path().to_owned();
        let at = |name: &str| path.join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \
             \"io.containerd.internal.v1.opt\"]\n\
             [grpc]\naddress = {:?}\n",
            at("root"),
            at("state"),
            at("socket")
        );
        fs::write(at("config.toml"), config).unwrap();
        let log = fs::File::create(at("log")).unwrap();
        let child = Command::new("containerd")
            .args(["--config", &at("config.toml")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("containerd starts; apt-get install containerd");
        let containerd = Containerd { dir, child };
        let begin = Instant::now();
        while !containerd.try_ctr(&["version"]).status.success() {
            let log = fs::read_to_string(at("log")).unwrap();
            assert!(
                begin.elapsed() < Duration::from_secs(30),
                "containerd is not up:\n{log}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        containerd
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn try_ctr(&self, args: &[&str]) -> Output {
        Command::new("ctr")
            .arg("--address")
            .arg(self.path("socket"))
            .args(["--namespace", "k8s.io"])
            .args(args)
            .output()
            .expect("ctr starts; apt-get install containerd")
    }

    fn ctr(&self, args: &[&str]) -> String {
        let output = self.try_ctr(args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// Writes an image of `program` and imports it.
    fn import(&self, program: &Path) -> Image {
        let bundle = self.path("bundle");
        fs::create_dir_all(&bundle).unwrap();
        let contents = Contents {
            component: "op",
            root: self.dir.path(),
            program: Some(program),
            identity: None,
            arguments: &[],
            profile_name: None,
        };
        let (cache, cancel) = (self.path("cache"), Cancel::new());
        let ctx = Context {
            cache: &cache,
            bundles: &bundle,
            progress: &Silent,
            cancel: &cancel,
        };
        let spec = ImageSpec::new("localhost/op:dev");
        let image = write_image(&spec, &contents, &bundle, &ctx).unwrap();
        self.ctr(&[
            "images",
            "import",
            bundle.join("image.tar").to_str().unwrap(),
        ]);
        image
    }

    /// Runs the image with everything that a strict pod takes away.
    fn run(&self, image: &Image, id: &str, volume: Option<&Path>, args: &[&str]) -> Output {
        let mount;
        let mut line = vec!["run", "--rm", "--read-only", "--env", "PODCOV_POD=web-0"];
        if let Some(volume) = volume {
            mount = format!(
                "type=bind,src={},dst=/podcov/profile,options=rbind:rw",
                volume.display()
            );
            line.extend(["--mount", &mount]);
        }
        line.extend([&*image.reference, id]);
        // ctr has a command take the place of entry point and all.
        let entrypoint = image.entrypoint.iter().map(String::as_str);
        if !args.is_empty() {
            line.extend(entrypoint);
            line.extend(args);
        }
        self.try_ctr(&line)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

fn compile(dir: &Path, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let file = dir.join(format!("{name}.c"));
    fs::write(&file, source).unwrap();
    let program = dir.join(name);
    let cc = Command::new("cc")
        .args(flags)
        .arg(&file)
        .arg("-o")
        .arg(&program)
        .status();
    assert!(
        cc.expect("cc starts; apt-get install gcc libc6-dev")
            .success()
    );
    program
}

#[test]
fn containerd_imports_the_image_under_its_name_and_runc_runs_it() {
    let containerd = Containerd::start();
    let source = "#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n\
                  int main(int argc, char **argv) {\n\
                  printf(\"uid %d, %s, %s\\n\", getuid(), argv[0], getenv(\"PODCOV_DIR\"));\n\
                  fflush(stdout);\n\
                  if (argc > 1) raise_signal: kill(getpid(), 9);\n\
                  return 7; }\n"
        .replace("raise_signal: ", "")
        .replace(
            "#include <unistd.h>",
            "#include <unistd.h>\n#include <signal.h>",
        );
    let volume = containerd.path("volume");
    fs::create_dir(&volume).unwrap();
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o1777)).unwrap();

    for (name, flags) in [("fixed", &["-static"][..]), ("dynamic", &[])] {
        let program = compile(containerd.dir.path(), name, &source, flags);
        let image = containerd.import(&program);
        let list = containerd.ctr(&["images", "ls"]);
        let line = list
            .lines()
            .find(|line| line.starts_with("localhost/op-profile:dev "));
        let line = line.unwrap_or_else(|| panic!("not imported:\n{list}"));
        assert!(
            line.contains(&image.digest),
            "{line}\nexpected {}",
            image.digest
        );

        let output = containerd.run(&image, name, Some(&volume), &[]);
        let text = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(7), "{text}{said}");
        assert!(text.contains(&format!(
            "uid 65532, /app/{name}, /podcov/profile/_local/web-0_"
        )));
        let exit = only_exit_record(&volume);
        assert_eq!((&exit["code"], &exit["signal"]), (&7.into(), &Value::Null));

        // Killed in its container: the launcher, process 1 there, tells by whom.
        let output = containerd.run(&image, name, Some(&volume), &["die"]);
        assert_eq!(output.status.code(), Some(128 + 9));
        let exit = only_exit_record(&volume);
        assert_eq!((&exit["code"], &exit["signal"]), (&Value::Null, &9.into()));

        // No volume and nothing that can be written to: it runs all the same.
        let output = containerd.run(&image, name, None, &[]);
        assert_eq!(output.status.code(), Some(7));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains("podcov-launcher: no evidence: cannot create /podcov/profile/"),
            "{said}"
        );
    }
}

/// Takes the one incarnation that there is on the volume.
fn only_exit_record(volume: &Path) -> Value {
    let mut found = Vec::new();
    let mut dirs = vec![volume.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => dirs.push(entry.path()),
                false if entry.file_name() == "exit.json" => found.push(entry.path()),
                false => {}
            }
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    let value = serde_json::from_slice(&fs::read(&found[0]).unwrap()).unwrap();
    fs::remove_dir_all(found[0].parent().unwrap()).unwrap();
    value
}

#[test]
fn the_agent_runs_in_an_image_of_itself_alone() {
    let containerd = Containerd::start();
    let (cache, cancel) = (containerd.path("cache"), Cancel::new());
    let ctx = Context {
        cache: &cache,
        bundles: &cache,
        progress: &Silent,
        cancel: &cancel,
    };
    let image = podcov_build::write_agent_image(&containerd.path("agent"), &ctx).unwrap();
    containerd.ctr(&["images", "import", image.archive.to_str().unwrap()]);
    let args = ["/podcov-agent", "version"];
    let mut line = vec!["run", "--rm", "--read-only", &image.reference, "agent"];
    line.extend(args);
    let output = containerd.try_ctr(&line);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        said,
        concat!("podcov-agent ", env!("CARGO_PKG_VERSION"), "\n")
    );
}
