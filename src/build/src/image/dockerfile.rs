//! The user's own Dockerfile, built by docker, podman or buildah, as the lower
//! part of an image.

use std::path::{Path, PathBuf};

use podcov_process::{Run, find_program};

use super::{Builder, Contents, ImageSpec};
use crate::Error;
use crate::component::Context;

/// Builds it and gives the archive of the result, in `scratch`.
pub(super) fn build(
    spec: &ImageSpec,
    contents: &Contents,
    scratch: &Path,
    ctx: &Context,
) -> Result<PathBuf, Error> {
    let tool = match spec.builder {
        Builder::Podman => "podman",
        Builder::Buildah => "buildah",
        Builder::Docker | Builder::Podcov => "docker",
    };
    if find_program(tool).is_none() {
        let what = format!(
            "its image is to be built by `{tool}`, which is not on PATH; install it, or leave \
             `builder` out so that podcov makes the image itself"
        );
        return Err(Error::toolchain(contents.component, what));
    }
    // A name of its own: neither production's nor the one that is measured.
    let name = format!("podcov-build/{}:latest", contents.component.to_lowercase());
    let context = spec
        .context
        .as_ref()
        .map_or(contents.root.to_owned(), |c| contents.root.join(c));
    let mut build = Run::new(tool).args(["build", "--tag", &name]);
    if let Some(dockerfile) = &spec.dockerfile {
        build = build.arg("--file").arg(contents.root.join(dockerfile));
    }
    for (key, value) in &spec.build_args {
        build = build.args(["--build-arg", &format!("{key}={value}")]);
    }
    let build = build.arg(context);
    let line = |line: &str| ctx.progress.status(&format!("{tool}: {line}"));
    build
        .current_dir(contents.root)
        .cancel(ctx.cancel)
        .each_line(line)
        .run()?;

    let archive = scratch.join("dockerfile.tar");
    let save = match spec.builder {
        Builder::Buildah => Run::new(tool)
            .args(["push", &name])
            .arg(format!("oci-archive:{}:{name}", archive.display())),
        Builder::Podman => Run::new(tool)
            .args(["save", "--format", "oci-archive", "--output"])
            .arg(&archive)
            .arg(&name),
        _ => Run::new(tool)
            .args(["save", "--output"])
            .arg(&archive)
            .arg(&name),
    };
    save.cancel(ctx.cancel).run()?;
    Ok(archive)
}
