//! The step that brings the images to where the nodes find them.

use std::path::PathBuf;

use podcov_cluster::provider::{self, Cluster};
use podcov_cluster::registry::{self, Pushed, Registry};
use podcov_process::Progress;
use podcov_profile::bundle::{Bundle, Image};

use crate::exit::{Exit, Failure, OrExit};
use crate::session::Session;
use crate::ui::human_bytes;

/// What the pods of a component get as their image: the archive's own name for
/// it, or its name in the registry that the nodes pull from.
pub fn image_name(session: &Session, image: &Image) -> String {
    match &session.config.registry {
        Some(registry) => registry.name(&image.reference, &image.digest),
        None => image.reference.clone(),
    }
}

/// Brings the images to the nodes, or to the registry that they pull from.
pub fn load_images(
    session: &Session,
    cluster: &dyn Cluster,
    bundles: &[Bundle],
) -> Result<(), Failure> {
    super::component::check_architecture(&cluster.architecture().or_exit(Exit::Cluster)?, bundles)?;
    if let Some(registry) = &session.config.registry {
        return push_images(session, registry, bundles);
    }
    let step = session.ui.step("images", "loading");
    let mut bytes = 0;
    let mut images = 0;
    let mut load = || {
        for (image, archive) in archives(session, bundles) {
            bytes += fs_err::metadata(&archive).map_or(0, |m| m.len());
            images += 1;
            step.status(&image.reference);
            let names = std::slice::from_ref(&image.reference);
            cluster.load_image(&archive, names, &step, &session.cancel)?;
        }
        Ok::<(), provider::Error>(())
    };
    let loaded = load();
    step.end_with(&loaded, |()| {
        format!("{images} loaded, {}", human_bytes(bytes))
    });
    loaded.or_exit(Exit::Cluster)
}

fn push_images(session: &Session, registry: &Registry, bundles: &[Bundle]) -> Result<(), Failure> {
    let step = session.ui.step("images", "pushing");
    let push = || {
        let mut all = Pushed::default();
        for (image, archive) in archives(session, bundles) {
            let pushed = registry.push(&archive, &image.reference, &step, &session.cancel)?;
            all.sent += pushed.sent;
            all.there += pushed.there;
        }
        Ok::<Pushed, registry::Error>(all)
    };
    let pushed = push();
    step.end_with(&pushed, |all| {
        format!(
            "{} pushed to {registry}, {} were there",
            human_bytes(all.sent),
            human_bytes(all.there)
        )
    });
    pushed.or_exit(Exit::Cluster)?;
    let images = archives(session, bundles).map(|(image, _)| image_name(session, image));
    let images = images.collect();
    session.update_record(|record| record.images = images)
}

/// Brings podcov's own program to where the nodes find it, and says what pods
/// call it there.
pub fn load_agent(
    session: &Session,
    cluster: &dyn Cluster,
    progress: &dyn Progress,
) -> Result<String, Failure> {
    let context = podcov_build::Context {
        cache: &session.cache(),
        bundles: &session.run.bundle(),
        progress,
        cancel: &session.cancel,
    };
    let dir = session.run.path.join("agent");
    let agent = podcov_build::write_agent_image(&dir, &context).or_exit(Exit::Build)?;
    let (reference, archive) = (&agent.reference, &agent.archive);
    if let Some(registry) = &session.config.registry {
        let pushed = registry.push(archive, reference, progress, &session.cancel);
        pushed.or_exit(Exit::Cluster)?;
        return Ok(registry.name(reference, &agent.digest));
    }
    let names = std::slice::from_ref(reference);
    let loaded = cluster.load_image(archive, names, progress, &session.cancel);
    loaded.or_exit(Exit::Cluster)?;
    Ok(agent.reference)
}

/// The images of the bundles, each with its archive.
pub fn archives<'a>(
    session: &'a Session,
    bundles: &'a [Bundle],
) -> impl Iterator<Item = (&'a Image, PathBuf)> {
    bundles.iter().filter_map(|bundle| {
        let image = bundle.image.as_ref()?;
        let folder = session.run.bundle().join(&bundle.component);
        Some((image, folder.join(&image.archive)))
    })
}
