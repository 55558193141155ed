//! What the scheduler is started with, and telling it to read its configuration again. The scheduler
//! itself is a face of its own; whoever owns the process brings the two together.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::error::AppError;
use super::promise::{configuration_in_force, configuration_sha256};
use super::site::Site;
use crate::base::clock::Timestamp;
use crate::base::error::Failure;
use crate::base::service::Overseer;
use crate::base::size::format_duration;
use crate::policy::model::Configuration;
use crate::policy::problem::Problems;

/// The scheduler looks at its signals far more often.
const APPLIED_WITHIN: Duration = Duration::from_secs(60);
/// Between looks whether it has read the files.
const STEP: Duration = Duration::from_millis(200);

/// Reads the configuration again.
pub type Reload = Box<dyn Fn() -> Result<Configuration, Problems>>;

/// A start of the scheduler.
pub struct DaemonStart {
    /// The site, its configuration read and good.
    pub site: Site,
    /// How often the clock is looked at.
    pub tick: Duration,
    /// Whether to end when what is due now is done.
    pub once: bool,
    /// This program, for the children.
    pub executable: PathBuf,
    /// Reads the configuration again.
    pub reload: Reload,
    /// Raised by SIGHUP: that is to be done.
    pub reload_asked: Arc<AtomicBool>,
    /// Who looks after this service.
    pub overseer: Overseer,
}

/// How the scheduler is run.
pub type RunDaemon = fn(DaemonStart) -> Result<(), Failure>;

/// The daemon says so often that it lives; three times as long without a word, and it hangs.
const SILENT_MAX: Duration = Duration::from_secs(120);

/// What is wrong with the daemon of a site; `None` when it lives and looks at the clock.
///
/// # Errors
/// When the state folder cannot be read.
pub fn daemon_trouble(site: &Site) -> Result<Option<String>, Failure> {
    let Some(pid) = site.state.daemon()? else {
        return Ok(Some("no daemon runs: nothing happens by schedule".to_owned()));
    };
    let Ok(about) = std::fs::metadata(site.state.ticked()) else {
        return Ok(Some(format!("process {pid} has never looked at the clock")));
    };
    let ticked = Timestamp::from_unix_ms(about.mtime().saturating_mul(1000));
    let silent = site.cx.clock.now().since(ticked);
    Ok((silent > SILENT_MAX)
        .then(|| format!("process {pid} has not looked at the clock for {}", format_duration(silent))))
}

/// What became of a configuration that was to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The daemon of this process number goes by it now.
    By(u32),
    /// No daemon lives: the next one reads it at its start.
    AtNextStart,
}

/// Makes the daemon of a site go by the files as they are now. That they are good has been seen: they
/// are the site's.
///
/// # Errors
/// When the daemon does not follow within a minute.
pub fn apply(site: &Site) -> Result<Applied, Failure> {
    let Some(number) = site.state.daemon()? else { return Ok(Applied::AtNextStart) };
    let Some(pid) = i32::try_from(number).ok().and_then(Pid::from_raw) else {
        return Ok(Applied::AtNextStart);
    };
    let sha256 = configuration_sha256(&site.configuration);
    let deaf = |source| AppError::DaemonDeaf { pid: number, source };
    kill_process(pid, Signal::HUP).map_err(|error| deaf(Some(error.into())))?;
    let catalogue = site.catalogue()?;
    let until = site.cx.clock.monotonic().saturating_add(APPLIED_WITHIN);
    while configuration_in_force(&catalogue)?.as_ref() != Some(&sha256) {
        if site.cx.clock.monotonic() >= until || site.cx.cancel.is_cancelled() {
            return Err(deaf(None).into());
        }
        site.cx.clock.sleep(STEP);
    }
    Ok(Applied::By(number))
}
