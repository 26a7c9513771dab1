//! The objects of a rendering, each with the place where the API server keeps
//! its like.

use kube::Client;
use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, oneshot};
use podcov_process::Cancel;
use serde_json::Value;

use crate::target::{Error, ask, not_found};

/// An object of a rendering.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) value: Value,
    pub(crate) resource: ApiResource,
    /// `None` for what is in no namespace.
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    /// Whether the API server knows the kind by now, and not only the rendering.
    pub(crate) is_known: bool,
}

impl Object {
    /// `apps/v1 Deployment shop/operator`.
    pub(crate) fn label(&self) -> String {
        let ApiResource {
            api_version, kind, ..
        } = &self.resource;
        match &self.namespace {
            Some(namespace) => format!("{api_version} {kind} {namespace}/{}", self.name),
            None => format!("{api_version} {kind} {}", self.name),
        }
    }

    pub(crate) fn kind(&self) -> &str {
        &self.resource.kind
    }
}

/// A kind, as far as objects of it are to be found.
#[derive(Clone)]
struct Place {
    gvk: GroupVersionKind,
    resource: ApiResource,
    is_namespaced: bool,
    is_known: bool,
}

/// Looks up where the objects belong. Kinds that the rendering itself defines
/// need not be there yet.
pub(crate) async fn locate(
    client: &Client,
    rendering: &[Value],
    cancel: &Cancel,
) -> Result<Vec<Object>, Error> {
    let mut places: Vec<Place> = Vec::new();
    let mut objects = Vec::new();
    for value in rendering {
        let (version, kind) = (text(value, "/apiVersion"), text(value, "/kind"));
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let place = match places.iter().find(|place| place.gvk == gvk) {
            Some(place) => place.clone(),
            None => {
                let place = find(client, gvk, rendering, cancel).await?;
                places.push(place.clone());
                place
            }
        };
        let given = Some(text(value, "/metadata/namespace")).filter(|name| !name.is_empty());
        let namespace = given.unwrap_or(client.default_namespace()).to_owned();
        objects.push(Object {
            value: value.clone(),
            resource: place.resource,
            namespace: place.is_namespaced.then_some(namespace),
            name: text(value, "/metadata/name").to_owned(),
            is_known: place.is_known,
        });
    }
    Ok(objects)
}

async fn find(
    client: &Client,
    gvk: GroupVersionKind,
    rendering: &[Value],
    cancel: &Cancel,
) -> Result<Place, Error> {
    let action = format!("ask where {} of {} are", gvk.kind, gvk.api_version());
    let found = ask(&action, cancel, || oneshot::pinned_kind(client, &gvk)).await;
    let why = match found {
        Ok((resource, capabilities)) => {
            return Ok(Place {
                gvk,
                resource,
                is_namespaced: capabilities.scope == Scope::Namespaced,
                is_known: true,
            });
        }
        Err(Error::Api { source, .. }) if is_missing(&source) => source,
        Err(error) => return Err(error),
    };
    let defines = |value: &&Value| {
        text(value, "/kind") == "CustomResourceDefinition"
            && text(value, "/spec/group") == gvk.group
            && text(value, "/spec/names/kind") == gvk.kind
    };
    match rendering.iter().find(defines) {
        Some(crd) => Ok(Place {
            resource: ApiResource::from_gvk_with_plural(&gvk, text(crd, "/spec/names/plural")),
            gvk,
            is_namespaced: text(crd, "/spec/scope") == "Namespaced",
            is_known: false,
        }),
        None => Err(Error::Manifest(format!(
            "neither the cluster nor what is deployed defines the kind {} of {} ({why}): install \
             what defines it first, or leave its objects out",
            gvk.kind,
            gvk.api_version()
        ))),
    }
}

fn is_missing(error: &kube::Error) -> bool {
    not_found(error) || matches!(error, kube::Error::Discovery(_))
}

/// A text in an object, empty where there is none.
pub(crate) fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value
        .pointer(path)
        .and_then(Value::as_str)
        .unwrap_or_default()
}
