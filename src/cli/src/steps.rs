//! The steps of the pipeline: each is one call into one crate, told on one
//! line. `run.rs` and the commands of the same names put them together.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use podcov_cluster::collect::{self, Gather};
use podcov_cluster::deploy::{self, Deployed};
use podcov_cluster::overlay::{self, Base, Rendered};
use podcov_cluster::provider::{self, Cluster, ImageLoad, Provider, Settings, State};
use podcov_cluster::stop;
use podcov_cluster::store::{read_json, read_ledger, write_json_atomic, write_ledger};
use podcov_cluster::target::Target;
use podcov_cluster::watch::observed::Observed;
use podcov_cluster::watch::{Watched, Watcher};
use podcov_process::{Cancel, Progress};
use podcov_profile::bundle::Bundle;
use podcov_profile::ledger::{Fate, Finding, Ledger};
use podcov_profile::model::Coverage;
use podcov_profile::names::Language;

use crate::args::Backend;
use crate::config;
use crate::exit::{Exit, Failure, OrExit};
use crate::print::To;
use crate::session::Session;
use crate::ui::{count, human_time};

mod component;
mod images;
mod inject;
pub mod pods;
mod rights;
mod suite;

pub use component::build_component;
pub use images::{archives, image_name, load_images};
pub use inject::{inject, injects, install, lifetime, namespaces, uninject};
pub use rights::{check_rights, rights};
pub use suite::test;

/// The first line of a run.
pub fn headline(session: &Session) {
    let components = &session.config.file.components;
    let of = |language| components.iter().filter(|c| c.language == language).count();
    session.ui.say(format!(
        "podcov {} · composition {} ({}: {} rust, {} go) · run {}",
        env!("CARGO_PKG_VERSION"),
        session.config.name(),
        count(components.len(), "component"),
        of(Language::Rust),
        of(Language::Go),
        session.run.id(),
    ));
}

/// Makes sure that what the later steps need is in the configuration and on
/// this machine, so that nobody waits ten minutes to hear that it is not.
pub fn prepare(session: &Session, backend: Backend) -> Result<(), Failure> {
    base(session)?;
    let step = session.ui.step("prepare", "");
    let components = &session.config.file.components;
    let of = |language| components.iter().filter(move |c| c.language == language);
    let tools = || {
        let by_tools = backend == Backend::Tools;
        for component in of(Language::Rust).filter(|_| by_tools) {
            let component = component::build_component(session, component);
            let major = podcov_build::llvm_major(&component, &session.cancel);
            if let Some(major) = major.or_exit(Exit::Build)? {
                podcov_merge::tools::ensure_llvm(major, true, &step, &session.cancel)
                    .or_exit(Exit::Usage)?;
            }
        }
        if of(Language::Go).next().is_some() {
            podcov_merge::tools::find_go().or_exit(Exit::Usage)?;
        }
        cluster(session, true)?
            .prepare(&step, &session.cancel)
            .or_exit(Exit::Cluster)
    };
    let ready = tools();
    step.end_with(&ready, |()| "tools and cluster program are here".to_owned());
    ready
}

/// Builds every component; each leaves its bundle.
pub fn build(session: &Session) -> Result<Vec<Bundle>, Failure> {
    session.update_record(|_| ())?;
    let mut bundles = Vec::new();
    for component in &session.config.file.components {
        let name = component.name.get_ref();
        let about = format!("{name} ({})", component.language);
        let step = session.ui.step("build", &about);
        let context = podcov_build::Context {
            cache: &session.cache(),
            bundles: &session.run.bundle(),
            progress: &step,
            cancel: &session.cancel,
        };
        let built = podcov_build::build(&component::build_component(session, component), &context);
        step.end_with(&built, |bundle| match &bundle.image {
            Some(image) => format!("{about}, image {}", image.reference),
            None => about.clone(),
        });
        bundles.push(built.or_exit(Exit::Build)?);
    }
    let images = bundles.iter().filter_map(|bundle| bundle.image.as_ref());
    let images: Vec<String> = images.map(|image| image.reference.clone()).collect();
    session.update_record(|record| record.images = images)?;
    Ok(bundles)
}

