//! The overlay for use by hand; `podcov run` makes its own from podcov.toml.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use podcov_cluster::discover::Container;

use super::programs::Program;

/// The overlay components, as `overlays/` has them.
const COMPONENTS: &[(&str, &str)] = &[
    (
        "environment/environment.yaml",
        include_str!("../../../../../overlays/environment/environment.yaml"),
    ),
    (
        "environment/kustomization.yaml",
        include_str!("../../../../../overlays/environment/kustomization.yaml"),
    ),
    (
        "environment/replacements.yaml",
        include_str!("../../../../../overlays/environment/replacements.yaml"),
    ),
    (
        "profile-volume/kustomization.yaml",
        include_str!("../../../../../overlays/profile-volume/kustomization.yaml"),
    ),
    (
        "profile-volume/replacements.yaml",
        include_str!("../../../../../overlays/profile-volume/replacements.yaml"),
    ),
    (
        "profile-volume/volume.yaml",
        include_str!("../../../../../overlays/profile-volume/volume.yaml"),
    ),
];

/// Its files, on top of the kustomization in the folder of that name.
pub fn files(kustomization: &Path, programs: &[Program]) -> Vec<(PathBuf, String)> {
    let measured = || {
        programs
            .iter()
            .filter_map(|p| Some((p, p.container.as_ref()?)))
    };
    let mut text = format!(
        "# Your kustomization with a profile volume under every pod, for `kubectl apply -k`.\n\
         # `podcov run` does not need it: `podcov overlay` makes an exact one for each run.\n\
         apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- ../../{}\n\
         - settings.yaml\ncomponents:\n- components/environment\n- components/profile-volume\n",
        kustomization.display()
    );
    let mut images: Vec<&str> = measured().map(|(_, c)| without_tag(&c.image)).collect();
    images.sort_unstable();
    images.dedup();
    if !images.is_empty() {
        text.push_str("images:\n");
    }
    for image in images {
        let _ = writeln!(text, "- name: {image}\n  newName: {image}-profile");
    }
    let commands: Vec<&Container> = measured()
        .map(|(_, c)| c)
        .filter(|c| !c.command.is_empty())
        .collect();
    if !commands.is_empty() {
        text.push_str(
            "# A command takes the place of the image's entry point, the launcher.\npatches:\n",
        );
    }
    for Container {
        kind,
        workload,
        path,
        ..
    } in commands
    {
        let _ = writeln!(
            text,
            "- target:\n    kind: {kind}\n    name: {workload}\n  patch: |-\n    \
             - op: add\n      path: {path}/command/0\n      value: /podcov/launcher\n    \
             - op: add\n      path: {path}/command/1\n      value: --",
        );
    }
    let mut settings = include_str!("../../../../../overlays/example/settings.yaml").to_owned();
    if let Some((program, container)) = measured().next() {
        for (key, value) in [("component", &program.name), ("container", &container.name)] {
            settings = set(&settings, key, value);
        }
    }
    let folder = Path::new("overlays/profile");
    let mut files = vec![(folder.join("kustomization.yaml"), text)];
    for (path, text) in COMPONENTS {
        files.push((folder.join("components").join(path), (*text).to_owned()));
    }
    files.push((folder.join("settings.yaml"), settings));
    files
}

/// Sets a value in the data of settings.yaml, whose comments stay.
fn set(text: &str, key: &str, value: &str) -> String {
    let start = format!("  {key}: ");
    let lines = text.lines().map(|line| match line.starts_with(&start) {
        true => format!("{start}{value}\n"),
        false => format!("{line}\n"),
    });
    lines.collect()
}

/// An image's name, as kustomize's `images` wants it.
fn without_tag(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use podcov_cluster::discover;
    use podcov_process::Run;
    use podcov_profile::names::{Kind, Language};

    use super::*;

    #[test]
    fn a_tag_is_told_from_a_port() {
        for image in [
            "r.io:5000/a/op",
            "r.io:5000/a/op:1",
            "r.io:5000/a/op:1@sha256:00",
        ] {
            assert_eq!(without_tag(image), "r.io:5000/a/op");
        }
    }

    #[test]
    fn it_renders_on_a_kustomization_with_a_prefix() {
        let kubectl = discover::kubectl()
            .expect("this test needs kubectl: install it, or run `podcov cluster up` once");
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let write = |path: &Path, text: &str| {
            let path = root.join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        write(
            Path::new("config/default/kustomization.yaml"),
            "namespace: sys\nnamePrefix: my-\nresources: [manager.yaml]\n",
        );
        write(
            Path::new("config/default/manager.yaml"),
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: manager}\nspec: {template: {spec: \
             {containers: [{name: op, image: 'r.io/controller:1', command: [/manager, -v]}]}}}\n",
        );
        let base = root.join("config/default");
        let [container] = &discover::rendered(&kubectl, &base).unwrap()[..] else {
            panic!("expected one container")
        };
        assert_eq!(container.workload, "my-manager");
        let program = Program {
            name: "memcached".into(),
            binary: None,
            language: Language::Go,
            kind: Kind::Operator,
            manifest: PathBuf::new(),
            package: "./cmd".into(),
            container: Some(container.clone()),
            place: None,
        };
        for (path, text) in files(Path::new("config/default"), &[program]) {
            write(&path, &text);
        }
        let overlay = root.join("overlays/profile");
        let [measured] = &discover::rendered(&kubectl, &overlay).unwrap()[..] else {
            panic!("expected one container")
        };
        assert_eq!(measured.image, "r.io/controller-profile:1");
        assert_eq!(
            measured.command,
            ["/podcov/launcher", "--", "/manager", "-v"]
        );
        let text = Run::new(kubectl)
            .arg("kustomize")
            .arg(overlay)
            .run()
            .unwrap()
            .text();
        assert!(
            text.contains("name: PODCOV_COMPONENT\n          value: memcached\n"),
            "{text}"
        );
        assert!(text.contains("mountPath: /podcov/profile"), "{text}");
    }
}
