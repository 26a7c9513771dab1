//! What podcov needs to be allowed in a cluster, for one composition.
//!
//! Every request that podcov makes is behind one of the steps below; who adds a
//! request adds its right there, and nowhere else. No step needs `exec`, and
//! nothing is asked for with `*` that the user's own manifests do not ask for.

mod check;
mod write;

use std::collections::BTreeSet;

use podcov_process::Cancel;
use serde_json::Value;

pub use self::check::missing;
pub use self::write::{Subject, manifest};
use crate::inject::{NAME, configuration_name, own_namespace};
use crate::objects::{Object, locate, text};
use crate::stop::{resource, scales};
use crate::target::{Error, Target, runtime};

/// The API group of roles and bindings.
const RBAC: &str = "rbac.authorization.k8s.io";
/// Why rights of the user's own roles are needed.
const HAND_OUT: &str = "hand out the rights that your own roles have";

/// One thing that may be done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Where; `None` is everywhere.
    pub namespace: Option<String>,
    /// The API group, empty for the core's.
    pub group: String,
    /// As it is called in paths, with a subresource: `deployments/scale`. A path
    /// such as `/metrics`, or `*` for all of them, where `is_path`.
    pub resource: String,
    /// It is about a path, and no resource.
    pub is_path: bool,
    /// One object alone.
    pub name: Option<String>,
    /// `get`, `list`, `watch`, `create`, `patch`, `delete`, …
    pub verb: String,
    /// What for.
    pub why: &'static str,
}

/// What decides about the rights.
#[derive(Clone, Copy, Debug)]
pub struct Composition<'a> {
    /// All objects of the rendering.
    pub rendering: &'a [Value],
    /// Operators create pods of it, in whatever namespace.
    pub creates_pods: bool,
    /// Clients of it may run in pods that the suite starts.
    pub has_clients: bool,
    /// The webhook, where pods are patched as they are made.
    pub webhook: Option<Injection<'a>>,
}

/// The webhook of a composition.
#[derive(Clone, Copy, Debug)]
pub struct Injection<'a> {
    /// The composition.
    pub composition: &'a str,
    /// Patterns of the namespaces whose pods it patches, besides those of the
    /// rendering.
    pub namespaces: &'a [String],
}

impl Composition<'_> {
    /// Its pods can be in namespaces whose names nobody knows before.
    fn has_pods_everywhere(&self) -> bool {
        let mut patterns = self.webhook.iter().flat_map(|webhook| webhook.namespaces);
        self.creates_pods || patterns.any(|name| name.ends_with('*'))
    }

    /// The namespaces beside those of the rendering in which the webhook
    /// patches pods, as far as they have names.
    fn patched(&self) -> impl Iterator<Item = &str> {
        let patterns = self.webhook.iter().flat_map(|webhook| webhook.namespaces);
        patterns
            .map(String::as_str)
            .filter(|name| !name.ends_with('*'))
    }

    /// Where its pods are, as far as that is known.
    fn namespaces(&self, objects: &[Object]) -> BTreeSet<String> {
        let patched = self.patched().map(str::to_owned);
        namespaces(objects).into_iter().chain(patched).collect()
    }
}

/// The rights that a run of the composition needs, each once. Asks the cluster
/// which kinds it has.
pub fn needed(
    target: &Target,
    composition: &Composition,
    cancel: &Cancel,
) -> Result<Vec<Right>, Error> {
    runtime()?.block_on(async {
        let client = target.client().await?;
        let objects = locate(&client, composition.rendering, cancel).await?;
        Ok(of(&objects, composition))
    })
}

impl Right {
    fn is_same(&self, other: &Right) -> bool {
        self.namespace == other.namespace && self.name == other.name && self.is_alike(other)
    }

    /// Whether who has this one needs no other, as far as names go.
    fn covers(&self, other: &Right) -> bool {
        (self.name.is_none() || self.name == other.name) && self.is_alike(other)
    }

    fn is_alike(&self, other: &Right) -> bool {
        let thing = |right: &Right| (right.is_path, right.group.clone(), right.resource.clone());
        self.verb == other.verb && thing(self) == thing(other)
    }
}

