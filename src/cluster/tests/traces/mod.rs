//! What a machine shows of clusters: processes, mounts, links, control groups,
//! firewall rules, routes, and files in the places that nodes write to.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use podcov_process::{Run, find_program};

/// Everything that could be left behind, a line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces(BTreeSet<String>);

impl Traces {
    /// As it is now.
    pub fn take() -> Traces {
        let mut lines = BTreeSet::new();
        processes(&mut lines);
        mounts(&mut lines);
        entries(&mut lines, "link", "/sys/class/net", 1);
        // Control groups come and go with whatever else this machine does;
        // a cluster's are directly below the hierarchies.
        entries(&mut lines, "cgroup", "/sys/fs/cgroup", 2);
        for place in [
            "/run",
            "/var/lib",
            "/var/log",
            "/opt",
            "/etc/cni",
            "/var/lib/podcov/clusters",
            "/run/netns",
            "/run/containerd",
            "/var/lib/cni",
            "/var/lib/kubelet",
        ] {
            entries(&mut lines, "file", place, 1);
        }
        for family in ["iptables", "ip6tables"] {
            // Without the program nobody has made rules yet; a cluster installs it.
            let Some(program) = find_program(&format!("{family}-save")) else {
                continue;
            };
            let save = Run::new(program).run().unwrap();
            // Packet counters change by themselves, and the dump has its time.
            for line in save
                .text()
                .lines()
                .filter(|line| line.starts_with("-A") || line.starts_with(":KUBE"))
            {
                lines.insert(format!("{family} {line}"));
            }
        }
        for table in [
            "/proc/net/route",
            "/proc/sys/vm/overcommit_memory",
            "/proc/sys/kernel/panic",
            "/proc/sys/net/ipv4/ip_forward",
        ] {
            lines.extend(
                fs::read_to_string(table)
                    .unwrap()
                    .lines()
                    .map(|line| format!("{table} {line}")),
            );
        }
        Traces(lines)
    }

    /// What is there now and was not there `before`, and the reverse.
    pub fn changes_since(&self, before: &Traces) -> Vec<String> {
        let new = self.0.difference(&before.0).map(|line| format!("+ {line}"));
        let gone = before.0.difference(&self.0).map(|line| format!("- {line}"));
        new.chain(gone).collect()
    }
}

/// Those of a node: by program, whatever folder it works in. The machine's
/// other processes come and go.
fn processes(lines: &mut BTreeSet<String>) {
    // Not kubectl: other tests run it, too.
    let names = [
        "podcov-node",
        "containerd",
        "runc",
        "etcd",
        "kube-",
        "kubelet",
        "coredns",
        "pause",
        "probe",
    ];
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = command.split('\0');
        let program = Path::new(words.next().unwrap_or_default())
            .file_name()
            .unwrap_or_default();
        let program = program.to_string_lossy();
        if names
            .iter()
            .any(|name| comm.starts_with(name) || program.starts_with(name))
        {
            lines.insert(format!(
                "process {pid} {} {}",
                comm.trim(),
                command.replace('\0', " ")
            ));
        }
    }
}

fn mounts(lines: &mut BTreeSet<String>) {
    for line in fs::read_to_string("/proc/self/mountinfo").unwrap().lines() {
        lines.insert(format!(
            "mount {}",
            line.split(' ').skip(2).collect::<Vec<_>>().join(" ")
        ));
    }
}

fn entries(lines: &mut BTreeSet<String>, what: &str, folder: &str, depth: usize) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        lines.insert(format!("{what} {}", path.display()));
        if depth > 1 && path.is_dir() {
            entries(lines, what, &path.display().to_string(), depth - 1);
        }
    }
}
