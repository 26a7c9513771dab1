//! Images, read back as the tools that load them would.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use podcov_build::{Builder, Contents, Context, ImageSpec, write_image};
use podcov_process::{Cancel, Progress};
use podcov_profile::Identity;
use podcov_profile::bundle::Image;
use serde_json::Value;
use tempfile::TempDir;

/// Remembers what was said.
#[derive(Default)]
struct Ear(Mutex<Vec<String>>);

impl Progress for Ear {
    fn status(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
    fn note(&self, text: &str) {
        self.status(text);
    }
}

impl Ear {
    fn heard(&self, text: &str) -> bool {
        self.0
            .lock()
            .unwrap()
            .iter()
            .any(|line| line.contains(text))
    }
}

/// A folder to work in.
struct Place {
    dir: TempDir,
    ear: Ear,
    cancel: Cancel,
}

impl Place {
    fn new() -> Self {
        Place {
            dir: TempDir::new().unwrap(),
            ear: Ear::default(),
            cancel: Cancel::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Compiles a C program that exits with 7.
    fn program(&self, name: &str, flags: &[&str]) -> PathBuf {
        let source = self.path("main.c");
        fs::write(&source, "int main(void) { return 7; }\n").unwrap();
        let program = self.path(name);
        let cc = Command::new("cc")
            .args(flags)
            .arg(&source)
            .arg("-o")
            .arg(&program)
            .status();
        assert!(
            cc.expect("cc starts; apt-get install gcc libc6-dev")
                .success()
        );
        program
    }

    fn write(&self, spec: &ImageSpec, program: Option<&Path>) -> Image {
        self.try_write(spec, program, "op").unwrap()
    }

    fn try_write(
        &self,
        spec: &ImageSpec,
        program: Option<&Path>,
        component: &str,
    ) -> Result<Image, podcov_build::Error> {
        let identity: Identity = "build-id:00ff".parse().unwrap();
        let contents = Contents {
            component,
            root: self.dir.path(),
            program,
            identity: Some(&identity),
            profile_name: None,
            arguments: &[],
        };
        let (cache, bundles) = (self.path("cache"), self.path("bundle"));
        fs::create_dir_all(&bundles).unwrap();
        let ctx = Context {
            cache: &cache,
            bundles: &bundles,
            progress: &self.ear,
            cancel: &self.cancel,
        };
        write_image(spec, &contents, &bundles, &ctx)
    }

    fn archive(&self) -> Files {
        read_tar(&fs::read(self.path("bundle/image.tar")).unwrap())
    }
}

/// Files of a tar: content, mode, owner.
type Files = BTreeMap<String, (Vec<u8>, u32, u64)>;

fn read_tar(bytes: &[u8]) -> Files {
    let mut tar = tar::Archive::new(bytes);
    let mut files = Files::new();
    let mut last = String::new();
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header().clone();
        assert_eq!(header.mtime().unwrap(), 0);
        let name = entry
            .path()
            .unwrap()
            .to_string_lossy()
            .trim_end_matches('/')
            .to_owned();
        assert!(last < name, "not sorted: {last}, {name}");
        last.clone_from(&name);
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        files.insert(
            name,
            (content, header.mode().unwrap(), header.uid().unwrap()),
        );
    }
    files
}

fn json(files: &Files, name: &str) -> Value {
    serde_json::from_slice(&files[name].0).unwrap()
}

/// Configuration and the files of all layers, each found by its digest.
fn image(archive: &Files) -> (Value, Files) {
    let blob = |digest: &Value| {
        let digest = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
        &archive[&format!("blobs/sha256/{digest}")].0
    };
    let index = json(archive, "index.json");
    let manifest: Value = serde_json::from_slice(blob(&index["manifests"][0]["digest"])).unwrap();
    let config: Value = serde_json::from_slice(blob(&manifest["config"]["digest"])).unwrap();
    let mut files = Files::new();
    for layer in manifest["layers"].as_array().unwrap() {
        files.extend(read_tar(blob(&layer["digest"])));
    }
    (config, files)
}

#[test]
fn from_scratch_it_holds_launcher_program_user_and_certificates() {
    let place = Place::new();
    let program = place.program("op-server", &["-static"]);
    fs::write(place.path("settings.yaml"), "a: 1\n").unwrap();
    let mut spec = ImageSpec::new("localhost/op:dev");
    spec.files = vec![("settings.yaml".into(), "/etc/op/".into())];
    spec.args = vec!["--verbose".into()];
    spec.env = vec![("MODE".into(), "test".into())];
    let image_of = place.write(&spec, Some(&program));
    assert_eq!(image_of.production, "localhost/op:dev");
    assert_eq!(image_of.reference, "localhost/op-profile:dev");
    let entrypoint = [
        "/podcov/launcher",
        "--component",
        "op",
        "--identity",
        "build-id:00ff",
        "--",
    ];
    assert_eq!(image_of.entrypoint[..6], entrypoint);
    assert_eq!(image_of.entrypoint[6..], ["/app/op-server"]);

    let archive = place.archive();
    let (config, files) = image(&archive);
    let config = &config["config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Cmd"], serde_json::json!(["--verbose"]));
    assert_eq!(config["Entrypoint"][6], "/app/op-server");
    assert_eq!(config["Env"][1], "MODE=test");
    assert_eq!(config["Labels"]["dev.podcov.instrumented"], "true");
    assert_eq!(config["Labels"]["dev.podcov.identity"], "build-id:00ff");