fn of(objects: &[Object], composition: &Composition) -> Vec<Right> {
    let mut all = Rights::default();
    look(&mut all);
    watch(&mut all);
    apply(objects, &mut all);
    wait(objects, &mut all);
    read_logs(objects, composition, &mut all);
    stop(objects, composition, &mut all);
    clean_up(objects, &mut all);
    if let Some(webhook) = composition.webhook {
        inject(objects, webhook, &mut all);
    }
    // Last: what podcov needs itself is nothing that who may escalate can do
    // without.
    hand_out(objects, &mut all);
    // The same right for two reasons is one, and so is one that holds everywhere
    // anyway.
    let mut rights: Vec<Right> = Vec::new();
    for right in &all.0 {
        let is_said = rights.iter().any(|other| other.is_same(right));
        let is_in = |wide: &Right| {
            let is_sure = wide.why != HAND_OUT || right.why == HAND_OUT;
            is_sure && wide.namespace.is_none() && wide.covers(right)
        };
        let is_elsewhere = right.namespace.is_some() && all.0.iter().any(is_in);
        if !is_said && !is_elsewhere {
            rights.push(right.clone());
        }
    }
    rights
}

/// `provider.rs`: is the cluster there, and what machine are its nodes.
fn look(all: &mut Rights) {
    all.of("see whether nodes are ready and what machines they are")
        .everywhere("", "nodes", &["list"]);
}

/// `watch.rs`: pods of a run can come up in every namespace.
fn watch(all: &mut Rights) {
    all.of("see every pod of the run from its first moment")
        .everywhere("", "pods", &["list", "watch"]);
}

/// `deploy.rs`, `preview.rs`: apply what is rendered, server-side.
fn apply(objects: &[Object], all: &mut Rights) {
    for object in objects {
        let resource = &object.resource;
        all.of("apply what is rendered").one(
            object.namespace.as_deref(),
            &resource.group,
            &resource.plural,
            &object.name,
            &["get", "create", "patch"],
        );
    }
}

/// Kubernetes lets nobody hand out more than they have. Having the rights that
/// the manifests hand out is less than `escalate`, which is the right to make of
/// a role whatever one likes.
fn hand_out(objects: &[Object], all: &mut Rights) {
    for object in objects
        .iter()
        .filter(|object| object.resource.group == RBAC)
    {
        let namespace = object.namespace.as_deref();
        match object.kind() {
            "Role" | "ClusterRole" if object.value.get("aggregationRule").is_some() => {
                // Its rules are not known before; only this or everything will do.
                let plural = &object.resource.plural;
                all.of("hand out a role that is put together from others")
                    .one(namespace, RBAC, plural, &object.name, &["escalate"]);
            }
            "Role" | "ClusterRole" => {
                for rule in object.value["rules"].as_array().into_iter().flatten() {
                    all.of(HAND_OUT).rule(namespace, rule);
                }
            }
            "RoleBinding" | "ClusterRoleBinding" => {
                let (kind, name) = (
                    text(&object.value, "/roleRef/kind"),
                    text(&object.value, "/roleRef/name"),
                );
                let is_it = |other: &&Object| {
                    other.resource.group == RBAC
                        && other.kind() == kind
                        && other.name == name
                        && (kind == "ClusterRole" || other.namespace == object.namespace)
                };
                let there = objects.iter().find(is_it);
                // What is in the rendering has its rights above.
                if there.is_none_or(|role| role.value.get("aggregationRule").is_some()) {
                    let plural = match kind {
                        "ClusterRole" => "clusterroles",
                        _ => "roles",
                    };
                    all.of("bind a role that your manifests name").one(
                        namespace,
                        RBAC,
                        plural,
                        name,
                        &["bind"],
                    );
                }
            }
            _ => {}
        }
    }
}

/// `deploy.rs`: wait until it is ready, and say why it is not.
fn wait(objects: &[Object], all: &mut Rights) {
    for namespace in namespaces(objects) {
        all.of("say why pods are not ready")
            .some(&namespace, "", "events", &["list"]);
    }
    for object in workloads(objects).filter(|object| scales(object.kind())) {
        if object.value["spec"]["replicas"].is_null() {
            scale(
                object,
                &["get", "patch"],
                "start what was stopped before",
                all,
            );
        }
    }
}

