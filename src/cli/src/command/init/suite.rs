//! The command that exercises the composition.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::programs::{is_kind, packages};
use crate::ui::Ui;
use podcov_process::shell_word;

/// What `[e2e]` becomes.
#[derive(Debug, Default)]
pub struct Suite {
    /// Program and arguments; none where nothing was found.
    pub command: Vec<String>,
    /// What the user should know of it.
    pub about: Vec<String>,
}

/// How many samples are applied at most.
const SAMPLES: usize = 5;

/// The repository's own suite, else one that applies its samples.
pub fn find(root: &Path, samples: &[PathBuf], ui: &Ui) -> Suite {
    let suite = rust(root, ui).or_else(|| go(root));
    let samples = try_samples(root, samples);
    match suite {
        Some((command, None)) => Suite {
            command,
            about: Vec::new(),
        },
        Some((command, Some(reason))) => {
            let mut about = vec![
                format!("Your suite runs {reason}: it would put the production image in the"),
                "place of the measured one. Give it a way to leave that out, and name it here:"
                    .into(),
                format!("command = {command:?}"),
            ];
            if samples.is_some() {
                about.push("Until then, your samples are applied and deleted:".to_owned());
            }
            Suite {
                command: samples.unwrap_or_default(),
                about,
            }
        }
        None => match samples {
            Some(command) => Suite {
                command,
                about: vec![
                    "No suite was found; this applies and deletes your samples. Put your own here."
                        .to_owned(),
                ],
            },
            None => Suite::default(),
        },
    }
}

type Found = (Vec<String>, Option<&'static str>);

fn rust(root: &Path, ui: &Ui) -> Option<Found> {
    if !root.join("Cargo.toml").is_file() {
        return None;
    }
    for package in packages(root, ui) {
        for target in package["targets"].as_array().into_iter().flatten() {
            let name = target["name"].as_str().unwrap_or_default();
            if is_kind(target, "test") && name.contains("e2e") {
                let package = package["name"].as_str().unwrap_or_default();
                let words = ["cargo", "test", "--package", package, "--test", name];
                return Some((words.map(str::to_owned).to_vec(), None));
            }
        }
    }
    None
}

fn go(root: &Path) -> Option<Found> {
    if !root.join("go.mod").is_file() {
        return None;
    }
    let folder = ["test/e2e", "tests/e2e", "e2e", "test"]
        .into_iter()
        .find(|folder| {
            let files = go_files(&root.join(folder));
            files
                .iter()
                .any(|file| file.to_string_lossy().ends_with("_test.go"))
        })?;
    let mut words = vec!["go".to_owned(), "test".to_owned()];
    let mut deploys = None;
    for file in go_files(&root.join(folder)) {
        let text = fs_err::read_to_string(&file).unwrap_or_default();
        if let Some(tag) = build_tag(&text) {
            let flag = format!("-tags={tag}");
            if !words.contains(&flag) {
                words.push(flag);
            }
        }
        let runs = [
            ("\"docker-build\"", "`make docker-build`"),
            ("\"deploy\"", "`make deploy`"),
        ];
        let run = runs
            .into_iter()
            .find(|(word, _)| text.contains("\"make\"") && text.contains(word));
        deploys = deploys.or(run.map(|(_, command)| command));
    }
    // Only one -tags counts.
    let tags: Vec<String> = words
        .iter()
        .filter_map(|w| w.strip_prefix("-tags="))
        .map(str::to_owned)
        .collect();
    words.truncate(2);
    if !tags.is_empty() {
        words.push(format!("-tags={}", tags.join(",")));
    }
    // A cluster's state is nothing that Go's cache of results knows of.
    words.extend([
        format!("./{folder}/..."),
        "-v".to_owned(),
        "-count=1".to_owned(),
    ]);
    Some((words, deploys))
}

fn go_files(folder: &Path) -> Vec<PathBuf> {
    let walk = WalkDir::new(folder)
        .max_depth(3)
        .sort_by_file_name()
        .into_iter()
        .flatten();
    walk.map(walkdir::DirEntry::into_path)
        .filter(|p| p.extension().is_some_and(|e| e == "go"))
        .collect()
}

/// The one tag that a file is built with.
fn build_tag(text: &str) -> Option<&str> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("//go:build "))?
        .trim();
    let simple = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let system = ["linux", "unix", "amd64", "ignore"].contains(&line);
    (line.chars().all(simple) && !system).then_some(line)
}

fn try_samples(root: &Path, samples: &[PathBuf]) -> Option<Vec<String>> {
    let below = |path: &PathBuf| {
        path.strip_prefix(root)
            .unwrap_or(path)
            .display()
            .to_string()
    };
    let files = match samples.iter().find(|path| path.is_dir()) {
        Some(folder) => format!("-k {}", shell_word(&below(folder))),
        None if samples.is_empty() => return None,
        None => {
            let files = samples.iter().take(SAMPLES);
            files
                .map(|path| format!("-f {}", shell_word(&below(path))))
                .collect::<Vec<_>>()
                .join(" ")
        }
    };
    let script = format!(
        "kubectl apply {files} && sleep 10 && kubectl get {files} -o yaml && kubectl delete {files} --timeout=60s"
    );
    Some(vec!["sh".to_owned(), "-c".to_owned(), script])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    #[test]
    fn a_go_suite_keeps_its_tag() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "go.mod", "module x\n");
        write(
            dir.path(),
            "test/e2e/a_test.go",
            "//go:build e2e\n\npackage e2e\n",
        );
        write(
            dir.path(),
            "test/e2e/b_test.go",
            "//go:build linux\n\npackage e2e\n",
        );
        let suite = find(dir.path(), &[], &Ui::new(true));
        assert_eq!(
            suite.command.join(" "),
            "go test -tags=e2e ./test/e2e/... -v -count=1"
        );
        assert!(suite.about.is_empty());
    }

    #[test]
    fn a_suite_that_deploys_by_itself_is_not_the_command() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        write(root, "go.mod", "module x\n");
        let text = "package e2e\nvar c = exec.Command(\"make\", \"deploy\", \"IMG=x\")\n";
        write(root, "test/e2e/a_test.go", text);
        write(root, "config/samples/kustomization.yaml", "");
        let suite = find(root, &[root.join("config/samples")], &Ui::new(true));
        assert!(
            suite.about[0].contains("`make deploy`"),
            "{:?}",
            suite.about
        );
        assert!(suite.command[2].starts_with("kubectl apply -k config/samples && "));
        assert!(find(root, &[], &Ui::new(true)).command.is_empty());
    }

    #[test]
    fn samples_are_applied_where_there_is_no_suite() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let suite = find(
            root,
            &[root.join("a b.yaml"), root.join("c.yaml")],
            &Ui::new(true),
        );
        assert!(suite.command[2].starts_with("kubectl apply -f 'a b.yaml' -f c.yaml && "));
    }
}