    assert_eq!(files["app/op-server"].0, fs::read(&program).unwrap());
    assert_eq!(files["app/op-server"].1, 0o755);
    assert_eq!(files["podcov/launcher"].0, podcov_build::launcher_bytes());
    assert_eq!(
        (files["podcov/profile"].1, files["tmp"].1),
        (0o1777, 0o1777)
    );
    assert_eq!(
        files["etc/op/settings.yaml"],
        (b"a: 1\n".to_vec(), 0o644, 0)
    );
    assert_eq!(files["home/nonroot"].2, 65532);
    assert!(files["etc/passwd"].0.windows(7).any(|w| w == b"nonroot"));
    let certificates =
        fs::read("/etc/ssl/certs/ca-certificates.crt").expect("apt-get install ca-certificates");
    assert_eq!(files["etc/ssl/certs/ca-certificates.crt"].0, certificates);
    assert!(
        !files.keys().any(|name| name.contains("ld-linux")),
        "a static program needs no loader"
    );

    // What docker reads.
    let saved = &json(&archive, "manifest.json")[0];
    assert_eq!(saved["RepoTags"][0], "localhost/op-profile:dev");
    for name in saved["Layers"]
        .as_array()
        .unwrap()
        .iter()
        .chain([&saved["Config"]])
    {
        assert!(archive.contains_key(name.as_str().unwrap()));
    }
}

#[test]
fn the_program_is_where_the_manifests_start_it() {
    let place = Place::new();
    let program = place.program("op-server", &["-static"]);
    let mut spec = ImageSpec::new("controller:latest");
    spec.program = Some("/opt/bin/manager".into());
    let image_of = place.write(&spec, Some(&program));
    assert_eq!(image_of.entrypoint.last().unwrap(), "/opt/bin/manager");
    let (_, files) = image(&place.archive());
    assert_eq!(files["opt/bin/manager"].0, fs::read(&program).unwrap());
    assert_eq!(files["opt/bin"].1, 0o755);
    assert!(!files.contains_key("app/op-server"));
}

#[test]
fn the_same_inputs_give_the_same_bytes_and_unchanged_ones_are_reused() {
    let (one, two) = (Place::new(), Place::new());
    let spec = ImageSpec::new("op:1");
    let program = one.program("op", &["-static"]);
    let first = one.write(&spec, Some(&program));
    assert!(!one.ear.heard("reused"));
    fs::create_dir(two.path("else")).unwrap();
    let copy = two.path("else/op");
    fs::copy(&program, &copy).unwrap();
    let second = two.write(&spec, Some(&copy));
    assert_eq!(first, second);
    let bytes = |place: &Place| fs::read(place.path("bundle/image.tar")).unwrap();
    assert!(
        bytes(&one) == bytes(&two),
        "two archives of the same differ"
    );

    let again = one.write(&spec, Some(&program));
    assert!(one.ear.heard("reused"));
    assert_eq!(again, first);
    // Any change makes another one: here a label, there the program.
    let mut changed = spec.clone();
    changed.user = Some("1000".into());
    assert_ne!(one.write(&changed, Some(&program)).digest, first.digest);
    let mut longer = fs::read(&program).unwrap();
    longer.push(0);
    fs::write(&program, longer).unwrap();
    assert_ne!(one.write(&spec, Some(&program)).digest, first.digest);
    assert_eq!(
        fs::read_dir(one.path("cache/images/op")).unwrap().count(),
        2,
        "only the newest archive and its digest are kept"
    );
}

#[test]
fn a_base_keeps_what_it_says_and_is_started_by_the_launcher() {
    let place = Place::new();
    // The base: production's own image, made by the same writer, then turned
    // into what `docker save` gives.
    let mut production = ImageSpec::new("op:1");
    production.env = vec![("FROM_BASE".into(), "yes".into())];
    production.user = Some("1234".into());
    production.args = vec!["--port=80".into()];
    let program = place.program("op", &["-static"]);
    place.write(&production, Some(&program));
    let archive = place.archive();
    docker_save(&archive, &place.path("saved.tar"));
    let layout = place.path("layout");
    tar::Archive::new(fs::File::open(place.path("bundle/image.tar")).unwrap())
        .unpack(&layout)
        .unwrap();

    let mut spec = ImageSpec::new("localhost/op:dev");
    for base in ["layout", "saved.tar", "bundle/../saved.tar"] {
        spec.base = Some(base.into());
        let wrapped = place.write(&spec, None);
        let words = &wrapped.entrypoint;
        assert_eq!(
            words[..6],
            [
                "/podcov/launcher",
                "--component",
                "op",
                "--identity",
                "build-id:00ff",
                "--"
            ]
        );
        // The base's own entry point follows, without its launcher.
        assert_eq!(words[6..], ["/app/op"]);
        let (config, files) = image(&place.archive());
        assert_eq!(
            config["config"]["Cmd"],
            serde_json::json!(["--port=80"]),
            "{base}"
        );
        assert_eq!(config["config"]["User"], "1234");
        assert!(
            config["config"]["Env"]
                .as_array()
                .unwrap()
                .contains(&"FROM_BASE=yes".into())
        );
        assert!(files.contains_key("app/op"), "the base's layers are there");
        assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 4);
    }
    // Another program than the base's: its arguments are not ours.
    let other = place.program("other", &["-static"]);
    let image_of = place.write(&spec, Some(&other));
    assert_eq!(image_of.entrypoint.last().unwrap(), "/app/other");
    assert_eq!(image(&place.archive()).0["config"]["Cmd"], Value::Null);
}