/// The cluster that the configuration means; makes nothing.
pub fn cluster(session: &Session, keep: bool) -> Result<Box<dyn Cluster>, Failure> {
    let typed = &session.config.file.cluster;
    let name = typed
        .name
        .clone()
        .unwrap_or_else(|| session.config.name().to_owned());
    let mut settings = Settings::new(name, session.run.evidence());
    settings.provider = match typed.provider {
        config::Provider::Auto => Provider::Auto,
        config::Provider::Embedded => Provider::Embedded,
        config::Provider::Kind => Provider::Kind,
        config::Provider::Existing => Provider::Existing,
    };
    settings.runs = session.run.path.parent().map(Path::to_path_buf);
    settings.keep = keep;
    settings.scratch = session.run.path.clone();
    settings.kubeconfig = typed
        .kubeconfig
        .as_ref()
        .map(|path| session.config.path(path));
    settings.context = typed.context.clone();
    settings.image_load = Some(match typed.load_image.as_slice() {
        [] => ImageLoad::Preloaded,
        command => ImageLoad::Command(command.to_vec()),
    });
    settings.node_dir = typed
        .node_dir
        .as_ref()
        .map(|dir| dir.join(session.run.id()).join("evidence"));
    settings.kind_config = typed
        .kind_config
        .as_ref()
        .map(|path| session.config.path(path));
    settings.kind_image = typed.kind_image.clone();
    provider::select(settings).or_exit(Exit::Cluster)
}

/// Whether somebody brought the cluster up before.
pub fn is_cluster_up(session: &Session) -> Result<bool, Failure> {
    let status = cluster(session, true)?.status().or_exit(Exit::Cluster)?;
    Ok(status.state == State::Ready)
}

/// Makes sure that the cluster is up.
pub fn cluster_up(session: &Session, keep: bool) -> Result<Box<dyn Cluster>, Failure> {
    let cluster = cluster(session, keep)?;
    let step = session.ui.step("cluster", &cluster.provider().to_string());
    let up = cluster.up(&step, &session.cancel);
    let version = cluster
        .status()
        .ok()
        .and_then(|status| status.version)
        .unwrap_or_default();
    let about = format!("{} Kubernetes {version}", cluster.provider());
    step.end_with(&up, |()| {
        format!("{about}, kubeconfig {}", cluster.kubeconfig().display())
    });
    up.or_exit(Exit::Cluster)?;
    inject::sweep(session, cluster.as_ref())?;
    session.update_record(|record| record.cluster = Some(about))?;
    Ok(cluster)
}

/// The cluster, which must be up already.
pub fn cluster_there(session: &Session) -> Result<Box<dyn Cluster>, Failure> {
    let cluster = cluster(session, true)?;
    let status = cluster.status().or_exit(Exit::Cluster)?;
    if status.state != State::Ready {
        return Err(Failure::new(
            Exit::Cluster,
            format!("the cluster `{}` is {}", cluster.name(), status.state),
        )
        .help("`podcov cluster up` creates it"));
    }
    Ok(cluster)
}

/// Removes the cluster; of one that is somebody else's, the copy of its
/// kubeconfig, which holds its credentials.
pub fn cluster_down(session: &Session, cluster: &dyn Cluster) -> Result<(), Failure> {
    if cluster.provider() == Provider::Existing {
        return cluster.down(session.ui.as_ref()).or_exit(Exit::Cluster);
    }
    let step = session.ui.step("down", cluster.name());
    let down = cluster.down(&step);
    step.end_with(&down, |()| {
        format!("{} cluster removed", cluster.provider())
    });
    down.or_exit(Exit::Cluster)
}

/// What the user deploys.
fn base(session: &Session) -> Result<Base, Failure> {
    let config = &session.config;
    let typed = &config.file.deploy;
    match &typed.kustomization {
        Some(dir) => Ok(Base::Kustomization(config.path(dir.get_ref()))),
        None if typed.manifests.is_empty() => {
            Err(Failure::new(Exit::Usage, "there is nothing to deploy")
                .help("name `kustomization` or `manifests` in [deploy] of podcov.toml"))
        }
        None => Ok(Base::Manifests(
            typed
                .manifests
                .iter()
                .map(|path| config.path(path.get_ref()))
                .collect(),
        )),
    }
}

