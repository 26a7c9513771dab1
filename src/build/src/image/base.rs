//! Images to build on: an OCI layout in a folder, or an archive as `docker
//! save`, `podman save`, `skopeo copy` and `ctr images export` write it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};
use serde::Deserialize;
use tempfile::TempDir;

use super::layer::Blob;
use crate::Error;
use crate::error::AtPath;

/// An image to build on.
pub(crate) struct Base {
    pub(crate) configuration: ImageConfiguration,
    /// Lowest first.
    pub(crate) layers: Vec<BaseLayer>,
    /// Where an archive was unpacked; gone when this is.
    _unpacked: Option<TempDir>,
}

/// One layer of it, as it is.
pub(crate) struct BaseLayer {
    pub(crate) blob: Blob,
    pub(crate) media_type: MediaType,
}

/// `manifest.json` of `docker save`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

impl Base {
    /// Reads the image at `path` for `arch` (as OCI calls it); an archive is
    /// unpacked below `scratch`.
    pub(crate) fn open(
        component: &str,
        path: &Path,
        arch: &str,
        scratch: &Path,
    ) -> Result<Self, Error> {
        let (dir, unpacked) = if path.is_dir() {
            (path.to_owned(), None)
        } else {
            let temp = TempDir::new_in(scratch).at("create a folder in", scratch)?;
            unpack(path, temp.path())?;
            (temp.path().to_owned(), Some(temp))
        };
        let reader = Reader {
            component,
            path,
            dir,
        };
        let (configuration, layers) = if reader.dir.join("index.json").is_file() {
            reader.layout(arch)?
        } else if reader.dir.join("manifest.json").is_file() {
            reader.saved(arch)?
        } else {
            return Err(reader.wrong(
                "expected an OCI layout (index.json) or an archive of `docker save` \
                 (manifest.json), found neither"
                    .to_owned(),
            ));
        };
        let have = configuration.architecture().to_string();
        if have != arch {
            return Err(reader.wrong(format!(
                "expected an image for {arch}, found one for {have}"
            )));
        }
        if configuration.rootfs().diff_ids().len() != layers.len() {
            return Err(reader.wrong(format!(
                "its configuration names {} layers, its manifest {}",
                configuration.rootfs().diff_ids().len(),
                layers.len()
            )));
        }
        Ok(Base {
            configuration,
            layers,
            _unpacked: unpacked,
        })
    }

    /// The names (without folders) of all files in it.
    pub(crate) fn file_names(&self) -> Result<BTreeSet<String>, Error> {
        let mut names = BTreeSet::new();
        for layer in &self.layers {
            let file = &layer.blob.file;
            let reader = decoded(file)?;
            let mut tar = tar::Archive::new(reader);
            for entry in tar.entries().at("read", file)? {
                let entry = entry.at("read", file)?;
                let path = entry.path().at("read", file)?;
                names.extend(
                    path.file_name()
                        .map(|name| name.to_string_lossy().into_owned()),
                );
            }
        }
        Ok(names)
    }
}

struct Reader<'a> {
    component: &'a str,
    path: &'a Path,
    dir: PathBuf,
}

