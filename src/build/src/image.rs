//! Images without a daemon.
//!
//! The types are those of the `oci-spec` crate; the writing is here. What an
//! image is made of is planned first and hashed, so that an image whose parts
//! have not changed is taken from the cache, and one that has is the same
//! bytes on every machine with the same inputs.

mod archive;
pub(crate) mod base;
mod dockerfile;
mod layer;
mod libraries;
mod reference;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use oci_spec::image::{
    Config, HistoryBuilder, ImageConfiguration, ImageConfigurationBuilder, MediaType, Os,
};
use podcov_profile::{Identity, bundle, elf};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::component::Context;
use crate::error::AtPath;
use crate::keep::hex;
use crate::{Error, launcher_bytes};
use archive::Archive;
pub(crate) use archive::machine;
use base::Base;
pub(crate) use layer::{Layer, Source};
pub(crate) use reference::Reference;

/// The archive's name in a bundle's folder.
const ARCHIVE: &str = "image.tar";
/// Raised when the same inputs give another image.
const FORMAT: &str = "podcov image 1";
/// Where the launcher is.
pub(crate) const LAUNCHER: &str = "/podcov/launcher";
/// Where the profile volume is mounted.
const VOLUME: &str = "/podcov/profile";
/// A user that owns nothing.
const USER: &str = "65532:65532";
/// For the parts of an image that say when they were made.
const EPOCH: &str = "1970-01-01T00:00:00Z";

const PASSWD: &str = "root:x:0:0:root:/root:/sbin/nologin\n\
                      nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnonroot:x:65532:\n";
/// Where distributions keep the certificates of public authorities.
const CERTIFICATES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];

/// What the image of a component is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSpec {
    /// What production calls it; ours is called `NAME-profile:TAG`.
    pub production: String,
    /// What makes it, or its lower part.
    pub builder: Builder,
    /// What it stands on: a folder with an OCI layout, or an archive.
    /// Default: nothing. Only with [`Builder::Podcov`].
    pub base: Option<PathBuf>,
    /// The Dockerfile for the other builders. Default: theirs.
    pub dockerfile: Option<PathBuf>,
    /// The build context for the other builders. Default: the component's root.
    pub context: Option<PathBuf>,
    /// Build arguments for the other builders.
    pub build_args: Vec<(String, String)>,
    /// The user. Default: the base's, or `65532:65532` without a base.
    pub user: Option<String>,
    /// Where the program is in the image, for pods whose `command` names a
    /// path. Default: `/app/<its name>`. Only with [`Builder::Podcov`].
    pub program: Option<String>,
    /// More files: from this machine to an absolute path in the image.
    pub files: Vec<(PathBuf, String)>,
    /// Arguments that a pod's `args` take the place of, as CMD's.
    pub args: Vec<String>,
    /// Environment, on top of the base's.
    pub env: Vec<(String, String)>,
    /// Where the program works. Default: the base's, or `/`.
    pub workdir: Option<String>,
}

impl ImageSpec {
    /// An image that holds the program and nothing else.
    pub fn new(production: impl Into<String>) -> Self {
        ImageSpec {
            production: production.into(),
            builder: Builder::default(),
            base: None,
            dockerfile: None,
            context: None,
            build_args: Vec::new(),
            user: None,
            program: None,
            files: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            workdir: None,
        }
    }

    /// The name of the image that is measured.
    pub fn reference(&self, component: &str) -> Result<String, Error> {
        Ok(self.measured(component)?.to_string())
    }

    fn measured(&self, component: &str) -> Result<Reference, Error> {
        Reference::measured(&self.production).map_err(|what| Error::configuration(component, what))
    }
}

/// What makes an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Builder {
    /// podcov itself.
    #[default]
    Podcov,
    /// `docker build` of a Dockerfile; podcov adds the launcher.
    Docker,
    /// The same with `podman build`.
    Podman,
    /// The same with `buildah build`.
    Buildah,
}

/// What goes into an image.
#[derive(Clone, Copy, Debug)]
pub struct Contents<'a> {
    /// The component's name.
    pub component: &'a str,
    /// The folder that paths in the specification are relative to.
    pub root: &'a Path,
    /// The instrumented program. `None` where the base or the Dockerfile has
    /// it already: then the image's own entry point is started by the launcher.
    pub program: Option<&'a Path>,
    /// What its evidence will be recognised by, if that is known by now.
    pub identity: Option<&'a Identity>,
    /// What LLVM's profiles are called, where it is not the launcher's default
    /// (which is for counters that live in a file).
    pub profile_name: Option<&'a str>,
    /// Arguments that belong to the program as it was built, and stay when a
    /// pod sets its own: those of a test that calls main.
    pub arguments: &'a [String],
}