/// `logs.rs`: keep the logs of measured containers.
fn read_logs(objects: &[Object], composition: &Composition, all: &mut Rights) {
    let mut all = all.of("keep the logs of measured pods");
    match composition.has_pods_everywhere() {
        true => all.everywhere("", "pods/log", &["get"]),
        false => {
            for namespace in composition.namespaces(objects) {
                all.some(&namespace, "", "pods/log", &["get"]);
            }
        }
    }
}

/// `stop.rs`: end pods and what starts them again, by asking.
fn stop(objects: &[Object], composition: &Composition, all: &mut Rights) {
    for object in workloads(objects) {
        match scales(object.kind()) {
            true => scale(object, &["patch"], "stop what was deployed", all),
            false => all.of("stop what was deployed").one(
                object.namespace.as_deref(),
                &object.resource.group,
                &object.resource.plural,
                &object.name,
                &["delete"],
            ),
        }
    }
    // Pods have names that nobody knows before, and so have what is between
    // them and their workload.
    let has = |kind: &str| workloads(objects).any(|object| object.kind() == kind);
    let between = [("Deployment", "ReplicaSet"), ("CronJob", "Job")];
    let between = between.iter().filter(|(above, _)| has(above));
    let between: BTreeSet<&str> = between.map(|(_, kind)| *kind).collect();
    for namespace in namespaces(objects) {
        all.of("end pods")
            .some(&namespace, "", "pods", &["get", "delete"]);
        for kind in &between {
            let Some(resource) = resource(kind) else {
                continue;
            };
            all.of("find what a pod belongs to").some(
                &namespace,
                &resource.group,
                &resource.plural,
                &["get"],
            );
        }
        if composition.has_clients && !composition.has_pods_everywhere() {
            end_owners(Some(&namespace), "end what your suite starts", all);
        }
    }
    for namespace in composition.patched() {
        let why = "end pods that the webhook patched";
        all.of(why).some(namespace, "", "pods", &["get", "delete"]);
        end_owners(Some(namespace), why, all);
    }
    if composition.has_pods_everywhere() {
        let why = "end what your operators create";
        all.of(why).everywhere("", "pods", &["get", "delete"]);
        end_owners(None, why, all);
    }
}

/// The kinds that make pods, whoever made the objects.
fn end_owners(namespace: Option<&str>, why: &'static str, all: &mut Rights) {
    const KINDS: [&str; 7] = [
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "ReplicaSet",
        "Job",
        "CronJob",
        "ReplicationController",
    ];
    for (kind, resource) in KINDS
        .iter()
        .filter_map(|kind| Some((kind, resource(kind)?)))
    {
        let mut all = all.of(why);
        all.add(namespace, &resource.group, &resource.plural, None, &["get"]);
        match scales(kind) {
            true => {
                let scale = format!("{}/scale", resource.plural);
                all.add(namespace, &resource.group, &scale, None, &["patch"]);
            }
            false => all.add(
                namespace,
                &resource.group,
                &resource.plural,
                None,
                &["delete"],
            ),
        }
    }
}

/// `stop.rs`: custom resources that came into being during the run go first, so
/// that operators clean up after them.
fn clean_up(objects: &[Object], all: &mut Rights) {
    for crd in objects
        .iter()
        .filter(|o| o.kind() == "CustomResourceDefinition")
    {
        let (group, plural) = (
            text(&crd.value, "/spec/group"),
            text(&crd.value, "/spec/names/plural"),
        );
        all.of("delete the custom resources that the run made, and no others")
            .everywhere(group, plural, &["list", "delete"]);
    }
}

