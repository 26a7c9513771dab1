//! What the pods of the composition are given.

use podcov_cluster::overlay::{Component, CreatedBy, Spec, Unseen};
use podcov_cluster::provider::{Cluster, Provider};
use podcov_profile::bundle::Bundle;
use podcov_profile::names::Kind;

use crate::config::{self, InjectName};
use crate::exit::{Exit, Failure, OrExit};
use crate::session::Session;
use crate::steps::image_name;

/// The changes to pods of this run, whoever makes them.
pub fn spec(session: &Session, cluster: &dyn Cluster, bundles: &[Bundle]) -> Result<Spec, Failure> {
    let typed = session.config.file.components.iter();
    let components = typed.map(|typed| component(session, typed, bundles));
    let components = components.collect::<Result<_, _>>()?;
    let on_nodes = cluster.evidence().on_nodes.display().to_string();
    let mut spec = Spec::new(session.run.id(), on_nodes, components);
    spec.relax_pod_security = cluster.provider() != Provider::Existing;
    Ok(spec)
}

/// Whether the webhook patches the pods of a component.
pub fn is_injected(session: &Session, component: &config::Component) -> bool {
    match session.config.file.deploy.inject {
        InjectName::Off => false,
        InjectName::All => component.image.is_some(),
        InjectName::Created => {
            let created = component.created_by.as_ref();
            created.is_some_and(|created| created.get_ref().env.is_none())
        }
    }
}

fn component(
    session: &Session,
    typed: &config::Component,
    bundles: &[Bundle],
) -> Result<Component, Failure> {
    let name = typed.name.get_ref();
    let bundle = bundles.iter().find(|bundle| &bundle.component == name);
    let profile = bundle.and_then(|bundle| bundle.image.as_ref());
    let workloads = typed.workloads.iter().map(|text| text.get_ref().parse());
    let image = typed.image.as_ref().map(|image| image.get_ref().clone());
    let created_by = typed.created_by.as_ref().and_then(|created| {
        let created = created.get_ref().clone();
        Some(CreatedBy {
            component: created.component,
            env: created.env?,
            container: created.container?,
        })
    });
    Ok(Component {
        name: name.clone(),
        unseen: match typed.kind {
            _ if is_injected(session, typed) => Unseen::Injected,
            Kind::Client => Unseen::Started,
            Kind::Operator | Kind::Workload => Unseen::Wrong,
        },
        image,
        profile_image: profile.map(|image| image_name(session, image)),
        workloads: workloads.collect::<Result<_, _>>().or_exit(Exit::Usage)?,
        created_by,
        programs: profile.and_then(|image| crate::program::programs(typed, &image.entrypoint)),
    })
}