/// Writes the archive of an image to `dir/image.tar`.
///
/// It is the one of the last time if nothing it is made of has changed.
pub fn write_image(
    spec: &ImageSpec,
    contents: &Contents,
    dir: &Path,
    ctx: &Context,
) -> Result<bundle::Image, Error> {
    let component = contents.component;
    let reference = spec.measured(component)?;
    ctx.progress.status(&format!("image {reference}"));
    let cache = ctx.cache.join("images").join(component);
    fs::create_dir_all(&cache).at("create", &cache)?;
    let scratch = TempDir::new_in(&cache).at("create a folder in", &cache)?;

    let program = contents
        .program
        .map(|path| Program::read(component, path, spec.program.as_deref()))
        .transpose()?;
    let arch = program
        .as_ref()
        .map_or(std::env::consts::ARCH, |program| &program.elf.arch);
    let machine = machine(arch);
    let base = match spec.builder {
        Builder::Podcov => spec.base.as_ref().map(|base| contents.root.join(base)),
        _ => Some(dockerfile::build(spec, contents, scratch.path(), ctx)?),
    };
    let base = base
        .map(|path| Base::open(component, &path, &machine.to_string(), scratch.path()))
        .transpose()?;
    ctx.cancel.check()?;

    let layers = plan(spec, contents, program.as_ref(), base.as_ref(), ctx)?;
    let config = config(spec, contents, program.as_ref(), base.as_ref())?;
    let entrypoint = config.entrypoint().clone().unwrap_or_default();

    // Everything that decides about a byte of the archive.
    let mut hasher = Sha256::new();
    hasher.update(format!("{FORMAT}\n{}\n{machine}\n", reference.full()));
    let mut settings = serde_json::to_value(&config)
        .map_err(|error| Error::configuration(component, error.to_string()))?;
    settings.sort_all_objects();
    hasher.update(settings.to_string());
    for layer in base.iter().flat_map(|base| &base.layers) {
        hasher.update(format!("\nbase {}\n", layer.blob.digest));
    }
    for (_, layer) in &layers {
        ctx.cancel.check()?;
        layer.fingerprint(&mut hasher)?;
    }
    let key = hex(&hasher.finalize());
    let kept = cache.join(format!("{key}.tar"));
    let kept_digest = cache.join(format!("{key}.digest"));

    let digest = match fs::read_to_string(&kept_digest) {
        Ok(digest) if kept.is_file() => {
            ctx.progress.status(&format!("image {reference}: reused"));
            digest
        }
        _ => {
            ctx.progress.status(&format!("image {reference}: writing"));
            let partial = scratch.path().join("archive");
            let configuration = configuration(config, machine, base.as_ref());
            let digest = write(
                &reference,
                configuration,
                base,
                &layers,
                &partial,
                scratch.path(),
                ctx,
            )?;
            remove_others(&cache, scratch.path());
            fs::rename(&partial, &kept).at("rename", &partial)?;
            fs::write(&kept_digest, &digest).at("write", &kept_digest)?;
            digest
        }
    };
    let archive = dir.join(ARCHIVE);
    let _ = fs::remove_file(&archive);
    // One that is kept is never written to again, so one file can be both.
    if fs::hard_link(&kept, &archive).is_err() {
        fs::copy(&kept, &archive).at("copy", &kept)?;
    }
    Ok(bundle::Image {
        production: spec.production.clone(),
        reference: reference.to_string(),
        digest,
        archive: ARCHIVE.to_owned(),
        entrypoint,
    })
}

struct Program<'a> {
    path: &'a Path,
    name: String,
    /// Its path in the image.
    place: String,
    elf: elf::Program,
}

impl<'a> Program<'a> {
    fn read(component: &str, path: &'a Path, place: Option<&str>) -> Result<Self, Error> {
        let bytes = fs::read(path).at("read", path)?;
        let elf = elf::read(&bytes).map_err(|error| Error::program(path, error.to_string()))?;
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let name =
            name.ok_or_else(|| Error::configuration(component, "the program has no name"))?;
        let place = match place {
            None => format!("/app/{name}"),
            Some(place) if !place.starts_with('/') || place.ends_with('/') => {
                let what =
                    format!("expected the program's full path in the image, found `{place}`");
                return Err(Error::configuration(component, what));
            }
            Some(place) => place.to_owned(),
        };
        Ok(Program {
            path,
            name,
            place,
            elf,
        })
    }
}