/// Rewrites an archive as old dockers wrote it: no OCI layout.
fn docker_save(archive: &Files, to: &Path) {
    let mut tar = tar::Builder::new(fs::File::create(to).unwrap());
    for (name, (content, ..)) in archive {
        if name.starts_with("blobs/sha256/") || name == "manifest.json" {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, content.as_slice())
                .unwrap();
        }
    }
    tar.into_inner().unwrap();
}

#[test]
fn a_damaged_base_and_one_for_another_machine_are_refused() {
    let place = Place::new();
    let program = place.program("op", &["-static"]);
    place.write(&ImageSpec::new("op:1"), Some(&program));
    let layout = place.path("layout");
    let archive = fs::File::open(place.path("bundle/image.tar")).unwrap();
    tar::Archive::new(archive).unpack(&layout).unwrap();
    let mut spec = ImageSpec::new("op:1");
    spec.base = Some("layout".into());
    let refused = |what: &str| {
        let message = place
            .try_write(&spec, Some(&program), "op")
            .unwrap_err()
            .to_string();
        assert!(message.contains(what), "{message}");
    };
    let index = fs::read_to_string(layout.join("index.json")).unwrap();
    fs::write(
        layout.join("index.json"),
        index.replace("amd64", "s390x").replace("arm64", "s390x"),
    )
    .unwrap();
    refused("no image for linux/");
    fs::write(layout.join("index.json"), &index).unwrap();
    let largest = fs::read_dir(layout.join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    bytes[1000] ^= 1;
    fs::write(&largest, bytes).unwrap();
    refused("damaged");
    fs::remove_file(layout.join("index.json")).unwrap();
    fs::remove_file(layout.join("manifest.json")).unwrap();
    refused("found neither");
}

#[test]
fn a_dynamic_program_brings_its_libraries_and_runs_on_them() {
    let place = Place::new();
    let program = place.program("op", &["-Wl,--no-as-needed", "-lm"]);
    place.write(&ImageSpec::new("op:1"), Some(&program));
    let (_, files) = image(&place.archive());
    for name in ["libm.so.6", "libc.so.6"] {
        assert!(files.keys().any(|path| path.ends_with(name)), "{name}");
    }
    // In a root of nothing but the image's files it runs.
    let root = place.path("root");
    for (path, (content, mode, _)) in &files {
        use std::os::unix::fs::PermissionsExt;
        let path = root.join(path);
        let is_dir = content.is_empty() && mode & 0o111 != 0;
        if is_dir {
            fs::create_dir_all(&path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
        }
    }
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "chroot"])
        .arg(&root)
        .arg("/app/op")
        .status()
        .expect("unshare starts; apt-get install util-linux");
    assert_eq!(status.code(), Some(7));
}

