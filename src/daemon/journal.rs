//! What the daemon tells of its work: a line for each job that begins, ends or is left out. Facts stand in
//! the catalogue and the evidence log; this is for whoever reads along.

use std::sync::Arc;

use serde_json::Value;

use super::ledger::name;
use crate::base::progress::Progress;
use crate::base::size::format_duration;
use crate::catalog::occurrences::OccurrenceKey;
use crate::catalog::runs::Run;

/// Tells.
pub(super) struct Journal {
    progress: Arc<dyn Progress>,
}

impl Journal {
    pub(super) fn new(progress: Arc<dyn Progress>) -> Self {
        Self { progress }
    }

    /// Something about the daemon itself.
    pub(super) fn tell(&self, message: String) {
        self.progress.log(message, Vec::new());
    }

    /// A job's process was started.
    pub(super) fn started(&self, key: &OccurrenceKey) {
        self.progress.log(format!("{}: started", name(key)), about(key));
    }

    /// An occurrence was left out.
    pub(super) fn left_out(&self, key: &OccurrenceKey, why: &str) {
        let mut about = about(key);
        about.push(("left_out", why.into()));
        self.progress.log(format!("{}: left out, {why}", name(key)), about);
    }

    /// A run has ended, or waits for its next attempt.
    pub(super) fn ended(&self, key: &OccurrenceKey, run: &Run) {
        let state = run.state.as_str();
        let mut message = format!("{}: {}", name(key), state.replace('_', " "));
        let mut about = about(key);
        about.extend([("run", run.id.to_string().into()), ("state", state.into())]);
        about.push(("attempt", run.attempt.into()));
        if let Some(took) = run.ended_at.map(|ended_at| ended_at.since(run.started_at)) {
            message.push_str(&format!(" after {}", format_duration(took)));
            about.push(("seconds", took.as_secs().into()));
        }
        if let Some(snapshot) = &run.snapshot {
            about.push(("snapshot", snapshot.as_str().into()));
        }
        if let Some(failure) = &run.failure {
            message.push_str(&format!(", {} {}", failure.code, failure.message));
            about.extend([
                ("error_code", failure.code.as_str().into()),
                ("error", failure.message.as_str().into()),
            ]);
        }
        message.push_str(&format!(" (run {})", run.id));
        self.progress.log(message, about);
    }
}

fn about(key: &OccurrenceKey) -> Vec<(&'static str, Value)> {
    vec![
        ("policy", key.policy.as_str().into()),
        ("job", key.job.to_string().into()),
        ("scheduled_at", key.scheduled_at.rfc3339().into()),
    ]
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::base::clock::Timestamp;
    use crate::base::progress::Event;
    use crate::catalog::Catalog;
    use crate::catalog::process::Holder;
    use crate::catalog::runs::{Failure, NewRun, RunEnd};
    use crate::catalog::words::{BackupKind, Cause, Job, RunState};

    #[derive(Default)]
    struct Heard(Mutex<Vec<Event>>);

    impl Progress for Heard {
        fn event(&self, event: Event) {
            self.0.lock().expect("whole").push(event);
        }
    }

    #[test]
    fn the_end_of_a_run_is_told_with_its_id_its_state_and_why() {
        let dir = tempfile::tempdir().expect("a folder");
        let catalogue = Catalog::open(&dir.path().join("catalogue.db")).expect("opened");
        let at = |seconds: i64| Timestamp::from_unix_ms(1_793_487_600_000 + seconds * 1000);
        let key = OccurrenceKey {
            policy: "web".to_owned(),
            job: Job::Backup(BackupKind::Full),
            scheduled_at: at(0),
        };
        let new = NewRun {
            policy: key.policy.clone(),
            job: key.job.clone(),
            scheduled_at: Some(at(0)),
            cause: Cause::Schedule,
            holder: Holder::this_process(),
        };
        let id = catalogue.start_run(&new, at(1)).expect("started");
        let failure = Failure { code: "E0301".to_owned(), message: "no answer".to_owned() };
        let end = RunEnd {
            state: RunState::TimedOut,
            at: at(65),
            job_done: None,
            snapshot: None,
            stats: serde_json::json!({}),
            failure: Some(failure),
            lines: Vec::new(),
        };
        catalogue.end_run(&id, &end).expect("ended");
        let heard = Arc::new(Heard::default());
        let progress: Arc<dyn Progress> = heard.clone();
        Journal::new(progress).ended(&key, &catalogue.run(&id).expect("read"));
        let events = heard.0.lock().expect("whole");
        let [Event::Logged { message, about }] = events.as_slice() else { panic!("{events:?}") };
        assert!(
            message.contains("full of web") && message.contains("timed out after 1m 4s, E0301"),
            "{message}"
        );
        let of = |name: &str| about.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        assert_eq!(of("run"), Some(id.as_str().into()));
        assert_eq!((of("seconds"), of("attempt")), (Some(64.into()), Some(1.into())));
        assert_eq!((of("error_code"), of("state")), (Some("E0301".into()), Some("timed_out".into())));
        assert_eq!((of("policy"), of("snapshot")), (Some("web".into()), None));
    }
}
