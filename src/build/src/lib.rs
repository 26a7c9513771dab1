//! Instrumented builds of components, and what they leave for a report.
#![forbid(unsafe_code)]

mod agent;
mod component;
mod env;
mod error;
mod foreign;
mod git;
mod go;
mod image;
mod keep;
mod lock;
mod look;
mod program;
mod rust;
mod wrapper;

use podcov_profile::bundle::{Bundle, Mode};
use podcov_profile::names::Language;

pub use agent::{AgentImage, write_agent_image};
pub use component::{Component, Context, GoBuild};
pub use env::{EnvOptions, env};
pub use error::Error;
pub use foreign::{Foreign, bundle};
pub use image::{Builder, Contents, ImageSpec, write_image};
pub use look::{Image, Looked, look};
pub use rust::llvm_major;
pub use wrapper::{is_rustc_wrapper, rustc_wrapper};

/// The launcher: a static program for this machine.
pub fn launcher_bytes() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/podcov-launcher"))
}

/// The agent: a static program for this machine, which runs in the cluster.
pub fn agent_bytes() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/podcov-agent"))
}

/// Builds a component instrumented, learns its identity and writes its
/// bundle, with an image if one is asked for.
pub fn build(component: &Component, ctx: &Context) -> Result<Bundle, Error> {
    ctx.cancel.check()?;
    keep::check_name(&component.name)?;
    match component.language {
        Language::Rust => rust::build(component, ctx),
        Language::Go => go::build(component, ctx),
    }
}

/// The image, if one is asked for; then the bundle is complete.
fn finish(
    component: &Component,
    keep: keep::Keep,
    mut bundle: Bundle,
    ctx: &Context,
) -> Result<Bundle, Error> {
    if let (Some(spec), Some(binary)) = (&component.image, bundle.binaries.first()) {
        let llvm_at_exit = bundle.language == Language::Rust && binary.mode == Mode::AtExit;
        let contents = Contents {
            component: &component.name,
            root: &component.root,
            program: Some(&keep.dir().join(&binary.path)),
            identity: binary.identity.as_ref(),
            // Without relocation, `%c` loses even what a clean exit would write.
            profile_name: llvm_at_exit.then_some("%m.profraw"),
            arguments: &component.go_build.arguments(),
        };
        bundle.image = Some(write_image(spec, &contents, keep.dir(), ctx)?);
    }
    keep.finish(&bundle)?;
    Ok(bundle)
}
