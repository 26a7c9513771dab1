//! Instrumented builds of components, and what they leave for a report.
#![forbid(unsafe_code)]

mod component;
mod env;
mod error;
mod foreign;
mod git;
mod go;
mod image;
mod keep;
mod lock;
mod program;
mod rust;
mod wrapper;

use podcov_profile::bundle::Bundle;
use podcov_profile::names::Language;

pub use component::{Component, Context, GoBuild};
pub use env::{EnvOptions, env};
pub use error::Error;
pub use foreign::{Foreign, bundle};
pub use image::{Builder, Contents, ImageSpec, write_image};
pub use wrapper::{is_rustc_wrapper, rustc_wrapper};

/// The launcher: a static program for this machine.
pub fn launcher_bytes() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/podcov-launcher"))
}

/// Builds a component instrumented, learns its identity and writes its
/// bundle, with an image if one is asked for.
pub fn build(component: &Component, ctx: &Context) -> Result<Bundle, Error> {
    ctx.cancel.check()?;
    match component.language {
        Language::Rust => rust::build(component, ctx),
        Language::Go => go::build(component, ctx),
    }
}

/// The image, if one is asked for; then the bundle is complete.
fn finish(
    component: &Component,
    keep: keep::Keep,
    bundle: Bundle,
    ctx: &Context,
) -> Result<Bundle, Error> {
    let _ = (component, ctx);
    keep.finish(&bundle)?;
    Ok(bundle)
}
