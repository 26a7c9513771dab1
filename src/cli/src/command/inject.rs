//! `podcov inject …`.

use podcov_cluster::inject::{self, Found};
use podcov_cluster::overlay::Unseen;
use podcov_cluster::overlay::webhook::INJECT_LABEL;
use podcov_process::Cancel;

use crate::args::{Global, Inject};
use crate::exit::{Exit, Failure, OrExit};
use crate::print;
use crate::session::{Session, Which};
use crate::steps;

/// Runs the command.
pub fn inject(global: &Global, command: &Inject) -> Result<Exit, Failure> {
    let session = Session::open(global, Which::Named)?;
    match command {
        Inject::Install { namespaces } => install(&session, namespaces)?,
        Inject::Uninstall => uninstall(&session)?,
        Inject::Status => return status(&session),
    }
    Ok(Exit::Fine)
}

fn install(session: &Session, namespaces: &[String]) -> Result<(), Failure> {
    let bundles = session.bundles()?;
    let cluster = steps::cluster_there(session)?;
    let mut spec = steps::pods::spec(session, cluster.as_ref(), &bundles)?;
    if !steps::injects(session) {
        // Asked for by hand, it is for everything that has an image.
        for component in &mut spec.components {
            if component.image.is_some() {
                component.unseen = Unseen::Injected;
            }
        }
    }
    steps::load_images(session, cluster.as_ref(), &bundles)?;
    let mut all = steps::namespaces(session, cluster.as_ref());
    all.extend(namespaces.iter().cloned());
    steps::install(session, cluster.as_ref(), spec, all, None)?;
    let label = format!("{INJECT_LABEL}={}", session.config.name());
    session.ui.say(format!(
        "next    `podcov cluster kubectl label namespace NAME {label}`, then create pods there;\n        \
         `podcov inject uninstall`, then `podcov collect`"
    ));
    Ok(())
}

fn uninstall(session: &Session) -> Result<(), Failure> {
    let cluster = steps::cluster_there(session)?;
    let target = steps::target(session, cluster.as_ref());
    let was_there = inject::uninstall(&target, session.config.name(), &Cancel::new());
    session.ui.say(match was_there.or_exit(Exit::Cluster)? {
        true => "removed the webhook, its namespace and the labels of others",
        false => "there was no webhook",
    });
    Ok(())
}

fn status(session: &Session) -> Result<Exit, Failure> {
    let cluster = steps::cluster_there(session)?;
    let target = steps::target(session, cluster.as_ref());
    let name = session.config.name();
    let found = inject::status(&target, name, &session.cancel).or_exit(Exit::Cluster)?;
    let Some(found) = found else {
        print::out(format_args!("there is no webhook of {name}\n"))?;
        return Ok(Exit::Cluster);
    };
    print::out(text(name, &found))?;
    Ok(match found.silent {
        None => Exit::Fine,
        Some(_) => Exit::Cluster,
    })
}

fn text(name: &str, found: &Found) -> String {
    let answers = match &found.silent {
        None => "answers".to_owned(),
        Some(why) => format!("does not answer: {why}"),
    };
    let mut text = format!("webhook of {name}: {} ready, {answers}\n", found.ready);
    let mut line = |what: &str, value: String| text += &format!("  {what:12} {value}\n");
    line("namespaces", listed(&found.namespaces));
    if let Some(settings) = &found.settings {
        let components = settings.spec.components.iter();
        let components = components.filter(|c| c.unseen == Unseen::Injected);
        let components: Vec<String> = components.map(|c| c.name.clone()).collect();
        line("components", listed(&components));
        line("and new", listed(&settings.namespaces));
        line("run", settings.spec.run.clone());
    }
    if let Some(until) = &found.until {
        line("until", until.clone());
    }
    if let Some(expires) = &found.expires {
        line("certificate", format!("until {expires}"));
    }
    text
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_what_is_wrong_first() {
        let found = Found {
            settings: None,
            ready: 0,
            silent: Some("the API server got no answer from it".into()),
            namespaces: vec!["sites".into()],
            until: None,
            expires: Some("2027-11-21".into()),
        };
        assert_eq!(
            text("websites", &found),
            "webhook of websites: 0 ready, does not answer: the API server got no answer from it\n  \
             namespaces   sites\n  certificate  until 2027-11-21\n"
        );
    }
}
