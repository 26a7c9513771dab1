//! The composition of `podcov.toml`: toolchains, what was built last, the
//! manifests with the overlay on top, and the pods.

use std::path::Path;

use podcov_cluster::doctor::{self, Check, Looked};
use podcov_cluster::overlay;
use podcov_cluster::provider::{Cluster, State};
use podcov_profile::bundle::Bundle;
use podcov_profile::names::Language;

use super::program;
use crate::args::Global;
use crate::exit::{Exit, Failure, OrExit};
use crate::session::{Session, read_bundle};
use crate::steps;

/// LLVM versions whose profiles and mappings podcov reads.
const LLVM: std::ops::RangeInclusive<u32> = 14..=23;

/// Checks of `podcov doctor`.
pub fn checks(global: &Global) -> Result<Vec<Check>, Failure> {
    let scratch = tempfile::tempdir().or_exit(Exit::Fault)?;
    let session = Session::look(global, scratch.path())?;
    let mut checks = Vec::new();
    toolchains(&session, &mut checks);
    let bundles = built(&session, &mut checks);
    match steps::cluster(&session, true) {
        Ok(cluster) => {
            volume(&session, &mut checks);
            manifests(
                &session,
                cluster.as_ref(),
                &bundles,
                scratch.path(),
                &mut checks,
            );
            pods(&session, cluster.as_ref(), &bundles, &mut checks);
        }
        Err(failure) => checks.push(Check::bad(
            "cluster",
            failure.message,
            failure
                .help
                .unwrap_or_else(|| "see `[cluster]` in podcov.toml".to_owned()),
        )),
    }
    Ok(checks)
}

/// Whether what the compilers write can be read.
fn toolchains(session: &Session, checks: &mut Vec<Check>) {
    for component in &session.config.file.components {
        let subject = format!("component {}", component.name.get_ref());
        let built = steps::build_component(session, component);
        match component.language {
            Language::Rust => match podcov_build::llvm_major(&built, &session.cancel) {
                Ok(Some(major)) if LLVM.contains(&major) => checks.push(Check::good(
                    &subject,
                    format!("its rustc has LLVM {major}, whose profiles podcov reads"),
                )),
                Ok(Some(major)) => checks.push(Check::bad(
                    &subject,
                    format!("its rustc has LLVM {major}; podcov reads profiles of LLVM 14 to 23"),
                    "pin another toolchain in rust-toolchain.toml, or update podcov",
                )),
                Ok(None) => checks.push(Check::warning(
                    &subject,
                    "its rustc does not say which LLVM it has",
                    "`rustc -vV` in its folder should print `LLVM version`",
                )),
                Err(error) => checks.push(Check::bad(
                    &subject,
                    error.to_string(),
                    "install Rust with rustup; rustc has to be on PATH",
                )),
            },
            Language::Go => match podcov_merge::tools::find_go() {
                Ok(_) => checks.push(Check::good(&subject, "go is here")),
                Err(error) => {
                    checks.push(Check::bad(
                        &subject,
                        error.to_string(),
                        "install Go, 1.25 or newer",
                    ));
                }
            },
        }
    }
}

/// Programs and images of the newest run.
fn built(session: &Session, checks: &mut Vec<Check>) -> Vec<Bundle> {
    let mut bundles = Vec::new();
    for component in &session.config.file.components {
        let name = component.name.get_ref();
        let subject = format!("component {name}");
        let dir = session.run.bundle().join(name);
        let bundle = match read_bundle(&dir) {
            Ok(bundle) => bundle,
            Err(failure) => {
                checks.push(Check::warning(
                    &subject,
                    format!("not built yet: {}", failure.message),
                    failure.help.unwrap_or_default(),
                ));
                continue;
            }
        };
        for binary in &bundle.binaries {
            checks.extend(
                program::path(&dir.join(&binary.path))
                    .into_iter()
                    .map(|check| Check {
                        subject: format!("{subject}, program {}", binary.name),
                        ..check
                    }),
            );
        }
        if let Some(image) = &bundle.image {
            let subject = format!("{subject}, image {}", image.reference);
            checks.extend(program::image(&subject, &dir.join(&image.archive)));
        }
        bundles.push(bundle);
    }
    bundles
}

