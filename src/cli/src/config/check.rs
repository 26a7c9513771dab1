//! The combinations that `podcov.toml` may not have.

use std::ops::Range;
use std::path::Path;

use podcov_cluster::overlay::WorkloadRef;
use podcov_cluster::registry::Registry;
use podcov_profile::names::{Kind, Language};
use toml::Spanned;

use super::file::{
    BuilderName, Cluster, Component, CreatedBy, Deploy, File, Gate, InjectName, MetricName,
    Provider,
};
use super::{Config, nearest};
use crate::exit::{Exit, Failure};

/// Where an error is told to be.
pub struct Place<'a> {
    /// The file, as it was named.
    pub path: &'a Path,
    /// All of it.
    pub text: &'a str,
}

impl Place<'_> {
    /// An error at a byte range of the file.
    pub fn failure(&self, span: Range<usize>, message: impl std::fmt::Display) -> Failure {
        let before = &self.text[..span.start.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let shown = self.text.lines().nth(line - 1).unwrap_or("").trim_end();
        Failure::new(
            Exit::Usage,
            format!(
                "{}:{line}: {message}\n    {line} | {shown}",
                self.path.display()
            ),
        )
    }
}

/// Every check that types cannot make.
pub fn check(config: &Config, place: &Place<'_>) -> Result<(), Failure> {
    let file = &config.file;
    let names: Vec<&str> = file
        .components
        .iter()
        .map(|c| c.name.get_ref().as_str())
        .collect();
    check_name(&file.composition.name, place)?;
    if file.components.is_empty() {
        return Err(place
            .failure(0..0, "the composition has no components")
            .help("add a `[[component]]`; `podcov init` finds yours"));
    }
    for (index, component) in file.components.iter().enumerate() {
        check_name(&component.name, place)?;
        if names[..index].contains(&component.name.get_ref().as_str()) {
            let name = component.name.get_ref();
            return Err(place.failure(
                component.name.span(),
                format!("two components are called `{name}`"),
            ));
        }
        check_component(config, component, &names, place)?;
        check_image(component, &file.components[..index], place)?;
    }
    for (path, what) in file
        .deploy
        .kustomization
        .iter()
        .map(|path| (path, "folder with a kustomization"))
        .chain(file.deploy.manifests.iter().map(|path| (path, "manifest")))
        .chain(file.e2e.directory.iter().map(|path| (path, "folder")))
    {
        if !config.path(path.get_ref()).exists() {
            let shown = path.get_ref().display();
            return Err(place.failure(path.span(), format!("there is no {what} `{shown}`")));
        }
    }
    if let (Some(kustomization), false) =
        (&file.deploy.kustomization, file.deploy.manifests.is_empty())
    {
        return Err(place.failure(
            kustomization.span(),
            "`kustomization` and `manifests` exclude each other",
        ));
    }
    for gate in &file.gates {
        if !(0.0..=100.0).contains(gate.min.get_ref()) {
            return Err(place.failure(
                gate.min.span(),
                format!(
                    "expected a percentage from 0 to 100, found {}",
                    gate.min.get_ref()
                ),
            ));
        }
        if let Some(name) = &gate.component
            && !names.contains(&name.get_ref().as_str())
        {
            return Err(unknown_component(
                name.get_ref(),
                name.span(),
                &names,
                place,
            ));
        }
        check_metric(gate, &file.components, place)?;
    }
    check_namespaces(&file.deploy, place)?;
    check_globs(file, place)?;
    check_cluster(&file.cluster, place)
}

/// Of two images with one name, the nodes would have the one that came last.
/// A Dockerfile may put several programs into an image; podcov puts in one.
fn check_image(
    component: &Component,
    before: &[Component],
    place: &Place<'_>,
) -> Result<(), Failure> {
    let is_ours = |c: &Component| c.image_build.builder == BuilderName::Podcov;
    let image = |c: &Component| c.image.as_ref().map(|image| image.get_ref().clone());
    let Some(typed) = component.image.as_ref().filter(|_| is_ours(component)) else {
        return Ok(());
    };
    let same = |other: &&Component| is_ours(other) && image(other) == image(component);
    let Some(other) = before.iter().find(same) else {
        return Ok(());
    };
    let (name, other) = (component.name.get_ref(), other.name.get_ref());
    Err(place
        .failure(
            typed.span(),
            format!("`{name}` and `{other}` have the same `image`"),
        )
        .help("podcov puts one program into an image; use your Dockerfile (`builder` in `image_build`), or two images"))
}