/// The layers, those that change least first, each with what it is.
fn plan(
    spec: &ImageSpec,
    contents: &Contents,
    program: Option<&Program>,
    base: Option<&Base>,
    ctx: &Context,
) -> Result<Vec<(&'static str, Layer)>, Error> {
    let mut system = Layer::default();
    if base.is_none() {
        system.dir("/tmp", 0o1777, 0);
        system.dir("/home/nonroot", 0o755, 65532);
        system.file("/etc/passwd", 0o644, Source::Bytes(PASSWD.into()));
        system.file("/etc/group", 0o644, Source::Bytes(GROUP.into()));
        match CERTIFICATES.iter().find(|path| Path::new(path).is_file()) {
            Some(path) => system.file(CERTIFICATES[0], 0o644, Source::Path(path.into())),
            None => ctx.progress.note(&format!(
                "image of {}: no CA certificates on this machine ({}), so the program cannot \
                 check public servers; install the package ca-certificates",
                contents.component,
                CERTIFICATES.join(", ")
            )),
        }
        system.add_parents();
    }

    let mut launcher = Layer::default();
    launcher.dir("/podcov", 0o755, 0);
    launcher.dir(VOLUME, 0o1777, 0);
    launcher.file(LAUNCHER, 0o755, Source::Bytes(launcher_bytes().into()));

    let mut libraries = Layer::default();
    let mut app = Layer::default();
    if let Some(program) = program {
        let needed = libraries::needed_by(&program.elf, Path::new("/"))
            .map_err(|what| Error::program(program.path, what))?;
        let names = match base {
            Some(base) if !needed.is_empty() => base.file_names()?,
            _ => Default::default(),
        };
        for (path, file) in needed {
            let name = path.rsplit('/').next().unwrap_or_default();
            // What a base brings fits to itself; only what it lacks is added.
            if !names.contains(name) {
                libraries.file(&path, 0o755, Source::Path(file));
            }
        }
        app.dir("/app", 0o755, 0);
        app.file(&program.place, 0o755, Source::Path(program.path.to_owned()));
    }
    for (from, to) in &spec.files {
        add_file(&mut app, contents, from, to)?;
    }
    if base.is_none() {
        libraries.add_parents();
        app.add_parents();
    }
    let all = [
        ("users, folders and certificates", system),
        ("podcov's launcher", launcher),
        ("shared libraries", libraries),
        ("the instrumented program", app),
    ];
    Ok(all
        .into_iter()
        .filter(|(_, layer)| !layer.is_empty())
        .collect())
}

/// Adds a file, or a folder with all that is in it.
fn add_file(layer: &mut Layer, contents: &Contents, from: &Path, to: &str) -> Result<(), Error> {
    let from = contents.root.join(from);
    let whole = to.starts_with('/') && !to.split('/').any(|part| part == "..") && to.len() > 1;
    if !whole {
        let what = format!(
            "expected an absolute path in the image for {}, found `{to}`",
            from.display()
        );
        return Err(Error::configuration(contents.component, what));
    }
    for entry in walkdir::WalkDir::new(&from).follow_links(true) {
        let entry = entry.map_err(std::io::Error::from).at("read", &from)?;
        let below = entry.path().strip_prefix(&from).unwrap_or(Path::new(""));
        let to = match (below.as_os_str().is_empty(), to.ends_with('/')) {
            (false, _) => format!("{}/{}", to.trim_end_matches('/'), below.display()),
            // As `cp` and COPY have it: into the folder.
            (true, true) if entry.file_type().is_file() => {
                format!("{to}{}", entry.file_name().to_string_lossy())
            }
            (true, _) => to.to_owned(),
        };
        if entry.file_type().is_dir() {
            layer.dir(&to, 0o755, 0);
        } else {
            use std::os::unix::fs::PermissionsExt;
            let meta = entry
                .metadata()
                .map_err(std::io::Error::from)
                .at("read", entry.path())?;
            let executable = meta.permissions().mode() & 0o111 != 0;
            let mode = if executable { 0o755 } else { 0o644 };
            layer.file(&to, mode, Source::Path(entry.path().to_owned()));
        }
    }
    Ok(())
}

