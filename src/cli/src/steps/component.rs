//! A component of `podcov.toml` as the build knows it.

use std::path::PathBuf;

use podcov_build::GoBuild;
use podcov_cluster::provider::Cluster;
use podcov_profile::bundle::{Bundle, Mode};
use podcov_profile::names::Language;

use crate::config::{BuilderName, Component, GoBuildName, ModeName};
use crate::exit::{Exit, Failure, OrExit};
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

/// A program for another machine would only be a pod that crashes.
pub fn check_architecture(cluster: &dyn Cluster, bundles: &[Bundle]) -> Result<(), Failure> {
    let nodes = cluster.architecture().or_exit(Exit::Cluster)?;
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
