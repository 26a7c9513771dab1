//! Waiting for a state.

use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, sleep};
use website_api::{Website, condition, find_condition, is_true};

use crate::Unmet;
use crate::cli::State;
use crate::connect::{Connection, plainly};

const INTERVAL: Duration = Duration::from_millis(200);

/// Waits until website `name` is in `state`.
pub async fn wait(
    at: &Connection,
    name: &str,
    state: State,
    timeout: Duration,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + timeout;
    loop {
        let site = at
            .websites()
            .get_opt(name)
            .await
            .map_err(plainly)
            .with_context(|| format!("could not read website {name}"))?;
        match reached(site.as_ref(), state) {
            Ok(()) => {
                println!("website {name} is {}", word(state));
                return Ok(());
            }
            Err(why) if Instant::now() >= deadline => {
                let message = format!(
                    "website {name} is not {} after {} s: {why}",
                    word(state),
                    timeout.as_secs()
                );
                return Err(Unmet(message).into());
            }
            Err(_) => sleep(INTERVAL).await,
        }
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Accepted => "accepted",
        State::Refused => "refused",
        State::Deleted => "gone",
    }
}

/// Whether the state is reached, or what there is instead.
fn reached(site: Option<&Website>, state: State) -> Result<(), String> {
    let Some(site) = site else {
        return match state {
            State::Deleted => Ok(()),
            _ => Err("it does not exist".to_owned()),
        };
    };
    let conditions = site
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice());
    let conditions = conditions.unwrap_or_default();
    let generation = site.metadata.generation;
    let holds = |kind| is_true(conditions, kind, generation);
    let (kind, fine) = match state {
        State::Ready => (condition::READY, holds(condition::READY)),
        State::Accepted => (condition::ACCEPTED, holds(condition::ACCEPTED)),
        State::Refused => {
            let accepted = find_condition(conditions, condition::ACCEPTED);
            let refused = accepted
                .is_some_and(|c| c.status == "False" && c.observed_generation >= generation);
            (condition::ACCEPTED, refused)
        }
        State::Deleted => return Err("it is still there".to_owned()),
    };
    if fine {
        return Ok(());
    }
    Err(match find_condition(conditions, kind) {
        Some(c) => format!("{kind} is {} ({}): {}", c.status, c.reason, c.message),
        None => "no operator has looked at it".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn site(status: &str, observed: i64) -> Website {
        serde_json::from_value(json!({
            "apiVersion": "web.podcov.dev/v1",
            "kind": "Website",
            "metadata": {"name": "a", "generation": 2},
            "spec": {"host": "a.b.c", "content": {"pages": {"/": "x"}}},
            "status": {"conditions": [{
                "type": "Accepted", "status": status, "reason": "R", "message": "m",
                "observedGeneration": observed, "lastTransitionTime": "2026-11-21T09:00:00Z"
            }]}
        }))
        .expect("valid")
    }

    #[test]
    fn only_the_current_generation_counts() {
        assert!(reached(Some(&site("True", 2)), State::Accepted).is_ok());
        assert!(reached(Some(&site("True", 1)), State::Accepted).is_err());
        assert!(reached(Some(&site("False", 2)), State::Refused).is_ok());
        assert!(reached(Some(&site("False", 1)), State::Refused).is_err());
    }

    #[test]
    fn what_is_there_instead_is_told() {
        let why = reached(Some(&site("False", 2)), State::Accepted).unwrap_err();
        assert_eq!(why, "Accepted is False (R): m");
        assert!(
            reached(None, State::Ready)
                .unwrap_err()
                .contains("not exist")
        );
        assert!(reached(None, State::Deleted).is_ok());
    }
}
