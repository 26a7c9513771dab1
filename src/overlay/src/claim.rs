//! Which container runs which component.

use super::refusal::listed;
use super::template::{Id, Slot};
use super::{Component, Error, Spec, Unseen, WorkloadRef};

/// For each slot the index of the component it runs. Components that match
/// nothing although they may (clients that only the suite starts) give a
/// warning.
pub(super) fn claim(
    spec: &Spec,
    ids: &[Id],
    slots: &[Slot],
    warnings: &mut Vec<String>,
) -> Result<Vec<Option<usize>>, Error> {
    let mut claims: Vec<Option<usize>> = vec![None; slots.len()];
    for (index, component) in spec.components.iter().enumerate() {
        for slot in wanted(component, ids, slots, warnings)? {
            match claims[slot] {
                Some(other) if other != index => {
                    return Err(Error::ClaimedTwice {
                        workload: ids[slots[slot].object].label(),
                        container: slots[slot].name.clone(),
                        first: spec.components[other].name.clone(),
                        second: component.name.clone(),
                    });
                }
                _ => claims[slot] = Some(index),
            }
        }
    }
    Ok(claims)
}

fn wanted(
    component: &Component,
    ids: &[Id],
    slots: &[Slot],
    warnings: &mut Vec<String>,
) -> Result<Vec<usize>, Error> {
    if !component.workloads.is_empty() {
        let mut all = Vec::new();
        for workload in &component.workloads {
            all.extend(named(component, workload, ids, slots)?);
        }
        return Ok(all);
    }
    let Some(image) = &component.image else {
        return Ok(Vec::new());
    };
    let found: Vec<_> = (0..slots.len())
        .filter(|slot| slots[*slot].known && component.runs(&slots[*slot].image))
        .collect();
    let is_fine = component.created_by.is_some() || component.unseen == Unseen::Injected;
    if !found.is_empty() || is_fine {
        return Ok(found);
    }
    if component.unseen == Unseen::Started {
        warnings.push(format!(
            "no container in the manifests runs `{image}`: component `{}` is measured only where \
             the e2e suite starts it",
            component.name
        ));
        return Ok(found);
    }
    let images = slots
        .iter()
        .filter(|slot| slot.known)
        .map(|slot| &slot.image);
    Err(Error::NoSuchImage {
        component: component.name.clone(),
        image: image.clone(),
        candidates: candidates(image, images.cloned()),
    })
}

fn named(
    component: &Component,
    workload: &WorkloadRef,
    ids: &[Id],
    slots: &[Slot],
) -> Result<Vec<usize>, Error> {
    let fits = |id: &Id| {
        id.kind.eq_ignore_ascii_case(&workload.kind)
            && id.name == workload.name
            && (workload.namespace.is_none() || workload.namespace == id.namespace)
    };
    let mut found = Vec::new();
    for (object, id) in ids.iter().enumerate().filter(|(_, id)| fits(id)) {
        let own: Vec<_> = (0..slots.len())
            .filter(|slot| slots[*slot].object == object)
            .collect();
        let chosen: Vec<_> = match &workload.container {
            Some(container) => own
                .iter()
                .copied()
                .filter(|slot| slots[*slot].name == *container)
                .collect(),
            None => sole(component, &own, slots),
        };
        if chosen.is_empty() {
            let names = own.iter().map(|slot| slots[*slot].name.as_str());
            return Err(Error::NoSuchContainer {
                component: component.name.clone(),
                workload: id.label(),
                wanted: match &workload.container {
                    Some(container) => format!("container `{container}`"),
                    None => "one container that runs its image".to_owned(),
                },
                found: listed(names),
            });
        }
        found.extend(chosen);
    }
    if found.is_empty() {
        let mut labels: Vec<_> = slots.iter().map(|slot| slot.object).collect();
        labels.dedup();
        let labels = labels.into_iter().map(|object| ids[object].label());
        return Err(Error::NoSuchWorkload {
            component: component.name.clone(),
            workload: workload.to_string(),
            candidates: candidates(&workload.to_string(), labels),
        });
    }
    Ok(found)
}

/// The containers that are meant where only the workload is named: those that
/// run the image, or the only one there is.
fn sole(component: &Component, own: &[usize], slots: &[Slot]) -> Vec<usize> {
    let filter = |test: &dyn Fn(&Slot) -> bool| {
        let found = own.iter().copied().filter(|slot| test(&slots[*slot]));
        found.collect::<Vec<_>>()
    };
    let by_image = filter(&|slot| component.runs(&slot.image));
    if !by_image.is_empty() {
        return by_image;
    }
    let main = filter(&|slot| slot.main);
    if main.len() == 1 { main } else { Vec::new() }
}

/// What could have been meant, the nearest first.
fn candidates(wanted: &str, there: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 8;
    let mut there: Vec<_> = there.collect();
    there.sort();
    there.dedup();
    let wanted = wanted.to_lowercase();
    there.sort_by_cached_key(|one| {
        let likeness = strsim::jaro_winkler(&wanted, &one.to_lowercase());
        std::cmp::Reverse((likeness * 1e6) as u64)
    });
    let more = there.len().saturating_sub(SHOWN);
    there.truncate(SHOWN);
    let mut text = listed(there.iter().map(String::as_str));
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
