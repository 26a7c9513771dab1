//! How far a website is, worked out from what was seen.

use k8s_openapi::api::apps::v1::Deployment;
use website_api::{CertificateStatus, ConditionUpdate, condition, find_condition};

/// State of the certificate that a website needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateState {
    /// TLS is off.
    NotWanted,
    /// It is being issued.
    Pending,
    /// The certificate operator refuses, with its words.
    Refused(String),
    /// It can be mounted; the number of the issue.
    Issued(i64),
}

impl CertificateState {
    /// Reads the status of a Certificate of generation `generation`.
    pub fn of(status: Option<&CertificateStatus>, generation: Option<i64>) -> Self {
        let Some(status) = status else {
            return Self::Pending;
        };
        match find_condition(&status.conditions, condition::READY) {
            Some(ready) if ready.observed_generation < generation => Self::Pending,
            Some(ready) if ready.status == "True" => Self::Issued(status.revision),
            Some(ready) if ready.reason == "InvalidSpec" => Self::Refused(ready.message.clone()),
            _ => Self::Pending,
        }
    }

    /// The condition that tells it.
    pub fn condition(&self) -> ConditionUpdate<'static> {
        let (holds, reason, message) = match self {
            Self::NotWanted => (true, "NotWanted", "TLS is off".to_owned()),
            Self::Pending => (false, "Pending", "waiting for the certificate".to_owned()),
            Self::Refused(words) => (false, "Refused", words.clone()),
            Self::Issued(revision) => (true, "Issued", format!("certificate {revision} is in use")),
        };
        ConditionUpdate {
            kind: condition::CERTIFICATE_READY,
            holds,
            reason,
            message,
        }
    }

    /// Whether the web servers can be rolled out.
    pub fn allows_rollout(&self) -> bool {
        matches!(self, Self::NotWanted | Self::Issued(_))
    }
}

/// Numbers of web servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Servers {
    /// Wanted.
    pub wanted: i32,
    /// Existing, of any version.
    pub existing: i32,
    /// Of the current version.
    pub updated: i32,
    /// Serving, of any version.
    pub ready: i32,
    /// Whether the Deployment controller has seen the last change.
    pub current: bool,
    /// Whether it gave up on the rollout.
    pub stuck: bool,
}

impl Servers {
    /// Reads a Deployment.
    pub fn of(deployment: &Deployment) -> Self {
        let wanted = deployment
            .spec
            .as_ref()
            .and_then(|s| s.replicas)
            .unwrap_or(1);
        let Some(status) = &deployment.status else {
            return Self {
                wanted,
                ..Self::default()
            };
        };
        let conditions = status.conditions.iter().flatten();
        Self {
            wanted,
            existing: status.replicas.unwrap_or(0),
            updated: status.updated_replicas.unwrap_or(0),
            ready: status.ready_replicas.unwrap_or(0),
            current: status.observed_generation >= deployment.metadata.generation,
            stuck: conditions
                .filter(|c| c.type_ == "Progressing")
                .any(|c| c.reason.as_deref() == Some("ProgressDeadlineExceeded")),
        }
    }

    /// The Ready condition.
    pub fn condition(&self) -> ConditionUpdate<'static> {
        let settled = self.current && self.existing == self.wanted && self.updated == self.wanted;
        let (holds, reason, message) = if self.wanted == 0 && self.current && self.existing == 0 {
            (false, "SwitchedOff", "no replica is wanted".to_owned())
        } else if settled && self.ready == self.wanted {
            (
                true,
                "Serving",
                format!("{} of {} serve", self.ready, self.wanted),
            )
        } else if self.stuck {
            let message = "the web servers do not become ready; see the events of their pods";
            (false, "RolloutStuck", message.to_owned())
        } else {
            let message = format!(
                "{} of {} are up to date, {} serve",
                self.updated, self.wanted, self.ready
            );
            (false, "RollingOut", message)
        };
        ConditionUpdate {
            kind: condition::READY,
            holds,
            reason,
            message,
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

    use super::*;

    fn servers(wanted: i32, existing: i32, updated: i32, ready: i32) -> Servers {
        Servers {
            wanted,
            existing,
            updated,
            ready,
            current: true,
            stuck: false,
        }
    }

    fn check(servers: Servers, reason: &str) {
        let condition = servers.condition();
        assert_eq!(condition.reason, reason, "{servers:?}");
        assert_eq!(condition.holds, reason == "Serving", "{servers:?}");
    }

    #[test]
    fn a_website_is_ready_when_only_current_servers_are_left() {
        check(servers(2, 2, 2, 2), "Serving");
        check(servers(2, 3, 2, 3), "RollingOut");
        check(servers(2, 2, 1, 2), "RollingOut");
        check(servers(0, 0, 0, 0), "SwitchedOff");
        check(servers(0, 1, 0, 1), "RollingOut");
        let unseen = Servers {
            current: false,
            ..servers(2, 2, 2, 2)
        };
        check(unseen, "RollingOut");
        let stuck = Servers {
            stuck: true,
            ..servers(2, 3, 1, 2)
        };
        check(stuck, "RolloutStuck");
    }

    fn ready(status: &str, reason: &str, generation: i64) -> CertificateStatus {
        CertificateStatus {
            revision: 4,
            conditions: vec![Condition {
                type_: "Ready".into(),
                status: status.into(),
                reason: reason.into(),
                message: "words".into(),
                observed_generation: Some(generation),
                last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
            }],
            ..CertificateStatus::default()
        }
    }

    #[test]
    fn a_certificate_counts_only_for_its_own_generation() {
        let state = |s: &CertificateStatus, g| CertificateState::of(Some(s), Some(g));
        assert_eq!(
            state(&ready("True", "Issued", 1), 1),
            CertificateState::Issued(4)
        );
        assert_eq!(
            state(&ready("True", "Issued", 1), 2),
            CertificateState::Pending
        );
        assert_eq!(
            state(&ready("False", "Issuing", 1), 1),
            CertificateState::Pending
        );
        assert_eq!(
            state(&ready("False", "InvalidSpec", 1), 1),
            CertificateState::Refused("words".into())
        );
        assert_eq!(
            CertificateState::of(None, Some(1)),
            CertificateState::Pending
        );
        assert!(!CertificateState::Pending.allows_rollout());
    }
}
