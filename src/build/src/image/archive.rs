//! The archive: an OCI layout in a tar, with Docker's `manifest.json` beside
//! it, so that containerd, kind, podman and every docker load it.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use oci_spec::image::{
    Arch, Descriptor, DescriptorBuilder, ImageConfiguration, ImageIndex, ImageIndexBuilder,
    ImageManifestBuilder, MediaType, Os, PlatformBuilder, SCHEMA_VERSION, Sha256Digest,
};
use podcov_process::Cancel;
use serde::Serialize;
use serde_json::json;
use tar::EntryType;

use super::layer::{Blob, header};
use super::reference::Reference;
use crate::Error;
use crate::error::AtPath;

/// What goes into the archive.
pub(crate) struct Archive<'a> {
    pub(crate) reference: &'a Reference,
    pub(crate) configuration: &'a ImageConfiguration,
    /// Lowest first.
    pub(crate) layers: Vec<(Blob, MediaType)>,
}

impl Archive<'_> {
    /// Writes it to the file `to`, with small parts in `scratch` on the way;
    /// gives the digest of the manifest.
    pub(crate) fn write(self, to: &Path, scratch: &Path, cancel: &Cancel) -> Result<String, Error> {
        let configuration = Blob::of_bytes(&canonical(self.configuration)?, scratch)?;
        let layers = self
            .layers
            .iter()
            .map(|(blob, media_type)| descriptor(blob, media_type));
        let manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(descriptor(&configuration, &MediaType::ImageConfig)?)
            .layers(layers.collect::<Result<Vec<_>, _>>()?)
            .build()
            .map_err(unlikely)?;
        let manifest = Blob::of_bytes(&canonical(&manifest)?, scratch)?;
        let index = self.index(&manifest)?;

        let mut blobs = BTreeMap::new();
        let place = |blob: &Blob| format!("blobs/sha256/{}", blob.digest);
        let saved = json!([{
            "Config": place(&configuration),
            "Layers": self.layers.iter().map(|(blob, _)| place(blob)).collect::<Vec<_>>(),
            "RepoTags": [self.reference.to_string()],
        }]);
        let digest = format!("sha256:{}", manifest.digest);
        for blob in self
            .layers
            .into_iter()
            .map(|(blob, _)| blob)
            .chain([configuration, manifest])
        {
            blobs.insert(place(&blob), blob);
        }

        let file = File::create(to).at("write", to)?;
        let mut tar = tar::Builder::new(BufWriter::with_capacity(1 << 18, file));
        for dir in ["blobs/", "blobs/sha256/"] {
            let mut header = header(EntryType::Directory, 0o755, 0);
            tar.append_data(&mut header, dir, std::io::empty())
                .at("write", to)?;
        }
        for (name, blob) in &blobs {
            cancel.check()?;
            let from = File::open(&blob.file).at("read", &blob.file)?;
            let mut header = header(EntryType::Regular, 0o644, blob.size);
            tar.append_data(&mut header, name, from).at("write", to)?;
        }
        for (name, value) in [
            ("index.json", canonical(&index)?),
            ("manifest.json", canonical(&saved)?),
            (
                "oci-layout",
                canonical(&json!({ "imageLayoutVersion": "1.0.0" }))?,
            ),
        ] {
            let mut header = header(EntryType::Regular, 0o644, value.len() as u64);
            tar.append_data(&mut header, name, value.as_slice())
                .at("write", to)?;
        }
        tar.into_inner()
            .and_then(|mut writer| writer.flush())
            .at("write", to)?;
        Ok(digest)
    }

    fn index(&self, manifest: &Blob) -> Result<ImageIndex, Error> {
        let platform = PlatformBuilder::default()
            .architecture(self.configuration.architecture().clone())
            .os(Os::Linux)
            .build()
            .map_err(unlikely)?;
        let mut descriptor = descriptor(manifest, &MediaType::ImageManifest)?;
        descriptor.set_platform(Some(platform));
        descriptor.set_annotations(Some(HashMap::from([
            // containerd's full name; without it `ctr images import` would
            // make one up from the tag.
            ("io.containerd.image.name".to_owned(), self.reference.full()),
            (
                "org.opencontainers.image.ref.name".to_owned(),
                self.reference.tag().to_owned(),
            ),
        ])));
        ImageIndexBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageIndex)
            .manifests([descriptor])
            .build()
            .map_err(unlikely)
    }
}

/// OCI's name of a machine.
pub(crate) fn machine(arch: &str) -> Arch {
    match arch {
        "x86_64" => Arch::Amd64,
        "aarch64" => Arch::ARM64,
        other => Arch::Other(other.to_owned()),
    }
}

fn descriptor(blob: &Blob, media_type: &MediaType) -> Result<Descriptor, Error> {
    let digest: Sha256Digest = blob.digest.parse().map_err(unlikely)?;
    DescriptorBuilder::default()
        .media_type(media_type.clone())
        .digest(digest)
        .size(blob.size)
        .build()
        .map_err(unlikely)
}

/// JSON with sorted keys: annotations and labels are hash maps in the types.
fn canonical(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let failed = |error: serde_json::Error| Error::Answer {
        tool: "serde_json",
        what: error.to_string(),
    };
    let mut value = serde_json::to_value(value).map_err(failed)?;
    value.sort_all_objects();
    serde_json::to_vec(&value).map_err(failed)
}

fn unlikely(error: impl std::fmt::Display) -> Error {
    Error::Answer {
        tool: "oci-spec",
        what: error.to_string(),
    }
}
