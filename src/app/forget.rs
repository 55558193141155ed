//! Forgetting snapshots of bare repositories.

use super::plumbing::Plumbing;
use crate::base::error::Failure;
use crate::engine;
use crate::engine::forget::{ForgetOutcome, ForgetRequest};
use crate::repository::access::{Repository, Target};
use crate::repository::format::slot::SlotSecret;
use crate::storage::place::Access;

impl Plumbing {
    /// Forgets at all places, or at none when one of them can't be opened.
    ///
    /// # Errors
    /// As [`engine::forget::forget`].
    pub fn forget(
        &self,
        urls: &[String],
        secret: &SlotSecret,
        request: &ForgetRequest,
    ) -> Result<ForgetOutcome, Failure> {
        let access = if request.dry_run { Access::Read } else { Access::Write };
        let targets: Result<Vec<Target>, Failure> = urls.iter().map(|url| self.target(url, access)).collect();
        let repository = self.at_home(Repository::open(targets?, secret)?);
        Ok(engine::forget::forget(&repository, request, &self.cx)?)
    }
}
