//! How much there is to do, for whoever watches: known from the parent, or counted by a walk of
//! its own beside the first backup's.

use std::sync::atomic::{AtomicBool, Ordering};

use super::pass::Pass;
use crate::base::metadata::FileKind;
use crate::source::files::Item;

/// The flags are asked this often (entries).
const LOOK_EVERY: u64 = 256;

/// What the parent says there is: entries, and bytes when all of them will be read.
pub(super) fn expected(pass: &Pass<'_>) -> (Option<u64>, Option<u64>) {
    let Some(parent) = &pass.start.parent else { return (None, None) };
    let roots = &parent.body.roots;
    let bytes = roots.iter().map(|root| root.bytes).fold(0u64, u64::saturating_add);
    let entries = roots.iter().map(|root| root.entries).fold(0u64, u64::saturating_add);
    (Some(entries), (!pass.trusts_stat()).then_some(bytes))
}

/// Whether somebody wants to see how much there is, and nothing says it yet.
pub(super) fn is_asked_for(pass: &Pass<'_>) -> bool {
    pass.start.parent.is_none() && pass.sources.can_be_counted() && pass.cx.progress.wants_totals()
}

/// Counts entries and bytes, until it is done or the real walk is.
pub(super) fn count(pass: &Pass<'_>, walked_all: &AtomicBool) {
    let (mut entries, mut bytes) = (0u64, 0u64);
    for number in 0..pass.sources.count() {
        // What can't be opened is the real walk's to say.
        let Ok(walk) = pass.sources.walk(number) else { return };
        for item in walk {
            if let Item::Found(found) = item {
                entries += 1;
                if found.stat.kind == FileKind::File {
                    // Holes are not read.
                    bytes = bytes.saturating_add(found.stat.size.min(found.stat.allocated_bytes.max(4096)));
                }
            }
            let over = walked_all.load(Ordering::Relaxed) || pass.cx.cancel.is_cancelled();
            if entries % LOOK_EVERY == 0 && over {
                return;
            }
        }
    }
    pass.cx.progress.totals(entries, bytes);
}
