//! Measured programs on this machine: clients that the e2e suite calls, and
//! `podcov exec`.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use podcov_process::shell_word;
use podcov_profile::bundle::Bundle;
use podcov_profile::names::Kind;

use crate::exit::{Exit, Failure, OrExit};
use crate::session::Session;

/// Writes the launcher to `dir` and gives its path.
pub fn write_launcher(dir: &Path) -> Result<PathBuf, Failure> {
    fs_err::create_dir_all(dir).or_exit(Exit::Fault)?;
    let path = dir.join(".podcov-launcher");
    write_program(&path, podcov_build::launcher_bytes())?;
    Ok(path)
}

fn write_program(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let cannot = |error| {
        Failure::new(
            Exit::Fault,
            format!("cannot write `{}`: {error}", path.display()),
        )
    };
    // A program that runs cannot be written to, but it can be replaced.
    let new = path.with_extension("new");
    fs_err::write(&new, bytes).map_err(cannot)?;
    fs_err::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).map_err(cannot)?;
    fs_err::rename(&new, path).map_err(cannot)
}

/// What the launcher reads on a host, as the overlay sets it in pods.
pub fn launcher_env(
    run: &str,
    evidence: &Path,
    component: &str,
    pod: &str,
) -> Vec<(OsString, OsString)> {
    let namespace = podcov_cluster::collect::HOST;
    let pairs = [
        ("PODCOV_RUN", run.into()),
        ("PODCOV_VOLUME", evidence.as_os_str().to_owned()),
        ("PODCOV_COMPONENT", component.into()),
        ("PODCOV_NAMESPACE", namespace.into()),
        ("PODCOV_POD", pod.into()),
        ("PODCOV_POD_UID", run.into()),
        ("PODCOV_CONTAINER", component.into()),
        // There is no Kubernetes to read a termination message.
        ("TERMINATION_LOG", "/dev/null".into()),
    ];
    pairs
        .map(|(key, value): (&str, OsString)| (key.into(), value))
        .into()
}

/// So that a suite says `podcov phase` to the podcov that runs it.
fn link_podcov(dir: &Path) -> Result<(), Failure> {
    let podcov = std::env::current_exe().or_exit(Exit::Fault)?;
    let new = dir.join(".podcov.new");
    let _ = fs_err::remove_file(&new);
    fs_err::os::unix::fs::symlink(podcov, &new).or_exit(Exit::Fault)?;
    fs_err::rename(&new, dir.join("podcov")).or_exit(Exit::Fault)
}

/// Puts a folder first on the suite's PATH in which each client of the
/// composition is found by its name, measured: every call is an incarnation.
/// This podcov is there, too.
pub fn put_clients_on_path(
    session: &Session,
    bundles: &[Bundle],
    env: &mut Vec<(OsString, OsString)>,
) -> Result<(), Failure> {
    let dir = session.run.path.join("bin");
    let launcher = write_launcher(&dir)?;
    link_podcov(&dir)?;
    for bundle in bundles.iter().filter(|bundle| bundle.kind == Kind::Client) {
        for binary in &bundle.binaries {
            let program = session
                .run
                .bundle()
                .join(&bundle.component)
                .join(&binary.path);
            let identity = binary.identity.as_ref().map(ToString::to_string);
            let mut script = String::from(
                "#!/bin/sh\n# Starts the measured client; see PATH of the e2e command.\n",
            );
            let run = session.run.id();
            for (key, value) in
                launcher_env(&run, &session.run.evidence(), &bundle.component, "e2e")
            {
                script += &format!(
                    "export {}={}\n",
                    key.display(),
                    shell_word(&value.to_string_lossy())
                );
            }
            script += &format!("exec {}", shell_word(&launcher.to_string_lossy()));
            if let Some(identity) = identity {
                script += &format!(" --identity {}", shell_word(&identity));
            }
            script += &format!(" -- {} \"$@\"\n", shell_word(&program.to_string_lossy()));
            write_program(&dir.join(&binary.name), script.as_bytes())?;
        }
    }
    let is_path = |(key, _): &&mut (OsString, OsString)| key == "PATH";
    let old = match env.iter_mut().find(is_path) {
        Some((_, value)) => value,
        None => {
            env.push(("PATH".into(), std::env::var_os("PATH").unwrap_or_default()));
            let last = env.len() - 1;
            &mut env[last].1
        }
    };
    let folders = std::iter::once(dir).chain(std::env::split_paths(old));
    *old = std::env::join_paths(folders).or_exit(Exit::Fault)?;
    Ok(())
}