/// What the overlay of the run goes on top of, and what it is to do.
pub fn overlay_of(
    session: &Session,
    cluster: &dyn Cluster,
    bundles: &[Bundle],
) -> Result<(Base, overlay::Spec), Failure> {
    Ok((base(session)?, pods::spec(session, cluster, bundles)?))
}

/// Renders the overlay of the run.
pub fn overlay(
    session: &Session,
    cluster: &dyn Cluster,
    bundles: &[Bundle],
) -> Result<Rendered, Failure> {
    let (base, spec) = overlay_of(session, cluster, bundles)?;
    let step = session.ui.step("overlay", "rendering");
    let kubectl = cluster.kubectl().or_exit(Exit::Cluster)?;
    let out = session.run.path.join("overlay");
    let rendered = overlay::render(&base, &spec, &kubectl, &out, &step, &session.cancel);
    step.end_with(&rendered, |rendered| {
        format!(
            "{} measured, {}",
            count(rendered.patched.len(), "container"),
            out.display()
        )
    });
    let rendered = rendered.or_exit(Exit::Usage)?;
    for warning in &rendered.warnings {
        session.ui.say(format!("  ! {warning}"));
    }
    check_programs(session, bundles, &rendered)?;
    Ok(rendered)
}

/// Fails where the manifests start what the profile images do not have.
pub fn check_programs(
    session: &Session,
    bundles: &[Bundle],
    rendered: &Rendered,
) -> Result<(), Failure> {
    for patched in &rendered.patched {
        let bundle = bundles.iter().find(|b| b.component == patched.component);
        let image = bundle.and_then(|bundle| bundle.image.as_ref());
        let mut components = session.config.file.components.iter();
        let component = components.find(|c| c.name.get_ref() == &patched.component);
        if let (Some(image), Some(component)) = (image, component) {
            crate::program::check(component, &image.entrypoint, patched)?;
        }
    }
    Ok(())
}

/// The cluster as the collector talks to it.
pub fn target(session: &Session, cluster: &dyn Cluster) -> Target {
    Target {
        kubeconfig: cluster.kubeconfig(),
        context: session.config.file.cluster.context.clone(),
    }
}

/// The components, and how their pods are recognised.
pub fn watched(session: &Session, bundles: &[Bundle]) -> Vec<Watched> {
    let watched = session.config.file.components.iter().map(|component| {
        let name = component.name.get_ref();
        let bundle = bundles.iter().find(|bundle| &bundle.component == name);
        let profile = bundle.and_then(|bundle| bundle.image.as_ref());
        let production = component
            .image
            .as_ref()
            .map(|image| image.get_ref().clone());
        Watched {
            name: name.clone(),
            kind: component.kind,
            images: production
                .into_iter()
                .chain(profile.map(|image| image_name(session, image)))
                .collect(),
        }
    });
    watched.collect()
}

/// Begins the watch over the composition's pods.
pub fn watch(
    session: &Session,
    cluster: &dyn Cluster,
    bundles: &[Bundle],
) -> Result<Watcher, Failure> {
    let progress: Arc<dyn Progress> = session.ui.clone();
    let watcher = Watcher::start(
        &target(session, cluster),
        &session.run.id(),
        watched(session, bundles),
        inject::expected(session, cluster, bundles)?,
        progress,
        &session.cancel,
    );
    watcher.or_exit(Exit::Cluster)
}

/// Applies the rendering and waits until it is ready.
pub fn deploy(
    session: &Session,
    cluster: &dyn Cluster,
    rendered: &Rendered,
    watcher: &Watcher,
) -> Result<Deployed, Failure> {
    let step = session.ui.step("deploy", "applying");
    let kubectl = cluster.kubectl().or_exit(Exit::Cluster)?;
    let target = target(session, cluster);
    let plan =
        deploy::plan(&target, &rendered.yaml, watcher, &session.cancel).or_exit(Exit::Cluster)?;
    let plan = match injects(session) {
        true => plan.injected(session.config.name()),
        false => plan,
    };
    // Before anything is applied: what fails or is interrupted is stopped, too.
    write_json_atomic(&session.run.deployed_json(), plan.deployed()).or_exit(Exit::Fault)?;
    let deployed = deploy::deploy(
        &target,
        &kubectl,
        plan,
        session.config.deploy_timeout,
        watcher,
        &step,
        &session.cancel,
    );
    step.end_with(&deployed, |_| {
        let live = watcher.live();
        format!(
            "overlay applied, {} of {} ready",
            live.ready,
            count(live.pods, "pod")
        )
    });
    let deployed = deployed.or_exit(Exit::Cluster)?;
    write_json_atomic(&session.run.deployed_json(), &deployed).or_exit(Exit::Fault)?;
    Ok(deployed)
}