impl Reader<'_> {
    fn wrong(&self, what: String) -> Error {
        Error::configuration(
            self.component,
            format!("base image {}: {what}", self.path.display()),
        )
    }

    fn layout(&self, arch: &str) -> Result<(ImageConfiguration, Vec<BaseLayer>), Error> {
        let index = self.dir.join("index.json");
        let mut index: ImageIndex = self.json(&index)?;
        // An index may name further ones, one for each platform.
        for _ in 0..4 {
            let of_arch = |descriptor: &&Descriptor| {
                let Some(platform) = descriptor.platform() else {
                    return true;
                };
                platform.architecture().to_string() == arch && platform.os().to_string() == "linux"
            };
            let Some(descriptor) = index.manifests().iter().find(of_arch) else {
                return Err(self.wrong(format!("it holds no image for linux/{arch}")));
            };
            let blob = self.blob(descriptor)?;
            let media = descriptor.media_type().to_string();
            if media.contains("index") || media.contains("manifest.list") {
                index = self.json(&blob.file)?;
                continue;
            }
            let manifest: ImageManifest = self.json(&blob.file)?;
            let configuration = self.json(&self.blob(manifest.config())?.file)?;
            let layers = manifest.layers().iter().map(|descriptor| {
                let media_type = self.media_type(descriptor.media_type())?;
                Ok(BaseLayer {
                    blob: self.blob(descriptor)?,
                    media_type,
                })
            });
            return Ok((configuration, layers.collect::<Result<_, Error>>()?));
        }
        Err(self.wrong("its indexes are nested too deeply".to_owned()))
    }

    fn saved(&self, arch: &str) -> Result<(ImageConfiguration, Vec<BaseLayer>), Error> {
        let images: Vec<Saved> = self.json(&self.dir.join("manifest.json"))?;
        let [image] = images.as_slice() else {
            let found = images.len();
            return Err(self.wrong(format!("expected one image in it ({arch}), found {found}")));
        };
        let configuration = self.json(&self.inside(&image.config)?)?;
        let layers = image.layers.iter().map(|name| {
            let file = self.inside(name)?;
            let gzip = starts_with(&file, &[0x1f, 0x8b])?;
            let media_type = if gzip {
                MediaType::ImageLayerGzip
            } else {
                MediaType::ImageLayer
            };
            Ok(BaseLayer {
                blob: Blob::of_file(file)?,
                media_type,
            })
        });
        Ok((configuration, layers.collect::<Result<_, Error>>()?))
    }

    /// A file that the image names; it may not name one elsewhere.
    fn inside(&self, name: &str) -> Result<PathBuf, Error> {
        let file = self.dir.join(name);
        let real = file.canonicalize().at("read", &file)?;
        let dir = self.dir.canonicalize().at("read", &self.dir)?;
        if real.starts_with(dir) {
            Ok(real)
        } else {
            Err(self.wrong(format!("`{name}` is outside of it")))
        }
    }

    /// A blob, with its digest checked: a damaged base would only fail in the
    /// cluster, and far from here.
    fn blob(&self, descriptor: &Descriptor) -> Result<Blob, Error> {
        let digest = descriptor.as_digest_sha256().ok_or_else(|| {
            self.wrong(format!(
                "expected a sha256 digest, found `{}`",
                descriptor.digest()
            ))
        })?;
        let blob = Blob::of_file(self.inside(&format!("blobs/sha256/{digest}"))?)?;
        if blob.digest == digest {
            return Ok(blob);
        }
        Err(self.wrong(format!(
            "it is damaged: blob {digest} has the digest {}",
            blob.digest
        )))
    }

    /// Docker's own names for the same formats become OCI's.
    fn media_type(&self, media_type: &MediaType) -> Result<MediaType, Error> {
        let name = media_type.to_string();
        match name.as_str() {
            "application/vnd.docker.image.rootfs.diff.tar" => Ok(MediaType::ImageLayer),
            "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(MediaType::ImageLayerGzip),
            _ if name.starts_with("application/vnd.oci.image.layer.v1.tar") => {
                Ok(media_type.clone())
            }
            _ => Err(self.wrong(format!(
                "expected layers that are tar archives, found `{name}`"
            ))),
        }
    }

    fn json<T: for<'de> Deserialize<'de>>(&self, file: &Path) -> Result<T, Error> {
        let bytes = fs::read(file).at("read", file)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let name = file.strip_prefix(&self.dir).unwrap_or(file).display();
            self.wrong(format!("cannot understand {name}: {error}"))
        })
    }
}

fn unpack(archive: &Path, dir: &Path) -> Result<(), Error> {
    let mut tar = tar::Archive::new(decoded(archive)?);
    tar.set_preserve_permissions(false);
    tar.set_preserve_mtime(false);
    // Refuses entries that would land outside of the folder.
    tar.unpack(dir).at("unpack", archive)
}

pub(crate) fn decoded(file: &Path) -> Result<Box<dyn Read>, Error> {
    let mut reader = File::open(file).at("read", file)?;
    let gzip = starts_with(file, &[0x1f, 0x8b])?;
    reader.rewind().at("read", file)?;
    let reader = std::io::BufReader::with_capacity(1 << 18, reader);
    Ok(if gzip {
        Box::new(GzDecoder::new(reader))
    } else {
        Box::new(reader)
    })
}

fn starts_with(file: &Path, magic: &[u8]) -> Result<bool, Error> {
    let mut start = Vec::new();
    let reader = File::open(file).at("read", file)?;
    reader
        .take(magic.len() as u64)
        .read_to_end(&mut start)
        .at("read", file)?;
    Ok(start == magic)
}
