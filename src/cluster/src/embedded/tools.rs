//! What a node takes from the distribution: container runtime, network plugins
//! and iptables. Installed through apt where that is possible.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use podcov_process::{Cancel, Progress, Run, find_program};

use crate::provider::Error;

/// Where distributions put network plugins.
const PLUGIN_FOLDERS: &[&str] = &["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];
const PLUGINS: &[&str] = &["bridge", "host-local", "loopback", "portmap"];
/// Asked by package scripts before they start a service.
const SERVICE_POLICY: &str = "/usr/sbin/policy-rc.d";

/// Programs of the distribution that a node runs on.
#[derive(Debug)]
pub(crate) struct Tools {
    /// The container runtime.
    pub containerd: PathBuf,
    /// Its client.
    pub ctr: PathBuf,
    /// First number of the runtime's version.
    pub containerd_major: u32,
    /// Folder of the network plugins.
    pub plugins: PathBuf,
    /// Where these and the programs they call are, for PATH.
    pub folders: BTreeSet<PathBuf>,
}

/// Something a node needs: how it is found, and the package that has it.
struct Need {
    what: &'static str,
    package: &'static str,
    upstream: &'static str,
    found: fn() -> bool,
}

const NEEDS: &[Need] = &[
    Need {
        what: "containerd with its shim and ctr",
        package: "containerd",
        upstream: "https://github.com/containerd/containerd/releases",
        found: || {
            ["containerd", "containerd-shim-runc-v2", "ctr"]
                .iter()
                .all(|name| find_program(name).is_some())
        },
    },
    Need {
        what: "runc",
        package: "runc",
        upstream: "https://github.com/opencontainers/runc/releases",
        found: || find_program("runc").is_some(),
    },
    Need {
        what: "the network plugins bridge, host-local, loopback and portmap in /opt/cni/bin",
        package: "containernetworking-plugins",
        upstream: "https://github.com/containernetworking/plugins/releases",
        found: || plugin_folder().is_some(),
    },
    Need {
        what: "iptables with iptables-save and iptables-restore",
        package: "iptables",
        upstream: "https://netfilter.org/projects/iptables",
        found: || {
            ["iptables", "iptables-save", "iptables-restore"]
                .iter()
                .all(|name| find_program(name).is_some())
        },
    },
];

/// Finds the tools; installs what is missing where it can.
pub(crate) fn find(progress: &dyn Progress, cancel: &Cancel) -> Result<Tools, Error> {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !(need.found)()).collect();
    if !missing.is_empty() {
        if !can_install() {
            return Err(lacking(&missing));
        }
        install(&missing, progress, cancel)?;
        let still: Vec<&Need> = NEEDS.iter().filter(|need| !(need.found)()).collect();
        if !still.is_empty() {
            return Err(lacking(&still));
        }
    }
    let program = |name: &str| {
        find_program(name)
            .ok_or_else(|| Error::Other(format!("expected `{name}` on PATH, found none")))
    };
    let containerd = program("containerd")?;
    let limit = Duration::from_secs(10);
    let version = Run::new(&containerd)
        .arg("--version")
        .timeout(limit)
        .run()?
        .text();
    let folders = ["containerd", "containerd-shim-runc-v2", "runc", "iptables"]
        .iter()
        .filter_map(|name| Some(find_program(name)?.parent()?.to_owned()))
        .collect();
    Ok(Tools {
        folders,
        containerd_major: major(&version).ok_or_else(|| {
            Error::Other(format!(
                "expected a version from `containerd --version`, found `{version}`"
            ))
        })?,
        containerd,
        ctr: program("ctr")?,
        plugins: plugin_folder().unwrap_or_else(|| PLUGIN_FOLDERS[0].into()),
    })
}

fn plugin_folder() -> Option<PathBuf> {
    let has_all = |folder: &PathBuf| PLUGINS.iter().all(|plugin| folder.join(plugin).is_file());
    PLUGIN_FOLDERS.iter().map(PathBuf::from).find(has_all)
}

/// `containerd github.com/containerd/containerd v1.7.2 …` gives 1; Debian's
/// leaves out the v.
fn major(version: &str) -> Option<u32> {
    let number = version.split_whitespace().nth(2)?.trim_start_matches('v');
    number.split('.').next()?.parse().ok()
}

fn can_install() -> bool {
    rustix::process::geteuid().is_root()
        && Path::new("/etc/debian_version").exists()
        && find_program("apt-get").is_some()
}

fn lacking(needs: &[&Need]) -> Error {
    let line = |need: &&Need| {
        format!(
            "{}: `apt install {}` on Debian and Ubuntu, else {}",
            need.what, need.package, need.upstream
        )
    };
    Error::Missing {
        missing: needs.iter().map(line).collect(),
    }
}

fn install(needs: &[&Need], progress: &dyn Progress, cancel: &Cancel) -> Result<(), Error> {
    let packages: Vec<&str> = needs.iter().map(|need| need.package).collect();
    progress.note(&format!("installing through apt: {}", packages.join(" ")));
    // Debian's containerd would start a service that nobody asked for. An
    // administrator's own policy stays in force.
    let policy = Path::new(SERVICE_POLICY);
    let _deny = if policy.exists() {
        None
    } else {
        Some(DenyServices::new(policy)?)
    };
    let apt = || {
        Run::new("apt-get")
            .args(["-q", "-y", "-o", "DPkg::Lock::Timeout=120"])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .cancel(cancel)
            .each_line(|line| progress.status(line))
    };
    let install = || {
        apt()
            .args(["install", "--no-install-recommends"])
            .args(&packages)
            .run()
    };
    // Package lists may be there and current; fetching them takes time.
    if install().is_err() {
        cancel.check()?;
        apt().arg("update").run()?;
        install()?;
    }
    Ok(())
}

/// Keeps package scripts from starting services while it lives.
struct DenyServices(PathBuf);

impl DenyServices {
    fn new(policy: &Path) -> Result<Self, Error> {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(policy, "#!/bin/sh\nexit 101\n").map_err(Error::io("write", policy))?;
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(policy, executable)
            .map_err(Error::io("make executable", policy))?;
        Ok(DenyServices(policy.to_owned()))
    }
}

impl Drop for DenyServices {
    fn drop(&mut self) {
        // Nothing can be done about it here, and apt works all the same.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_debian_and_of_upstream_are_read() {
        let debian = "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3";
        let upstream = "containerd github.com/containerd/containerd/v2 v2.1.4 75cb2b7";
        assert_eq!(major(debian), Some(1));
        assert_eq!(major(upstream), Some(2));
        assert_eq!(major("nonsense"), None);
    }

    #[test]
    fn what_is_missing_is_told_in_one_message_with_how_to_get_it() {
        let text = lacking(&NEEDS.iter().collect::<Vec<_>>()).to_string();
        for need in NEEDS {
            assert!(
                text.contains(need.package) && text.contains(need.upstream),
                "{text}"
            );
        }
    }
}
