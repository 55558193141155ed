//! What a job may take: bytes a second of its targets, threads and turns of its machine. The
//! command line's word comes before the configuration's.

use std::sync::Arc;

use super::error::AppError;
use super::site::system_zone;
use crate::base::error::Failure;
use crate::base::priority::{step_back_cpu, step_back_io};
use crate::engine::context::Context;
use crate::policy::limit::Limit;
use crate::policy::model::{Limits, Target as Planned};
use crate::policy::window::Windows;
use crate::storage::throttle::{Rate, Throttle};

/// Windows of the command line, by the machine's clocks; `None` for always.
///
/// # Errors
/// When one is none.
pub fn windows(texts: &[String]) -> Result<Option<Windows>, Failure> {
    let windows = Windows::parse(texts.iter().map(String::as_str), system_zone());
    windows.map_err(|error| {
        AppError::Usage {
            what: error.to_string(),
            hint: "write for example 22:00-06:00, \"mon-fri 20:00-24:00\" or sat,sun".to_owned(),
        }
        .into()
    })
}

/// How fast bytes may go to each target, and come from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// To it.
    pub upload: Option<Limit>,
    /// From it.
    pub download: Option<Limit>,
}

impl Traffic {
    /// From the words of the command line; hours are those of the machine's zone.
    ///
    /// # Errors
    /// When a word is no limit.
    pub fn parse(upload: &[String], download: &[String]) -> Result<Self, Failure> {
        let limit = |rules: &[String]| -> Result<Option<Limit>, Failure> {
            if rules.is_empty() {
                return Ok(None);
            }
            let limit = Limit::parse(rules.iter().map(String::as_str), system_zone());
            let wrong = |error: crate::policy::limit::NotALimit| AppError::Usage {
                what: error.to_string(),
                hint: "write for example 5MB/s, or \"5MB/s mon-fri 08:00-18:00\" and 50MB/s".to_owned(),
            };
            Ok(Some(limit.map_err(wrong)?))
        };
        Ok(Self { upload: limit(upload)?, download: limit(download)? })
    }

    /// These, or where there is none what the policy says of its target.
    #[must_use]
    pub fn or_of(&self, planned: &Planned) -> Self {
        Self {
            upload: self.upload.clone().or_else(|| planned.upload_limit.clone()),
            download: self.download.clone().or_else(|| planned.download_limit.clone()),
        }
    }

    /// What keeps them at one target; `None` when nothing is limited.
    pub fn throttle(&self, cx: &Context) -> Option<Arc<Throttle>> {
        let rate =
            |limit: &Option<Limit>| limit.clone().map(|limit| Arc::new(move |now| limit.at(now)) as Rate);
        Throttle::new(rate(&self.upload), rate(&self.download), Arc::clone(&cx.clock), cx.cancel.clone())
    }
}

/// Takes no more of the machine than this. What the system refuses is said and changes nothing else:
/// a backup that is not quiet is better than none.
pub fn step_back(limits: Limits, cx: &mut Context) {
    if let Some(workers) = limits.workers {
        cx.workers = usize::try_from(workers).unwrap_or(1).max(1);
    }
    let cpu = limits.nice.map(|nice| (format!("nice {nice}"), step_back_cpu(nice)));
    let io = limits.io.map(|io| (format!("ionice {io}"), step_back_io(io)));
    for (what, done) in cpu.into_iter().chain(io) {
        if let Err(error) = done {
            cx.progress.warn(format!("{what} could not be set: {error}; going on without"));
        }
    }
}
