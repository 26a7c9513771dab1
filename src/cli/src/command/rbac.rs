//! `podcov rbac`: the least rights, as a manifest.

use podcov_cluster::overlay;
use podcov_cluster::rights::{self, Subject};
use serde_json::json;

use crate::args::{Global, Rbac, YamlOrJson};
use crate::exit::{Exit, Failure, OrExit};
use crate::print;
use crate::session::Session;
use crate::steps;

/// Runs the command.
pub fn rbac(global: &Global, args: &Rbac) -> Result<Exit, Failure> {
    let subject = subject(args)?;
    let scratch = tempfile::tempdir().or_exit(Exit::Fault)?;
    let session = Session::look(global, scratch.path())?;
    let cluster = steps::cluster_there(&session)?;
    // The rights hang on the objects, not on what was built.
    let (base, spec) = steps::overlay_of(&session, cluster.as_ref(), &[])?;
    let rendered = overlay::render(
        &base,
        &spec,
        &cluster.kubectl().or_exit(Exit::Cluster)?,
        &scratch.path().join("overlay"),
        session.ui.as_ref(),
        &session.cancel,
    )
    .or_exit(Exit::Usage)?;
    let needed = steps::rights(&session, cluster.as_ref(), &rendered)?;
    let name = format!("podcov-{}", session.config.name());
    let (objects, text) = rights::manifest(&needed, &subject, &name);
    match args.format {
        YamlOrJson::Yaml => print::out(format_args!(
            "# What podcov needs for the composition {}. What the e2e command does itself is not in it.\n{text}",
            session.config.name()
        ))?,
        YamlOrJson::Json => {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
            print::out(format_args!("{list:#}\n"))?;
        }
    }
    Ok(Exit::Fine)
}

fn subject(args: &Rbac) -> Result<Subject, Failure> {
    if let Some(name) = &args.user {
        return Ok(Subject::User(name.clone()));
    }
    if let Some(name) = &args.group {
        return Ok(Subject::Group(name.clone()));
    }
    let account = args.service_account.as_deref().unwrap_or("podcov/podcov");
    match account.split('/').collect::<Vec<_>>().as_slice() {
        [namespace, name] if !namespace.is_empty() && !name.is_empty() => {
            Ok(Subject::ServiceAccount {
                namespace: (*namespace).to_owned(),
                name: (*name).to_owned(),
            })
        }
        _ => Err(Failure::new(
            Exit::Usage,
            format!("expected a service account such as `ci/podcov`, found `{account}`"),
        )),
    }
}
