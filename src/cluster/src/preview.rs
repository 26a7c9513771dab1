//! What deploying would change in the cluster. Nothing is changed: the API
//! server is asked to apply each object as a dry run, so its defaults, its
//! admission and the fields of others are in the answer.

mod difference;

use std::collections::BTreeSet;

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use podcov_process::{Cancel, Progress};
use serde::Serialize;
use serde_json::Value;

use self::difference::{between, masked};
use crate::deploy::MANAGER;
use crate::objects::{Object, locate, text};
use crate::stop::{resource, scales};
use crate::target::{Error, Target, ask, not_found, runtime, said};

/// Everything that a deployment would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// The objects of the rendering, in its order.
    pub objects: Vec<Change>,
    /// What is started at once although its manifest says nothing of it, and
    /// what is stopped when the run is over; a sentence each.
    pub start: Vec<String>,
    /// See `start`.
    pub stop: Vec<String>,
}

/// What would become of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `apps/v1 Deployment shop/operator`.
    pub object: String,
    /// In one word.
    pub action: Action,
    /// Why it is refused, or why it could only be looked at from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Fields that would be other than they are in the cluster.
    pub fields: Vec<Field>,
    /// What of the object is not in your manifests but of the profile overlay.
    pub by_podcov: Vec<Field>,
}

/// In one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It is not there and would be.
    Create,
    /// It is there and would be another.
    Change,
    /// It is there as it would be.
    Same,
    /// The API server would not take it.
    Refused,
}

/// A field that differs. A value that is not there is `null`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    /// `spec.template.spec.containers[main].image`.
    pub path: String,
    /// As it is.
    pub from: Value,
    /// As it would be.
    pub to: Value,
}

/// Looks what applying `rendering` would do; `base` is the same without the
/// profile overlay.
pub fn preview(
    target: &Target,
    rendering: &[Value],
    base: &[Value],
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Preview, Error> {
    runtime()?.block_on(async {
        let client = target.client().await?;
        let objects = locate(&client, rendering, cancel).await?;
        let mut preview = Preview::default();
        let mut new_namespaces = BTreeSet::new();
        // Namespaces first, since the others need them, then in the given order.
        let is_first = |object: &&Object| object.kind() == "Namespace";
        for object in objects.iter().filter(is_first) {
            if live(&client, object, cancel).await?.is_none() {
                new_namespaces.insert(object.name.clone());
            }
        }
        for object in &objects {
            progress.status(&format!("looking at {}", object.label()));
            let is_new = object
                .namespace
                .as_ref()
                .is_some_and(|namespace| new_namespaces.contains(namespace));
            let before = match object.is_known && !is_new {
                true => live(&client, object, cancel).await?,
                false => None,
            };
            starts(object, before.as_ref(), &mut preview.start);
            stops(object, &mut preview.stop);
            let (action, why, fields) = match (is_new, object.is_known) {
                (true, _) => (
                    Action::Create,
                    Some("in a namespace that is not there yet"),
                    vec![],
                ),
                (_, false) => (
                    Action::Create,
                    Some("of a kind that is not there yet"),
                    vec![],
                ),
                _ => {
                    let change =
                        applied(&client, object, &objects, before.as_ref(), cancel).await?;
                    preview.objects.push(Change {
                        by_podcov: by_podcov(object, base),
                        ..change
                    });
                    continue;
                }
            };
            preview.objects.push(Change {
                object: object.label(),
                action,
                why: why.map(str::to_owned),
                fields,
                by_podcov: by_podcov(object, base),
            });
        }
        Ok(preview)
    })
}

fn api(client: &Client, object: &Object) -> Api<DynamicObject> {
    match &object.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &object.resource),
        None => Api::all_with(client.clone(), &object.resource),
    }
}

/// The object as it is in the cluster.
async fn live(client: &Client, object: &Object, cancel: &Cancel) -> Result<Option<Value>, Error> {
    let api = api(client, object);
    let action = format!("look at {}", object.label());
    let found = ask(&action, cancel, || api.get_opt(&object.name)).await?;
    Ok(found.map(|found| value(&found)))
}