/// `inject.rs`, `watch/injection.rs`: install the webhook, look at it, remove it.
fn inject(objects: &[Object], webhook: Injection<'_>, all: &mut Rights) {
    const NEWS: [&str; 4] = ["get", "create", "patch", "delete"];
    const UNREAD: [&str; 3] = ["create", "patch", "delete"];
    let own = own_namespace(webhook.composition);
    let hooks = "mutatingwebhookconfigurations";
    let mut install = all.of("install the webhook and remove it at the end");
    // The namespace is there before: a right can be given nowhere else.
    install.one(None, "", "namespaces", &own, &["get", "patch"]);
    let name = configuration_name(webhook.composition);
    install.one(None, "admissionregistration.k8s.io", hooks, &name, &NEWS);
    install.one(Some(&own), "apps", "deployments", NAME, &NEWS);
    install.one(Some(&own), "", "services", NAME, &UNREAD);
    // `podcov inject status` reads which settings it has.
    install.one(Some(&own), "", "secrets", NAME, &NEWS);
    // A request for a pod that is never made shows whether it answers.
    install.some(&own, "", "pods", &["create", "delete"]);
    let mut label = all.of("see and label the namespaces whose pods are patched");
    label.everywhere("", "namespaces", &["list", "watch"]);
    if webhook.namespaces.iter().any(|name| name.ends_with('*')) {
        label.everywhere("", "namespaces", &["patch"]);
    }
    let named = webhook.namespaces.iter().cloned();
    for name in namespaces(objects).into_iter().chain(named) {
        label.one(None, "", "namespaces", &name, &["patch"]);
    }
}

fn scale(object: &Object, verbs: &[&str], why: &'static str, all: &mut Rights) {
    let plural = format!("{}/scale", object.resource.plural);
    all.of(why).one(
        object.namespace.as_deref(),
        &object.resource.group,
        &plural,
        &object.name,
        verbs,
    );
}

fn workloads(objects: &[Object]) -> impl Iterator<Item = &Object> {
    objects
        .iter()
        .filter(|object| resource(object.kind()).is_some_and(|r| r.group == object.resource.group))
}

/// Where the rendering has pods.
fn namespaces(objects: &[Object]) -> BTreeSet<String> {
    workloads(objects)
        .filter_map(|object| object.namespace.clone())
        .collect()
}

/// Rights, as they are gathered.
#[derive(Default)]
struct Rights(Vec<Right>);

/// Rights for one reason.
struct Reason<'a> {
    all: &'a mut Vec<Right>,
    why: &'static str,
}

impl Rights {
    fn of(&mut self, why: &'static str) -> Reason<'_> {
        Reason {
            all: &mut self.0,
            why,
        }
    }
}

impl Reason<'_> {
    fn everywhere(&mut self, group: &str, resource: &str, verbs: &[&str]) {
        self.add(None, group, resource, None, verbs);
    }

    fn some(&mut self, namespace: &str, group: &str, resource: &str, verbs: &[&str]) {
        self.add(Some(namespace), group, resource, None, verbs);
    }

    fn one(
        &mut self,
        namespace: Option<&str>,
        group: &str,
        resource: &str,
        name: &str,
        verbs: &[&str],
    ) {
        self.add(namespace, group, resource, Some(name), verbs);
    }

    fn add(
        &mut self,
        namespace: Option<&str>,
        group: &str,
        resource: &str,
        name: Option<&str>,
        verbs: &[&str],
    ) {
        for verb in verbs {
            self.all.push(Right {
                namespace: namespace.map(str::to_owned),
                group: group.to_owned(),
                resource: resource.to_owned(),
                is_path: false,
                name: name.map(str::to_owned),
                verb: (*verb).to_owned(),
                why: self.why,
            });
        }
    }

    fn path(&mut self, path: &str, verbs: &[&str]) {
        self.add(None, "", path, None, verbs);
        let added = self.all.len() - verbs.len();
        self.all[added..]
            .iter_mut()
            .for_each(|right| right.is_path = true);
    }

    /// A rule of a role of the user's.
    fn rule(&mut self, namespace: Option<&str>, rule: &Value) {
        let words = |key: &str| -> Vec<&str> {
            let words = rule[key].as_array().into_iter().flatten();
            words.filter_map(Value::as_str).collect()
        };
        let verbs = words("verbs");
        for url in words("nonResourceURLs") {
            self.path(url, &verbs);
        }
        let names = words("resourceNames");
        for group in words("apiGroups") {
            for resource in words("resources") {
                match names.as_slice() {
                    [] => self.add(namespace, group, resource, None, &verbs),
                    names => names
                        .iter()
                        .for_each(|name| self.add(namespace, group, resource, Some(name), &verbs)),
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "rights/tests.rs"]
mod tests;