/// The folder behind the profile volume.
fn volume(session: &Session, checks: &mut Vec<Check>) {
    use std::os::unix::fs::PermissionsExt;
    let evidence = session.run.evidence();
    let Ok(meta) = fs_err::metadata(&evidence) else {
        return;
    };
    let mode = meta.permissions().mode() & 0o1777;
    checks.push(if mode == 0o1777 {
        Check::good("profile volume", "every user may write there")
    } else {
        Check::bad(
            "profile volume",
            format!(
                "{} has mode {mode:o}, so that not every user may write there",
                evidence.display()
            ),
            format!("chmod 1777 {}", evidence.display()),
        )
    });
    if let Ok(space) = rustix::fs::statvfs(&evidence) {
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        let text = format!("{} are free", crate::ui::human_bytes(free));
        checks.push(if free < 256 << 20 {
            Check::warning(
                "profile volume",
                text,
                "make room: what cannot be written is lost",
            )
        } else {
            Check::good("profile volume", text)
        });
    }
}

/// The manifests, with the overlay on top: in a scratch folder.
fn manifests(
    session: &Session,
    cluster: &dyn Cluster,
    bundles: &[Bundle],
    scratch: &Path,
    checks: &mut Vec<Check>,
) {
    const SUBJECT: &str = "manifests";
    let kubectl = match cluster.kubectl() {
        Ok(kubectl) => kubectl,
        Err(error) => {
            let remedy = "`podcov cluster up` builds what is missing";
            return checks.push(Check::warning(
                SUBJECT,
                format!("cannot be rendered: {error}"),
                remedy,
            ));
        }
    };
    let rendered = steps::overlay_of(session, cluster, bundles).and_then(|(base, spec)| {
        let out = scratch.join("overlay");
        let quiet = podcov_process::Silent;
        overlay::render(&base, &spec, &kubectl, &out, &quiet, &session.cancel).or_exit(Exit::Usage)
    });
    let checked = rendered.and_then(|rendered| {
        steps::check_programs(session, bundles, &rendered)?;
        Ok(rendered)
    });
    match checked {
        Ok(rendered) => {
            for patched in &rendered.patched {
                let subject = format!(
                    "{}/{} container {}",
                    patched.kind, patched.name, patched.container
                );
                checks.push(Check::good(&subject, format!("runs {}", patched.component)));
            }
            for warning in rendered.warnings {
                checks.push(Check::warning(SUBJECT, warning, ""));
            }
        }
        Err(failure) => checks.push(Check::bad(
            SUBJECT,
            failure.message,
            failure.help.unwrap_or_default(),
        )),
    }
}

/// The pods, where the cluster is up.
fn pods(session: &Session, cluster: &dyn Cluster, bundles: &[Bundle], checks: &mut Vec<Check>) {
    match cluster.status() {
        Ok(status) if status.state == State::Ready => {}
        Ok(status) => {
            let text = format!(
                "cluster `{}` is {}, so no pod was looked at",
                cluster.name(),
                status.state
            );
            return checks.push(Check::good("cluster", text));
        }
        Err(error) => {
            let remedy = "see `[cluster]` in podcov.toml";
            return checks.push(Check::warning("cluster", error.to_string(), remedy));
        }
    }
    let images = bundles.iter().filter_map(|bundle| bundle.image.as_ref());
    let images: Vec<String> = images
        .map(|image| steps::image_name(session, image))
        .collect();
    let evidence = session.run.evidence();
    let looked = Looked {
        watched: &steps::watched(session, bundles),
        profile_images: &images,
        evidence: evidence.is_dir().then_some(evidence.as_path()),
    };
    let target = steps::target(session, cluster);
    match doctor::pods(&target, looked, &session.cancel) {
        Ok(found) if found.is_empty() => {
            checks.push(Check::good("cluster", "no pod of the composition is there"));
        }
        Ok(found) => checks.extend(found),
        Err(error) => checks.push(Check::warning(
            "cluster",
            error.to_string(),
            "the kubeconfig needs the right to list pods of all namespaces",
        )),
    }
}