fn value(object: &DynamicObject) -> Value {
    // Maps with text as keys, which cannot fail.
    serde_json::to_value(object).unwrap_or_default()
}

/// What the API server makes of the object, by a dry run.
async fn applied(
    client: &Client,
    object: &Object,
    all: &[Object],
    before: Option<&Value>,
    cancel: &Cancel,
) -> Result<Change, Error> {
    let api = api(client, object);
    let params = PatchParams::apply(MANAGER).force().dry_run();
    let patch = Patch::Apply(&object.value);
    let action = format!("apply {} as a dry run", object.label());
    let answer = ask(&action, cancel, || api.patch(&object.name, &params, &patch)).await;
    let (action, why, fields) = match (answer, before) {
        (Ok(_), None) => (Action::Create, None, vec![]),
        (Ok(after), Some(before)) => {
            let fields = between(before, &value(&after));
            let action = match fields.is_empty() {
                true => Action::Same,
                false => Action::Change,
            };
            (action, None, masked(object.kind(), fields))
        }
        // A binding is only taken when its role is there, which a dry run does not
        // bring about.
        (Err(Error::Api { source, .. }), None) if not_found(&source) && binds(object, all) => {
            let why = "to a role that comes with it and is not there yet";
            (Action::Create, Some(why.to_owned()), vec![])
        }
        (Err(Error::Api { source, .. }), _) => {
            let why = match &*source {
                // Its words may quote a value.
                kube::Error::Api(status) if object.kind() == "Secret" => status.reason.clone(),
                source => said(source),
            };
            (Action::Refused, Some(why), vec![])
        }
        (Err(error), _) => return Err(error),
    };
    Ok(Change {
        object: object.label(),
        action,
        why,
        fields,
        by_podcov: vec![],
    })
}

/// Whether it is the binding of a role of the same rendering.
fn binds(object: &Object, all: &[Object]) -> bool {
    let of_role = |path| text(&object.value, path);
    let (kind, name) = (of_role("/roleRef/kind"), of_role("/roleRef/name"));
    !name.is_empty() && all.iter().any(|o| o.kind() == kind && o.name == name)
}

/// The difference that the profile overlay makes.
fn by_podcov(object: &Object, base: &[Value]) -> Vec<Field> {
    const KEYS: [&str; 4] = [
        "/apiVersion",
        "/kind",
        "/metadata/name",
        "/metadata/namespace",
    ];
    let key = |value: &Value| KEYS.map(|path| text(value, path).to_owned());
    let own = key(&object.value);
    let without = base.iter().find(|value| key(value) == own);
    let fields = without.map(|without| between(without, &object.value));
    masked(object.kind(), fields.unwrap_or_default())
}

/// See `deploy.rs`: a workload that does not say how many pods it wants is
/// started again if it was stopped.
fn starts(object: &Object, before: Option<&Value>, all: &mut Vec<String>) {
    let says_nothing = object.value["spec"]["replicas"].is_null();
    let is_stopped = before.is_some_and(|before| before["spec"]["replicas"] == 0);
    if is_workload(object) && scales(object.kind()) && says_nothing && is_stopped {
        all.push(format!("scale {} to 1", object.label()));
    }
}

/// See `stop.rs`.
fn stops(object: &Object, all: &mut Vec<String>) {
    if object.kind() == "CustomResourceDefinition" {
        let kind = text(&object.value, "/spec/names/kind");
        let group = text(&object.value, "/spec/group");
        all.push(format!(
            "delete the {kind} ({group}) objects that were made since the deployment"
        ));
    }
    if is_workload(object) {
        all.push(match scales(object.kind()) {
            true => format!("scale {} to 0", object.label()),
            false => format!("delete {} with its pods", object.label()),
        });
    }
}

fn is_workload(object: &Object) -> bool {
    resource(object.kind()).is_some_and(|resource| resource.group == object.resource.group)
}