/// How a container of the image is started.
fn config(
    spec: &ImageSpec,
    contents: &Contents,
    program: Option<&Program>,
    base: Option<&Base>,
) -> Result<Config, Error> {
    let mut config = base
        .and_then(|base| base.configuration.config().clone())
        .unwrap_or_default();
    let theirs = |words: &Option<Vec<String>>| words.clone().unwrap_or_default();
    let (mut entrypoint, mut cmd) = (theirs(config.entrypoint()), theirs(config.cmd()));
    // A base that is measured already is not started by two launchers.
    if entrypoint.first().is_some_and(|word| word == LAUNCHER) {
        let own = entrypoint
            .iter()
            .position(|word| word == "--")
            .map_or(0, |at| at + 1);
        entrypoint.drain(..own);
    }
    if let Some(program) = program {
        // A base that runs the same program (production's own image) keeps its
        // arguments; what any other base runs has nothing to do with ours.
        let same = |words: &[String]| {
            words
                .first()
                .is_some_and(|word| word.rsplit('/').next() == Some(&program.name))
        };
        if same(&entrypoint) {
            entrypoint[0].clone_from(&program.place);
        } else {
            let rest = if entrypoint.is_empty() && same(&cmd) {
                cmd.split_off(1)
            } else {
                vec![]
            };
            entrypoint = vec![program.place.clone()];
            cmd = rest;
        }
    } else if entrypoint.is_empty() && cmd.is_empty() {
        let what = format!(
            "image {}: no program was given, and its base starts none (no ENTRYPOINT, no CMD)",
            spec.production
        );
        return Err(Error::configuration(contents.component, what));
    }
    let mut words = vec![
        LAUNCHER.to_owned(),
        "--component".to_owned(),
        contents.component.to_owned(),
    ];
    if let Some(identity) = contents.identity {
        words.extend(["--identity".to_owned(), identity.to_string()]);
    }
    if let Some(name) = contents.profile_name {
        words.extend(["--profile-name".to_owned(), name.to_owned()]);
    }
    words.push("--".to_owned());
    words.append(&mut entrypoint);
    words.extend(contents.arguments.iter().cloned());
    config.set_entrypoint(Some(words));
    if !spec.args.is_empty() {
        cmd.clone_from(&spec.args);
    }
    config.set_cmd(Some(cmd).filter(|cmd| !cmd.is_empty()));

    let mut env = theirs(config.env());
    let path = "/app:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let default = base.is_none().then(|| ("PATH".to_owned(), path.to_owned()));
    for (name, value) in default.iter().chain(&spec.env) {
        env.retain(|line| line.split('=').next() != Some(name));
        env.push(format!("{name}={value}"));
    }
    config.set_env(Some(env));
    if let Some(user) = spec
        .user
        .clone()
        .or_else(|| base.is_none().then(|| USER.to_owned()))
    {
        config.set_user(Some(user));
    }
    if let Some(workdir) = spec
        .workdir
        .clone()
        .or_else(|| base.is_none().then(|| "/".to_owned()))
    {
        config.set_working_dir(Some(workdir));
    }
    let mut labels: HashMap<String, String> = config.labels().clone().unwrap_or_default();
    let identity = contents.identity.map(ToString::to_string);
    let ours = BTreeMap::from([
        ("dev.podcov.instrumented", Some("true".to_owned())),
        ("dev.podcov.component", Some(contents.component.to_owned())),
        ("dev.podcov.production", Some(spec.production.clone())),
        ("dev.podcov.identity", identity),
    ]);
    labels.extend(
        ours.into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?))),
    );
    config.set_labels(Some(labels));
    Ok(config)
}

/// Everything about an image but its layers.
pub(crate) fn configuration(
    config: Config,
    machine: oci_spec::image::Arch,
    base: Option<&Base>,
) -> ImageConfiguration {
    let mut configuration = match base {
        Some(base) => base.configuration.clone(),
        None => ImageConfigurationBuilder::default()
            .created(EPOCH)
            .architecture(machine)
            .os(Os::Linux)
            .history(Vec::new())
            .build()
            .unwrap_or_default(),
    };
    configuration.set_config(Some(config));
    configuration
}

/// Writes the archive of an image to the file `to`; gives its digest.
pub(crate) fn write(
    reference: &Reference,
    mut configuration: ImageConfiguration,
    base: Option<Base>,
    layers: &[(&'static str, Layer)],
    to: &Path,
    scratch: &Path,
    ctx: &Context,
) -> Result<String, Error> {
    let mut all = Vec::new();
    for layer in base.iter().flat_map(|base| &base.layers) {
        all.push((layer.blob.clone(), layer.media_type.clone()));
    }
    for (index, (what, layer)) in layers.iter().enumerate() {
        let blob = layer.write(&scratch.join(format!("layer-{index}")), ctx.cancel)?;
        // Not compressed: it is read once, on this machine, and its bytes do
        // not depend on the version of a compressor.
        configuration
            .rootfs_mut()
            .diff_ids_mut()
            .push(format!("sha256:{}", blob.digest));
        // A base without a history stays without: half of one is an error.
        if let Some(history) = configuration.history_mut() {
            let entry = HistoryBuilder::default()
                .created(EPOCH)
                .created_by(format!("podcov: {what}"));
            history.extend(entry.build().ok());
        }
        all.push((blob, MediaType::ImageLayer));
    }
    let archive = Archive {
        reference,
        configuration: &configuration,
        layers: all,
    };
    archive.write(to, scratch, ctx.cancel)
}

/// Only the newest archive of a component is kept.
fn remove_others(cache: &Path, scratch: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        if entry.path() != scratch && entry.path().is_file() {
            let _ = fs::remove_file(entry.path());
        }
    }
}