/// Wrong patterns are told before a run, not at its end when they are used.
/// A rule on what its components do not have is told before an hour of e2e, not
/// after it.
fn check_metric(gate: &Gate, components: &[Component], place: &Place<'_>) -> Result<(), Failure> {
    let needed = match gate.metric.get_ref() {
        MetricName::Regions => Language::Rust,
        MetricName::Statements => Language::Go,
        MetricName::Lines | MetricName::Functions => return Ok(()),
    };
    let only = gate.component.as_ref().map(Spanned::get_ref);
    let mut scope = components
        .iter()
        .filter(|c| only.is_none_or(|name| name == c.name.get_ref()));
    if scope.any(|component| component.language == needed) {
        return Ok(());
    }
    let (metric, language, native) = match needed {
        Language::Rust => ("regions", "Rust", "statements"),
        Language::Go => ("statements", "Go", "regions"),
    };
    let scope = only.map_or("no component is".to_owned(), |name| {
        format!("`{name}` is not")
    });
    Err(place
        .failure(
            gate.metric.span(),
            format!("{metric} are of {language}, which {scope}"),
        )
        .help(format!("use lines, functions or {native}")))
}

fn check_globs(file: &File, place: &Place<'_>) -> Result<(), Failure> {
    let globs = file.filter.include.iter().chain(&file.filter.exclude);
    for glob in globs.chain(file.gates.iter().filter_map(|gate| gate.path.as_ref())) {
        if let Err(error) = podcov_report::Filter::new(&[glob], &[]) {
            let at = place.text.find(glob.as_str()).unwrap_or(0);
            return Err(place.failure(at..at, error));
        }
    }
    Ok(())
}

fn check_cluster(cluster: &Cluster, place: &Place<'_>) -> Result<(), Failure> {
    if let Some(name) = &cluster.name {
        let at = place.text.find("[cluster]").unwrap_or(0);
        check_name(&Spanned::new(at..at, name.clone()), place)?;
    }
    let named = cluster.kubeconfig.is_some() || cluster.context.is_some();
    let foreign = matches!(cluster.provider, Provider::Existing | Provider::Auto);
    if named && !foreign {
        let at = place.text.find("[cluster]").unwrap_or(0);
        return Err(place
            .failure(
                at..at,
                "`kubeconfig` and `context` name an existing cluster",
            )
            .help("set `provider = \"existing\"`, or leave them out"));
    }
    if let Some(registry) = &cluster.registry {
        check_registry(cluster, registry, named, place)?;
    }
    let is_kind = matches!(cluster.provider, Provider::Kind | Provider::Auto);
    if cluster.kind_image.is_some() && !is_kind {
        let at = place.text.find("[cluster]").unwrap_or(0);
        return Err(place
            .failure(at..at, "`kind_image` is of a cluster that kind makes")
            .help("set `provider = \"kind\"`, or leave it out"));
    }
    Ok(())
}

fn check_registry(
    cluster: &Cluster,
    registry: &Spanned<String>,
    named: bool,
    place: &Place<'_>,
) -> Result<(), Failure> {
    let at = registry.span();
    if let Err(wrong) = registry.get_ref().parse::<Registry>() {
        return Err(place.failure(at, wrong));
    }
    // Which of the others `auto` becomes depends on the machine; the names of
    // the images must not.
    let pulls = match cluster.provider {
        Provider::Existing | Provider::Kind => true,
        Provider::Auto => named,
        Provider::Embedded => false,
    };
    if !pulls {
        return Err(place
            .failure(at, "`registry` is for clusters whose nodes pull images")
            .help("set `provider = \"existing\"` or `provider = \"kind\"`, or leave it out"));
    }
    if !cluster.load_image.is_empty() {
        return Err(place
            .failure(at, "`registry` and `load_image` exclude each other")
            .help("with `registry`, podcov pushes the images itself"));
    }
    Ok(())
}

fn check_name(name: &Spanned<String>, place: &Place<'_>) -> Result<(), Failure> {
    let text = name.get_ref();
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || text.len() > 50 || !text.chars().all(good) || text.starts_with('-') {
        return Err(place
            .failure(name.span(), format!("`{text}` cannot be a name"))
            .help("use up to 50 lowercase letters, digits and `-`"));
    }
    Ok(())
}

