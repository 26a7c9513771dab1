//! Reads the archive of an image: an OCI layout in a tar
//! (<https://github.com/opencontainers/image-spec/blob/main/image-layout.md>).
//! Nothing is unpacked; the blobs are sent from where they are in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::Stream;
use oci_client::errors::OciDistributionError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::Error;

/// No manifest or index is larger; registries refuse more than this.
const LIMIT: u64 = 4 << 20;

/// A part of an archive, as the registry knows it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Blob {
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(default, rename = "mediaType")]
    media_type: String,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Blob>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Blob,
    layers: Vec<Blob>,
}

/// An image in its archive.
pub(super) struct Archive {
    pub(super) path: PathBuf,
    file: Arc<File>,
    /// Where each entry is, and how long.
    places: BTreeMap<String, (u64, u64)>,
    /// The manifest, as it is.
    pub(super) manifest: Bytes,
    pub(super) media_type: String,
    /// Of the manifest, and so of the image.
    pub(super) digest: String,
    /// Layers, then the configuration; each once.
    pub(super) blobs: Vec<Blob>,
}

impl Archive {
    pub(super) fn open(path: &Path) -> Result<Archive, Error> {
        let io = |error: std::io::Error| wrong(path, error.to_string());
        let file = File::open(path).map_err(io)?;
        let mut places = BTreeMap::new();
        let mut tar = tar::Archive::new(&file);
        for entry in tar.entries_with_seek().map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.path().map_err(io)?.to_string_lossy().into_owned();
            places.insert(name, (entry.raw_file_position(), entry.size()));
        }
        let mut archive = Archive {
            path: path.to_owned(),
            file: Arc::new(file),
            places,
            manifest: Bytes::new(),
            media_type: String::new(),
            digest: String::new(),
            blobs: Vec::new(),
        };
        let index: Index = archive.json("index.json", &archive.read("index.json")?)?;
        let [image] = index.manifests.as_slice() else {
            let found = index.manifests.len();
            return Err(wrong(
                path,
                format!("expected one image in it, found {found}"),
            ));
        };
        let place = archive.place(image)?;
        archive.manifest = archive.read(&place)?.into();
        let found = format!("sha256:{:x}", Sha256::digest(&archive.manifest));
        if found != image.digest {
            let expected = &image.digest;
            return Err(wrong(
                path,
                format!("it is damaged: expected the manifest {expected}, found {found}"),
            ));
        }
        let manifest: Manifest = archive.json(&place, &archive.manifest)?;
        let mut blobs: Vec<Blob> = Vec::new();
        for blob in manifest.layers.into_iter().chain([manifest.config]) {
            archive.place(&blob)?;
            if blobs.iter().all(|other| other.digest != blob.digest) {
                blobs.push(blob);
            }
        }
        archive.media_type = image.media_type.clone();
        archive.digest = found;
        archive.blobs = blobs;
        Ok(archive)
    }

    /// The entry of a blob, which has to be there in its size.
    fn place(&self, blob: &Blob) -> Result<String, Error> {
        let name = format!("blobs/{}", blob.digest.replacen(':', "/", 1));
        match self.places.get(&name) {
            Some((_, size)) if *size == blob.size => Ok(name),
            Some((_, size)) => Err(wrong(
                &self.path,
                format!("expected {} bytes of {name}, found {size}", blob.size),
            )),
            None => Err(wrong(
                &self.path,
                format!("expected {name} in it, found none"),
            )),
        }
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        let Some((at, size)) = self.places.get(name).copied() else {
            let what = format!("expected {name} in it, found none; it is no OCI layout");
            return Err(wrong(&self.path, what));
        };
        if size > LIMIT {
            let what = format!("expected at most {LIMIT} bytes of {name}, found {size}");
            return Err(wrong(&self.path, what));
        }
        let mut bytes = vec![0; size as usize];
        let read = self.file.read_exact_at(&mut bytes, at);
        read.map_err(|error| wrong(&self.path, error.to_string()))?;
        Ok(bytes)
    }

    fn json<T: DeserializeOwned>(&self, name: &str, bytes: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(bytes)
            .map_err(|error| wrong(&self.path, format!("cannot understand {name}: {error}")))
    }

    /// The bytes of a blob, `chunk` at a time; `sent` counts them.
    pub(super) fn stream(
        &self,
        blob: &Blob,
        chunk: usize,
        sent: Arc<AtomicU64>,
    ) -> impl Stream<Item = Result<Bytes, OciDistributionError>> + Send + 'static {
        let name = format!("blobs/{}", blob.digest.replacen(':', "/", 1));
        let (at, size) = self.places.get(&name).copied().unwrap_or_default();
        let file = Arc::clone(&self.file);
        futures::stream::try_unfold(0, move |done: u64| {
            let (file, sent) = (Arc::clone(&file), Arc::clone(&sent));
            async move {
                let left = size - done;
                if left == 0 {
                    return Ok(None);
                }
                let mut bytes = vec![0; chunk.min(usize::try_from(left).unwrap_or(chunk))];
                file.read_exact_at(&mut bytes, at + done)?;
                let done = done + bytes.len() as u64;
                sent.store(done, Ordering::Relaxed);
                Ok(Some((Bytes::from(bytes), done)))
            }
        })
    }
}

fn wrong(path: &Path, reason: String) -> Error {
    Error::Archive {
        path: path.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &str)]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut tar = tar::Builder::new(file.as_file());
        for (name, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        tar.finish().unwrap();
        drop(tar);
        file
    }

    fn error(files: &[(&str, &str)]) -> String {
        let file = archive(files);
        let error = Archive::open(file.path()).err().unwrap().to_string();
        assert!(
            error.contains(&file.path().display().to_string()),
            "{error}"
        );
        error
    }

    #[test]
    fn what_is_no_image_or_damaged_is_told_with_its_place() {
        assert!(error(&[]).contains("it is no OCI layout"));
        assert!(error(&[("index.json", "{")]).contains("cannot understand index.json"));
        assert!(error(&[("index.json", r#"{"manifests":[]}"#)]).contains("found 0"));
        let index = r#"{"manifests":[{"digest":"sha256:00","size":2,"mediaType":"m"}]}"#;
        assert!(error(&[("index.json", index)]).contains("expected blobs/sha256/00 in it"));
        let short = error(&[("index.json", index), ("blobs/sha256/00", "{")]);
        assert!(
            short.contains("expected 2 bytes of blobs/sha256/00, found 1"),
            "{short}"
        );
        let damaged = error(&[("index.json", index), ("blobs/sha256/00", "{}")]);
        assert!(damaged.contains("it is damaged"), "{damaged}");
    }
}
