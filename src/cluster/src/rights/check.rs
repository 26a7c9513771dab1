//! Whether the user of a kubeconfig has the rights.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;
use podcov_process::Cancel;

use super::{HAND_OUT, RBAC, Right};
use crate::target::{Error, Target, ask, runtime};

/// How many questions are asked at a time.
const AT_ONCE: usize = 8;

/// Those of the rights that the user of the kubeconfig does not have. Everybody
/// who is logged in may ask this. Creates nothing.
pub fn missing(target: &Target, rights: &[Right], cancel: &Cancel) -> Result<Vec<Right>, Error> {
    runtime()?.block_on(async {
        let api: Api<SelfSubjectAccessReview> = Api::all(target.client().await?);
        let asked = futures::stream::iter(rights.iter().map(|right| {
            let api = api.clone();
            async move {
                // Who may write any role, and bind it, need not have what it
                // hands out.
                let has = allows(&api, right, cancel).await?
                    || right.why == HAND_OUT
                        && allows(&api, &of_roles("escalate", right), cancel).await?
                        && allows(&api, &of_roles("bind", right), cancel).await?;
                Ok::<_, Error>((!has).then(|| right.clone()))
            }
        }));
        let answers: Vec<Option<Right>> = asked.buffered(AT_ONCE).try_collect().await?;
        Ok(answers.into_iter().flatten().collect())
    })
}

async fn allows(
    api: &Api<SelfSubjectAccessReview>,
    right: &Right,
    cancel: &Cancel,
) -> Result<bool, Error> {
    let (params, review) = (PostParams::default(), review(right));
    let action = "ask which rights there are";
    let answer = ask(action, cancel, || api.create(&params, &review)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// The right to do this with the roles that hand out `right`.
fn of_roles(verb: &str, right: &Right) -> Right {
    let resource = match right.namespace {
        Some(_) => "roles",
        None => "clusterroles",
    };
    Right {
        group: RBAC.to_owned(),
        resource: resource.to_owned(),
        is_path: false,
        name: None,
        verb: verb.to_owned(),
        ..right.clone()
    }
}

fn review(right: &Right) -> SelfSubjectAccessReview {
    let mut spec = SelfSubjectAccessReviewSpec::default();
    if right.is_path {
        spec.non_resource_attributes = Some(NonResourceAttributes {
            path: Some(right.resource.clone()),
            verb: Some(right.verb.clone()),
        });
    } else {
        let (resource, subresource) = match right.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource)),
            None => (right.resource.as_str(), None),
        };
        spec.resource_attributes = Some(ResourceAttributes {
            namespace: right.namespace.clone(),
            group: Some(right.group.clone()),
            version: Some("*".to_owned()),
            resource: Some(resource.to_owned()),
            subresource: subresource.map(str::to_owned),
            name: right.name.clone(),
            verb: Some(right.verb.clone()),
            ..ResourceAttributes::default()
        });
    }
    SelfSubjectAccessReview {
        spec,
        ..SelfSubjectAccessReview::default()
    }
}

impl std::fmt::Display for Right {
    /// `patch deployments.apps/scale "operator" in namespace shop, to stop …`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ", self.verb)?;
        match (self.resource.split_once('/'), self.group.as_str()) {
            _ if self.is_path => f.write_str(&self.resource)?,
            (Some((resource, sub)), "") => write!(f, "{resource}/{sub}")?,
            (Some((resource, sub)), group) => write!(f, "{resource}.{group}/{sub}")?,
            (None, "") => f.write_str(&self.resource)?,
            (None, group) => write!(f, "{}.{group}", self.resource)?,
        }
        if let Some(name) = &self.name {
            write!(f, " `{name}`")?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}")?,
            None if self.is_path => {}
            None => f.write_str(" in the whole cluster")?,
        }
        write!(f, ", to {}", self.why)
    }
}