fn check_component(
    config: &Config,
    component: &Component,
    names: &[&str],
    place: &Place<'_>,
) -> Result<(), Failure> {
    let at = component.name.span();
    let name = component.name.get_ref();
    match component.language {
        Language::Rust => {
            if let Some(coverpkg) = &component.coverpkg {
                return Err(place
                    .failure(
                        coverpkg.span(),
                        format!("`{name}` is Rust; `coverpkg` is for Go"),
                    )
                    .help("name the crates to count in `crates`"));
            }
            if let Some(build) = &component.build {
                return Err(
                    place.failure(build.span(), format!("`{name}` is Rust; `build` is for Go"))
                );
            }
        }
        Language::Go => {
            if let Some(crates) = &component.crates {
                return Err(place
                    .failure(
                        crates.span(),
                        format!("`{name}` is Go; `crates` is for Rust"),
                    )
                    .help("name the packages to count in `coverpkg`"));
            }
        }
    }
    if let Some(manifest) = &component.manifest {
        let path = config.path(manifest.get_ref());
        if !path.exists() {
            let shown = manifest.get_ref().display();
            return Err(place.failure(manifest.span(), format!("there is no `{shown}`")));
        }
    }
    if let Some(created) = &component.created_by {
        let by = &created.get_ref().component;
        if component.kind != Kind::Workload {
            return Err(place
                .failure(
                    created.span(),
                    format!("`{name}` is no workload, but has `created_by`"),
                )
                .help("set `kind = \"workload\"`"));
        }
        let others: Vec<&str> = names
            .iter()
            .copied()
            .filter(|other| other != name)
            .collect();
        if !others.contains(&by.as_str()) {
            return Err(unknown_component(by, created.span(), &others, place));
        }
        check_created_by(config, name, created, place)?;
    }
    let needs_image = component.created_by.is_some() || !component.workloads.is_empty();
    if needs_image && component.image.is_none() {
        return Err(place
            .failure(at, format!("`{name}` runs in pods and has no `image`"))
            .help("add the name of its production image, as in your manifests"));
    }
    for workload in &component.workloads {
        if workload.get_ref().parse::<WorkloadRef>().is_err() {
            return Err(place
                .failure(
                    workload.span(),
                    format!("`{}` names no workload", workload.get_ref()),
                )
                .help(
                    "write `Kind/name` or `Kind/name:container`, such as `Deployment/op:manager`",
                ));
        }
    }
    Ok(())
}

/// Either an option of the operator brings the pods what they need, or the
/// webhook.
fn check_created_by(
    config: &Config,
    name: &str,
    created: &Spanned<CreatedBy>,
    place: &Place<'_>,
) -> Result<(), Failure> {
    let CreatedBy { env, container, .. } = created.get_ref();
    let wrong = |text: String, help: &str| Err(place.failure(created.span(), text).help(help));
    match (env, container) {
        (Some(_), None) => wrong(
            format!("`created_by` of `{name}` has `env` and no `container`"),
            "name the container in the created pods: `container = \"…\"`",
        ),
        (None, Some(_)) => wrong(
            format!("`created_by` of `{name}` has `container` and no `env`"),
            "leave it out: the webhook finds containers by their image",
        ),
        (None, None) if config.file.deploy.inject == InjectName::Off => wrong(
            format!("`created_by` of `{name}` has no `env`, and [deploy] has `inject = \"off\"`"),
            "leave `inject` out, or name the operator's option in `env`",
        ),
        _ => Ok(()),
    }
}

/// Names of namespaces, or beginnings of them.
fn check_namespaces(deploy: &Deploy, place: &Place<'_>) -> Result<(), Failure> {
    let Some(typed) = &deploy.inject_namespaces else {
        return Ok(());
    };
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    for pattern in typed.get_ref() {
        let start = pattern.strip_suffix('*').unwrap_or(pattern);
        if pattern.is_empty() || !start.chars().all(good) {
            return Err(place
                .failure(typed.span(), format!("`{pattern}` cannot mean namespaces"))
                .help("write a name, or its beginning with `*` behind, such as `e2e-*`"));
        }
    }
    Ok(())
}

fn unknown_component(name: &str, span: Range<usize>, names: &[&str], place: &Place<'_>) -> Failure {
    let failure = place.failure(span, format!("there is no other component `{name}`"));
    match nearest(name, names.iter().copied()) {
        Some(word) => failure.help(format!("did you mean `{word}`?")),
        None if names.is_empty() => failure,
        None => failure.help(format!("the components are {}", names.join(", "))),
    }
}
