//! A component of `podcov.toml` as the build knows it.

use std::path::PathBuf;

use podcov_build::GoBuild;
use podcov_profile::bundle::{Bundle, Mode};
use podcov_profile::names::Language;

use crate::config::{BuilderName, Component, GoBuildName, ModeName};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// What is built, and into which image.
pub fn build_component(session: &Session, component: &Component) -> podcov_build::Component {
    let config = &session.config;
    let name = component.name.get_ref();
    let mut made = podcov_build::Component::new(name, component.language, &config.root);
    made.kind = component.kind;
    made.manifest = component
        .manifest
        .as_ref()
        .map(|path| path.get_ref().clone());
    made.package = component.package.clone();
    made.binary = component.binary.clone();
    made.crates = component
        .crates
        .as_ref()
        .map(|c| c.get_ref().clone())
        .unwrap_or_default();
    made.coverpkg = component
        .coverpkg
        .as_ref()
        .map(|c| c.get_ref().clone())
        .unwrap_or_default();
    if component.build.as_ref().map(|b| *b.get_ref()) == Some(GoBuildName::TestMain) {
        let tag = component
            .test_main_tag
            .clone()
            .or(Some("testrunmain".to_owned()));
        made.go_build = GoBuild::TestMain {
            tag,
            run: GoBuild::TEST.to_owned(),
        };
    }
    made.cargo_profile = component.cargo_profile.clone().or(Some("dev".to_owned()));
    match component.language {
        Language::Rust => made.features = component.features.clone(),
        Language::Go => made.tags = component.features.clone(),
    }
    made.mode = (component.mode == Some(ModeName::AtExit)).then_some(Mode::AtExit);
    made.statically = component.statically;
    made.env = component.env.clone().into_iter().collect();
    made.image = component
        .image
        .as_ref()
        .map(|image| image_spec(session, component, image.get_ref()));
    made
}

fn image_spec(
    session: &Session,
    component: &Component,
    production: &str,
) -> podcov_build::ImageSpec {
    let typed = &component.image_build;
    let path = |path: &PathBuf| session.config.path(path);
    let mut spec = podcov_build::ImageSpec::new(production);
    spec.builder = match typed.builder {
        BuilderName::Podcov => podcov_build::Builder::Podcov,
        BuilderName::Docker => podcov_build::Builder::Docker,
        BuilderName::Podman => podcov_build::Builder::Podman,
        BuilderName::Buildah => podcov_build::Builder::Buildah,
    };
    spec.base = typed.base.as_ref().map(path);
    spec.dockerfile = typed.dockerfile.as_ref().map(path);
    spec.context = typed.context.as_ref().map(path);
    spec.args = typed.args.clone();
    spec.user = typed.user.clone();
    spec.program = typed.program.clone();
    spec.files = typed
        .files
        .iter()
        .map(|(from, to)| (path(&from.into()), to.clone()))
        .collect();
    spec
}

/// A program for another machine than the `nodes` (as Go and OCI name it)
/// would only be a pod that crashes.
pub fn check_architecture(nodes: &str, bundles: &[Bundle]) -> Result<(), Failure> {
    let in_images = bundles.iter().filter(|bundle| bundle.image.is_some());
    for binary in in_images.flat_map(|bundle| &bundle.binaries) {
        let built_for = match binary.arch.as_str() {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        if built_for != nodes {
            return Err(Failure::new(
                Exit::Build,
                format!(
                    "`{}` is built for {built_for}, the cluster's nodes are {nodes}",
                    binary.name
                ),
            )
            .help("build for the nodes: CARGO_BUILD_TARGET or GOARCH in `[component.env]`"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_for_another_machine_is_refused_by_name() {
        let bundle = serde_json::json!({
            "schema": 1, "component": "op", "language": "go", "kind": "operator",
            "binaries": [{"name": "manager", "identity": null, "path": "bin/manager",
                "sha256": "", "arch": "aarch64", "mode": "snapshots"}],
            "toolchain": "", "llvm_major": null, "commit": null, "dirty": false,
            "image": {"production": "op:1", "reference": "op-profile:1", "digest": "",
                "archive": "", "entrypoint": []},
            "sources": {"root": "/", "path_map": [], "files": []}
        });
        let mut bundles: Vec<Bundle> = vec![serde_json::from_value(bundle).unwrap()];
        let failure = check_architecture("amd64", &bundles).unwrap_err();
        assert_eq!(failure.exit, Exit::Build);
        assert!(
            failure.message.contains("`manager` is built for arm64"),
            "{failure}"
        );
        assert!(check_architecture("arm64", &bundles).is_ok());
        // What is in no image runs on this machine, not on the nodes.
        bundles[0].image = None;
        assert!(check_architecture("amd64", &bundles).is_ok());
    }
}
