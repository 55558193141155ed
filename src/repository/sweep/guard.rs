//! What stops a plan or a sweep before anything is deleted.

use std::time::Duration;

use super::SweepError;
use super::steps::Sweeping;
use crate::base::clock::Timestamp;

/// A clock may be behind the newest snapshot by this much: hosts' clocks differ.
const BEHIND_MAX: Duration = Duration::from_hours(1);
/// And ahead of it by this much: longer without any backup is more likely a wrong clock.
const AHEAD_MAX: Duration = Duration::from_hours(400 * 24);

/// Refuses when this machine's clock cannot be right beside the newest snapshot.
///
/// # Errors
/// `Clock`.
pub(super) fn clock(cx: &Sweeping<'_>, newest: Option<Timestamp>) -> Result<(), SweepError> {
    let Some(newest) = newest else { return Ok(()) };
    let now = cx.clock.now();
    if now < newest.minus(BEHIND_MAX) || now > newest.plus(AHEAD_MAX) {
        let (now, newest) = (now.readable(), newest.readable());
        return Err(SweepError::Clock { place: cx.place(), now, newest });
    }
    Ok(())
}

/// Refuses when more than half of what packs hold would be gone for good.
///
/// # Errors
/// `MoreThanHalf`.
pub(super) fn half(cx: &Sweeping<'_>, freed_bytes: u64, all_bytes: u64) -> Result<(), SweepError> {
    if freed_bytes > all_bytes / 2 {
        return Err(SweepError::MoreThanHalf { place: cx.place(), freed_bytes, all_bytes });
    }
    Ok(())
}
