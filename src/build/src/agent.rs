//! The image of the agent: podcov's own program for the cluster.

use std::path::{Path, PathBuf};

use oci_spec::image::Config;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::component::Context;
use crate::error::AtPath;
use crate::image::{self, Layer, Reference, Source};
use crate::keep::hex;
use crate::{Error, agent_bytes};

/// Where the program is in the image.
const PROGRAM: &str = "/podcov-agent";
/// A user that owns nothing.
const USER: &str = "65532:65532";

/// An image archive that can be loaded as those of components are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentImage {
    /// What manifests call it. The tag changes with every byte of the program,
    /// so a cluster that is kept never starts an older one.
    pub reference: String,
    /// Digest of its manifest, `sha256:…`.
    pub digest: String,
    /// The archive.
    pub archive: PathBuf,
}

/// The name of the agent's image.
fn agent_reference() -> String {
    let digest = hex(&Sha256::digest(agent_bytes()));
    format!(
        "localhost/podcov-agent:{}-{}",
        env!("CARGO_PKG_VERSION"),
        &digest[..12]
    )
}

/// Writes the agent's image to `dir`, which is created. It holds the program
/// and nothing else; its entry point takes the subcommand as argument.
pub fn write_agent_image(dir: &Path, ctx: &Context) -> Result<AgentImage, Error> {
    std::fs::create_dir_all(dir).at("create", dir)?;
    let reference = agent_reference();
    let archive = dir.join("agent.tar");
    let scratch = TempDir::new_in(dir).at("create a folder in", dir)?;
    let mut layer = Layer::default();
    layer.file(PROGRAM, 0o755, Source::Bytes(agent_bytes().into()));
    let mut config = Config::default();
    config.set_entrypoint(Some(vec![PROGRAM.to_owned()]));
    config.set_user(Some(USER.to_owned()));
    config.set_working_dir(Some("/".to_owned()));
    let machine = image::machine(std::env::consts::ARCH);
    let partial = scratch.path().join("archive");
    let digest = image::write(
        &Reference::exactly(&reference),
        image::configuration(config, machine, None),
        None,
        &[("podcov's agent", layer)],
        &partial,
        scratch.path(),
        ctx,
    )?;
    std::fs::rename(&partial, &archive).at("rename", &partial)?;
    Ok(AgentImage {
        reference,
        digest,
        archive,
    })
}
