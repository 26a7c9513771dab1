//! `podcov deploy --dry-run`: what would be changed in the cluster.

use console::style;
use podcov_cluster::inject;
use podcov_cluster::overlay::webhook::INJECT_LABEL;
use podcov_cluster::preview::{self, Action, Change, Field, Preview};
use podcov_process::Progress;
use serde::Serialize;

use crate::args::{Global, TextOrJson};
use crate::exit::{Exit, Failure, OrExit};
use crate::print::{self, visible};
use crate::session::{Session, Which};
use crate::steps;
use crate::ui::{count, human_bytes};

/// Longest value that is shown whole.
const VALUE: usize = 100;

/// Everything that would be done.
#[derive(Serialize)]
struct DryRun {
    schema: u32,
    cluster: String,
    images: Vec<Image>,
    #[serde(flatten)]
    preview: Preview,
}

/// An image that would be brought to the nodes, or to their registry.
#[derive(Serialize)]
struct Image {
    name: String,
    /// Bytes that would be sent, and those that are there already.
    send: u64,
    there: u64,
}

/// Runs the command.
pub fn deploy(global: &Global, format: TextOrJson) -> Result<Exit, Failure> {
    let session = Session::open(global, Which::Named)?;
    let bundles = session.bundles()?;
    let cluster = steps::cluster_there(&session)?;
    let rendered = steps::overlay(&session, cluster.as_ref(), &bundles)?;
    steps::check_rights(&session, cluster.as_ref(), &rendered)?;
    let step = session.ui.step("dry run", "");
    let look = || {
        let mut images = Vec::new();
        for (image, archive) in steps::archives(&session, &bundles) {
            step.status(&image.reference);
            let (send, there) = match &session.config.registry {
                Some(registry) => {
                    let reference = &image.reference;
                    let looked = registry.look(&archive, reference, &step, &session.cancel);
                    let looked = looked.or_exit(Exit::Cluster)?;
                    (looked.sent, looked.there)
                }
                None => (fs_err::metadata(&archive).map_or(0, |m| m.len()), 0),
            };
            let name = steps::image_name(&session, image);
            images.push(Image { name, send, there });
        }
        let mut preview = preview::preview(
            &steps::target(&session, cluster.as_ref()),
            &rendered.objects,
            &rendered.base,
            &step,
            &session.cancel,
        )
        .or_exit(Exit::Cluster)?;
        if steps::injects(&session) {
            let (installed, removed) = webhook(session.config.name());
            preview.start.push(installed);
            preview.stop.push(removed);
        }
        Ok(DryRun {
            schema: 1,
            cluster: cluster.name().to_owned(),
            images,
            preview,
        })
    };
    let looked = look();
    step.end_with(&looked, |run| sum(&run.preview.objects));
    let looked = looked?;
    match format {
        TextOrJson::Text => print::out(text(&looked))?,
        TextOrJson::Json => {
            let json = serde_json::to_string_pretty(&looked).or_exit(Exit::Fault)?;
            print::out(format_args!("{json}\n"))?;
        }
    }
    let objects = looked.preview.objects.iter();
    match objects.filter(|o| o.action == Action::Refused).count() {
        0 => Ok(Exit::Fine),
        refused => Err(Failure::new(
            Exit::Cluster,
            format!("the API server would refuse {}", count(refused, "object")),
        )
        .help("its words are below each")),
    }
}

/// What `podcov deploy` does to the cluster besides applying the rendering.
fn webhook(composition: &str) -> (String, String) {
    let own = inject::own_namespace(composition);
    (
        format!(
            "install the webhook: the agent's image, a Deployment, a Service and a Secret in namespace {own}, \
             a MutatingWebhookConfiguration; label the namespaces whose pods it patches {INJECT_LABEL}={composition}"
        ),
        "remove the webhook and its labels".to_owned(),
    )
}