/// Stops the composition and saves its logs.
pub fn stop(
    session: &Session,
    cluster: &dyn Cluster,
    watcher: &Watcher,
    cancel: &Cancel,
) -> Result<(), Failure> {
    let step = session.ui.step("stop", "");
    let target = target(session, cluster);
    let deployed: Deployed = match session.run.deployed_json() {
        path if path.exists() => read_json(&path).or_exit(Exit::Fault)?,
        _ => Deployed::default(),
    };
    let stopped = stop::stop(
        &target,
        watcher,
        &deployed,
        session.config.stop_timeout,
        Some(&session.run.logs()),
        &step,
        cancel,
    );
    match &stopped {
        Ok(stopped) => {
            let about = format!("{} ended", count(stopped.ended, "pod"));
            for note in &stopped.notes {
                step.note(note);
            }
            match stopped.forced.as_slice() {
                [] => step.done(about),
                forced => step.warn(format!("{about}, removed by force: {}", forced.join(", "))),
            }
        }
        Err(_) => step.fail("failed"),
    }
    stopped.map(drop).or_exit(Exit::Cluster)
}

/// Files every incarnation.
pub fn collect(
    session: &Session,
    bundles: &[Bundle],
    observed: &Observed,
    cancel: &Cancel,
) -> Result<Ledger, Failure> {
    let step = session.ui.step("collect", "");
    session.run.sweep().or_exit(Exit::Fault)?;
    // It holds copies of what this account and its merge set aside, no others.
    session.run.clear_quarantine().or_exit(Exit::Fault)?;
    write_json_atomic(&session.run.observed_json(), observed).or_exit(Exit::Fault)?;
    let earlier = match session.run.ledger_json() {
        path if path.exists() => Some(read_ledger(&path)),
        _ => None,
    };
    let (earlier, broken) = match earlier {
        Some(Err(error)) => (None, Some(error.to_string())),
        earlier => (earlier.and_then(Result::ok), None),
    };
    let mut bundles = bundles.to_vec();
    for image in bundles
        .iter_mut()
        .filter_map(|bundle| bundle.image.as_mut())
    {
        // As pods call it.
        image.reference = image_name(session, image);
    }
    let gather = Gather {
        run: &session.run.id(),
        evidence: &session.run.evidence(),
        quarantine: &session.run.quarantine(),
        logs: Some(&session.run.logs()),
        bundles: &bundles,
        observed,
        earlier: earlier.as_ref(),
        limits: collect::Limits::default(),
        progress: &step,
        cancel,
    };
    let collected = collect::collect(&gather);
    match &collected {
        Ok(ledger) => {
            let of_others = ledger.findings.iter().filter(|f| f.kind == "stale");
            if let Some(first) = of_others.clone().next() {
                let number = count(of_others.count(), "folder");
                step.note(&format!("{number} of other runs: {}", first.text));
            }
            let lost = ledger.lost().count();
            let fates = ledger.fates();
            let good = fates.get(&Fate::Collected).copied().unwrap_or(0);
            let about = format!(
                "{}: {good} with evidence, {lost} lost",
                count(ledger.incarnations.len(), "incarnation")
            );
            if lost > 0 {
                step.warn(about)
            } else {
                step.done(about)
            }
        }
        Err(_) => step.fail("failed"),
    }
    let mut ledger = collected.or_exit(Exit::Fault)?;
    if let Some(why) = broken {
        let text = format!("what was collected before is not known any more: {why}");
        session.ui.say(format!("  ! {text}"));
        ledger.findings.push(Finding {
            kind: "seal-broken".to_owned(),
            text: "the ledger of an earlier collection was not as podcov wrote it; what it \
                   sealed cannot be checked"
                .to_owned(),
        });
    }
    write_ledger(&session.run.ledger_json(), &ledger).or_exit(Exit::Fault)?;
    Ok(ledger)
}