#[test]
fn what_cannot_become_an_image_is_said() {
    let place = Place::new();
    let program = place.program("op", &["-static"]);
    let refused = |spec: &ImageSpec, program: Option<&Path>, what: &str| {
        let message = place
            .try_write(spec, program, "op")
            .unwrap_err()
            .to_string();
        assert!(message.contains(what), "{message}");
    };
    refused(
        &ImageSpec::new("Not A Name"),
        Some(&program),
        "name of an image",
    );
    refused(&ImageSpec::new("op:1"), None, "no program was given");
    let script = place.path("script");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    refused(&ImageSpec::new("op:1"), Some(&script), "ELF");
    let mut spec = ImageSpec::new("op:1");
    spec.files = vec![("script".into(), "relative".into())];
    refused(&spec, Some(&program), "absolute path");
    spec.files = vec![("nothing".into(), "/x".into())];
    refused(&spec, Some(&program), "nothing");
    spec = ImageSpec::new("op:1");
    spec.program = Some("manager".into());
    refused(&spec, Some(&program), "full path");
    place.cancel.set();
    refused(&ImageSpec::new("op:1"), Some(&program), "interrupted");
    assert!(
        !place
            .path("cache/images/op")
            .read_dir()
            .unwrap()
            .any(|_| true),
        "nothing is left"
    );
}

#[test]
fn other_builders_build_the_dockerfile_and_podcov_adds_the_launcher() {
    // PATH cannot be changed in a running test, so each builder gets a process
    // of its own: this test again, told what to do.
    if let Some(name) = std::env::var_os("PODCOV_TEST_BUILDER") {
        return with_builder(name.to_str().unwrap());
    }
    for name in ["docker", "podman", "buildah"] {
        let place = Place::new();
        let program = place.program("server", &["-static"]);
        place.write(&ImageSpec::new("localhost/op:dev"), Some(&program));
        docker_save(&place.archive(), &place.path("docker.tar"));
        fs::rename(place.path("bundle/image.tar"), place.path("oci.tar")).unwrap();
        fake_builder(&place, name);
        let path = std::env::join_paths(
            std::iter::once(place.path("bin"))
                .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("other_builders_build_the_dockerfile_and_podcov_adds_the_launcher")
            .env("PODCOV_TEST_BUILDER", name)
            .env("PODCOV_TEST_PLACE", place.dir.path())
            .env("PATH", path.unwrap())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
}

/// Writes its arguments down, one a line, and "saves" an image made before.
fn fake_builder(place: &Place, name: &str) {
    use std::os::unix::fs::PermissionsExt;
    let dir = place.dir.path().display();
    let script = format!(
        "#!/bin/sh\n\
         for word in \"$@\"; do echo \"$word\"; done >> {dir}/argv\n\
         case $1 in\n\
         save) while [ \"$1\" != --output ]; do shift; done; to=$2 ;;\n\
         push) to=${{3#oci-archive:}}; to=${{to%%:*}} ;;\n\
         *) echo 'STEP 1: FROM scratch'; exit 0 ;;\n\
         esac\n\
         case {name} in docker) cp {dir}/docker.tar \"$to\" ;; *) cp {dir}/oci.tar \"$to\" ;; esac\n"
    );
    fs::create_dir(place.path("bin")).unwrap();
    let program = place.path("bin").join(name);
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
}

fn with_builder(name: &str) {
    let made = PathBuf::from(std::env::var_os("PODCOV_TEST_PLACE").unwrap());
    let place = Place::new();
    let mut spec = ImageSpec::new("localhost/op:dev");
    spec.builder = match name {
        "docker" => Builder::Docker,
        "podman" => Builder::Podman,
        _ => Builder::Buildah,
    };
    spec.dockerfile = Some("build/Dockerfile".into());
    spec.context = Some("src".into());
    spec.build_args = vec![("GOFLAGS".into(), "-cover -covermode=atomic".into())];
    let image_of = place.write(&spec, None);
    assert_eq!(image_of.reference, "localhost/op-profile:dev");
    let (_, files) = image(&place.archive());
    assert!(files.contains_key("app/server") && files.contains_key("podcov/launcher"));
    assert!(
        place.ear.heard("STEP 1"),
        "what the builder says is passed on"
    );

    let argv = fs::read_to_string(made.join("argv")).unwrap();
    let argv: Vec<_> = argv.lines().collect();
    let root = place.dir.path().to_str().unwrap();
    let dockerfile = format!("{root}/build/Dockerfile");
    let context = format!("{root}/src");
    let build = [
        "build",
        "--tag",
        "podcov-build/op:latest",
        "--file",
        &dockerfile,
        "--build-arg",
        "GOFLAGS=-cover -covermode=atomic",
        &context,
    ];
    assert_eq!(argv[..8], build);
    match name {
        "docker" => assert_eq!(argv[8..10], ["save", "--output"]),
        "podman" => assert_eq!(argv[8..12], ["save", "--format", "oci-archive", "--output"]),
        _ => {
            assert_eq!(argv[8..10], ["push", "podcov-build/op:latest"]);
            assert!(argv[10].starts_with("oci-archive:/"), "{}", argv[10]);
        }
    }
}
