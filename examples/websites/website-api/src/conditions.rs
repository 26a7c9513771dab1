use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// A condition to be set; the time is only taken over when the status changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionUpdate<'a> {
    /// Type, such as [`crate::condition::READY`].
    pub kind: &'a str,
    /// Whether it holds.
    pub holds: bool,
    /// One word for programs.
    pub reason: &'a str,
    /// One sentence for people.
    pub message: String,
}

/// Puts `update` into `conditions`; says whether anything but the message changed.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    update: ConditionUpdate<'_>,
    generation: Option<i64>,
    now: Timestamp,
) -> bool {
    let status = if update.holds { "True" } else { "False" };
    let Some(known) = conditions.iter_mut().find(|c| c.type_ == update.kind) else {
        conditions.push(Condition {
            type_: update.kind.to_owned(),
            status: status.to_owned(),
            reason: update.reason.to_owned(),
            message: update.message,
            observed_generation: generation,
            last_transition_time: Time(now),
        });
        return true;
    };
    let changed = known.status != status || known.reason != update.reason;
    if known.status != status {
        known.status = status.to_owned();
        known.last_transition_time = Time(now);
    }
    known.reason = update.reason.to_owned();
    known.message = update.message;
    known.observed_generation = generation;
    changed
}

/// The condition of type `kind`.
pub fn find_condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == kind)
}

/// Whether the condition of type `kind` holds, and was set for `generation`.
pub fn is_true(conditions: &[Condition], kind: &str, generation: Option<i64>) -> bool {
    find_condition(conditions, kind)
        .is_some_and(|c| c.status == "True" && c.observed_generation >= generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(holds: bool, reason: &str) -> ConditionUpdate<'_> {
        ConditionUpdate {
            kind: "Ready",
            holds,
            reason,
            message: "m".into(),
        }
    }

    #[test]
    fn the_transition_time_moves_with_the_status_only() {
        let (t0, t1, t2) = (
            Timestamp::from_second(10).unwrap(),
            Timestamp::from_second(20).unwrap(),
            Timestamp::from_second(30).unwrap(),
        );
        let mut all = Vec::new();
        assert!(set_condition(
            &mut all,
            update(false, "Waiting"),
            Some(1),
            t0
        ));
        assert!(set_condition(
            &mut all,
            update(false, "Failing"),
            Some(1),
            t1
        ));
        assert_eq!(all[0].last_transition_time, Time(t0));
        assert!(set_condition(
            &mut all,
            update(true, "Serving"),
            Some(1),
            t2
        ));
        assert_eq!(all[0].last_transition_time, Time(t2));
        assert!(!set_condition(
            &mut all,
            update(true, "Serving"),
            Some(2),
            t2
        ));
        assert_eq!(all.len(), 1);
    }

    #[test]
    fn a_condition_of_an_older_generation_does_not_count() {
        let mut all = Vec::new();
        set_condition(
            &mut all,
            update(true, "Serving"),
            Some(1),
            Timestamp::UNIX_EPOCH,
        );
        assert!(is_true(&all, "Ready", Some(1)));
        assert!(!is_true(&all, "Ready", Some(2)));
        assert!(!is_true(&all, "Accepted", Some(1)));
    }
}