/// Merges what was collected; the ledger gets the final fate of each file.
pub fn merge(
    session: &Session,
    bundles: &[Bundle],
    ledger: &mut Ledger,
    backend: Backend,
    cancel: &Cancel,
) -> Result<Coverage, Failure> {
    let step = session.ui.step("merge", "");
    session.run.sweep().or_exit(Exit::Fault)?;
    let filter = &session.config.file.filter;
    let folders = bundles
        .iter()
        .map(|b| (b.clone(), session.run.bundle().join(&b.component)));
    let job = podcov_merge::Job {
        composition: session.config.name(),
        components: folders.collect(),
        evidence: &session.run.evidence(),
        ledger,
        out: &session.run.coverage(),
        quarantine: &session.run.quarantine(),
        phases: &session.run.phases(),
        include: &filter.include,
        exclude: &filter.exclude,
        backend: match backend {
            Backend::Native => podcov_merge::Backend::Native,
            Backend::Tools => podcov_merge::Backend::Tools { install: true },
        },
    };
    let merged = podcov_merge::merge(job, &step, cancel);
    let refused = ledger.file_fates().remove(&Fate::Rejected).unwrap_or(0);
    let about = |coverage: &Coverage| {
        let binaries: Vec<_> = coverage
            .components
            .iter()
            .flat_map(|c| &c.binaries)
            .collect();
        let profiles: u64 = binaries.iter().map(|binary| binary.profiles).sum();
        let profiles = count(usize::try_from(profiles).unwrap_or(usize::MAX), "profile");
        format!("{profiles}, {}", count(binaries.len(), "build"))
    };
    match &merged {
        Ok(coverage) if refused > 0 => step.warn(format!(
            "{}; {} refused, see ledger.json",
            about(coverage),
            count(refused, "file")
        )),
        merged => step.end_with(merged, about),
    }
    let coverage = merged.or_exit(Exit::Fault)?;
    write_ledger(&session.run.ledger_json(), ledger).or_exit(Exit::Fault)?;
    Ok(coverage)
}

/// Fails if nothing was merged: its 0 % say nothing about the suite.
pub fn usable(session: &Session, coverage: &Coverage) -> Result<(), Failure> {
    let mut binaries = coverage.components.iter().flat_map(|c| &c.binaries);
    if binaries.any(|binary| binary.profiles > 0) {
        return Ok(());
    }
    Err(
        Failure::new(Exit::Nothing, "no incarnation left evidence that counts").help(format!(
            "each one's reason is in {}",
            session.run.ledger_json().display()
        )),
    )
}

/// Writes the report, prints table and verdict, and gives the exit status.
pub fn report(
    session: &Session,
    bundles: &[Bundle],
    coverage: &Coverage,
    ledger: &Ledger,
    to: To,
) -> Result<Exit, Failure> {
    let step = session.ui.step("report", "");
    let made = crate::reporting::write(session, bundles, coverage, ledger);
    step.end_with(&made, |made| made.index.display().to_string());
    crate::reporting::show(session, &made?, to)
}

/// How long each step took, in one line a step kind.
pub fn times(session: &Session) {
    let mut order: Vec<String> = Vec::new();
    let mut sums: BTreeMap<String, std::time::Duration> = BTreeMap::new();
    for (name, time) in session.ui.times() {
        if !order.contains(&name) {
            order.push(name.clone());
        }
        *sums.entry(name).or_default() += time;
    }
    let total: std::time::Duration = sums.values().sum();
    let words: Vec<String> = order
        .iter()
        .map(|name| format!("{name} {}", human_time(sums[name])))
        .collect();
    session.ui.say(format!(
        "\n  times  {} · together {}",
        words.join(" · "),
        human_time(total)
    ));
    let steps = order
        .iter()
        .map(|name| (name.clone(), sums[name].as_secs_f64()))
        .collect();
    // The times are a comfort; a full disk was told already.
    let _ = session.update_record(|record| record.steps = steps);
}