fn sum(objects: &[Change]) -> String {
    let of = |action| objects.iter().filter(|o| o.action == action).count();
    format!(
        "{} to create, {} to change, {} as they are, {} refused; nothing was changed",
        of(Action::Create),
        of(Action::Change),
        of(Action::Same),
        of(Action::Refused)
    )
}

fn text(run: &DryRun) -> String {
    let mut text = format!("{}\n", style("images").bold());
    for image in &run.images {
        let there = match image.there {
            0 => String::new(),
            there => format!(", {} are there", human_bytes(there)),
        };
        let send = human_bytes(image.send);
        text += &format!("  {}: {send} to send{there}\n", visible(&image.name));
    }
    text += &format!("{}\n", style("objects").bold());
    for change in &run.preview.objects {
        let (mark, word) = match change.action {
            Action::Create => (style("+").green(), "create"),
            Action::Change => (style("~").yellow(), "change"),
            Action::Same => (style("=").dim(), "same"),
            Action::Refused => (style("✗").red(), "refused"),
        };
        text += &format!("  {mark} {word} {}\n", visible(&change.object));
        if let Some(why) = &change.why {
            text += &format!("      {}\n", visible(why));
        }
        for field in &change.fields {
            text += &format!("      {}\n", shown(field));
        }
        if !change.by_podcov.is_empty() && change.action != Action::Same {
            text += "      of the profile overlay, not of your manifests:\n";
            for field in &change.by_podcov {
                text += &format!("        {}\n", shown(field));
            }
        }
    }
    for (title, lines) in [
        ("started", &run.preview.start),
        ("at the end of a run (`podcov stop`)", &run.preview.stop),
    ] {
        if !lines.is_empty() {
            text += &format!("{}\n", style(title).bold());
        }
        for line in lines {
            text += &format!("  {}\n", visible(line));
        }
    }
    text
}

fn shown(field: &Field) -> String {
    let value = |value: &serde_json::Value| {
        let text = value.to_string();
        match text.char_indices().nth(VALUE) {
            Some((at, _)) => format!("{}…", &text[..at]),
            None => text,
        }
    };
    let path = visible(&field.path);
    match (field.from.is_null(), field.to.is_null()) {
        (true, _) => format!("{path}: added {}", value(&field.to)),
        (_, true) => format!("{path}: removed {}", value(&field.from)),
        _ => format!("{path}: {} → {}", value(&field.from), value(&field.to)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_would_be_done_is_told_and_long_values_are_cut() {
        console::set_colors_enabled(false);
        let field = |path: &str, from, to| Field {
            path: path.to_owned(),
            from,
            to,
        };
        let change = |object: &str, action, fields| Change {
            object: object.to_owned(),
            action,
            why: (action == Action::Refused).then(|| "denied by \x1b[2J policy".to_owned()),
            fields,
            by_podcov: vec![field("spec.image", json!("a"), json!("b"))],
        };
        let preview = Preview {
            objects: vec![
                change(
                    "v1 Pod a/b",
                    Action::Change,
                    vec![field("spec.x", json!(1), json!(2))],
                ),
                change("v1 Pod a/c", Action::Same, vec![]),
                change("v1 Pod a/d", Action::Refused, vec![]),
                change(
                    "v1 Pod a/e",
                    Action::Create,
                    vec![field("f", json!(null), json!("é".repeat(120)))],
                ),
            ],
            start: vec![],
            stop: vec!["delete v1 Pod a/b with its pods".to_owned()],
        };
        let run = DryRun {
            schema: 1,
            cluster: "c".to_owned(),
            images: vec![Image {
                name: "r.io/op@sha256:00".to_owned(),
                send: 2_000_000,
                there: 1_000_000,
            }],
            preview,
        };
        insta::assert_snapshot!(text(&run));
        let expected = "1 to create, 1 to change, 1 as they are, 1 refused; nothing was changed";
        assert_eq!(sum(&run.preview.objects), expected);
    }
}
