//! The control groups below which all pods of a cluster live: one folder in
//! each hierarchy, version 1 and 2, by a name that only this cluster has.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::provider::Error;

/// How long the kernel may take to notice that a group is empty.
const EMPTIES: Duration = Duration::from_secs(10);

/// Makes the group in every hierarchy. Kubelet wants to find its root there.
pub(crate) fn make(name: &str) -> Result<(), Error> {
    let roots = roots()?;
    if roots.is_empty() {
        return Err(Error::Other(
            "expected control groups (cgroup or cgroup2) to be mounted, found none; \
             mount them on /sys/fs/cgroup"
                .into(),
        ));
    }
    for root in roots {
        let group = root.join(name);
        fs::create_dir_all(&group).map_err(Error::io("make the control group", &group))?;
        // A version 1 cpuset takes no process until it has processors and memory.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let (from, to) = (root.join(file), group.join(file));
            if from.exists() && fs::read_to_string(&to).is_ok_and(|text| text.trim().is_empty()) {
                fs::copy(&from, &to).map_err(Error::io("fill", &to))?;
            }
        }
    }
    Ok(())
}

/// Removes the group with all below it. Its processes have to be gone.
pub(crate) fn remove(name: &str) -> Result<(), Error> {
    for group in roots()?
        .into_iter()
        .map(|root| root.join(name))
        .filter(|group| group.exists())
    {
        let begin = Instant::now();
        while let Err(source) = remove_tree(&group) {
            if begin.elapsed() > EMPTIES {
                return Err(Error::io("remove the control group", &group)(source));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// Groups are removed as folders, from the leaves up; the files in them go
/// with them.
fn remove_tree(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn roots() -> Result<Vec<PathBuf>, Error> {
    let path = "/proc/self/mountinfo";
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    Ok(parse_roots(&text))
}

/// Mount points of whole hierarchies, one for each.
fn parse_roots(mountinfo: &str) -> Vec<PathBuf> {
    let mut devices = std::collections::BTreeSet::new();
    mountinfo
        .lines()
        .filter_map(|line| {
            let (mount, kind) = line.split_once(" - ")?;
            let fields: Vec<&str> = mount.split(' ').collect();
            let is_group = matches!(kind.split(' ').next()?, "cgroup" | "cgroup2");
            let first = is_group && devices.insert((*fields.get(2)?).to_owned());
            fields.get(4).filter(|_| first).copied()
        })
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hierarchy_is_found_once() {
        let mountinfo = "\
31 23 0:28 / /sys/fs/cgroup rw shared:1 - tmpfs tmpfs rw
32 31 0:29 / /sys/fs/cgroup/cpu rw shared:2 - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
50 27 0:29 / /elsewhere rw - cgroup cgroup rw,cpu
";
        let expected = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/unified"].map(PathBuf::from);
        assert_eq!(parse_roots(mountinfo), expected);
    }
}
