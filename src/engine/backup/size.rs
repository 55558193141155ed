//! How much there is to do, for whoever watches: known from the parent, or counted by a walk of
//! its own beside the first backup's.

use std::sync::atomic::{AtomicBool, Ordering};

use super::pass::Pass;
use crate::base::effort::Effort;
use crate::base::limits::SMALL_FILE_BYTES_MAX;
use crate::base::metadata::FileKind;
use crate::codec::compress::looks_random;
use crate::source::files::{Found, Item, open_regular};

/// The flags are asked this often (entries).
const LOOK_EVERY: u64 = 256;
/// Of so many bytes of large files one is looked into ...
const SAMPLE_EVERY: u64 = 64 * 1024 * 1024;
/// ... and of twice as many after so many samples.
const SAMPLES_BEFORE_LONGER: u32 = 128;
/// Where, and how much.
const SAMPLE_AT: usize = 64 * 1024;
const SAMPLE_BYTES: usize = 4096;

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

/// Counts entries and bytes, until it is done or the real walk is. Of the bytes it estimates how
/// many will be quick work.
pub(super) fn count(pass: &Pass<'_>, walked_all: &AtomicBool) {
    let (mut entries, mut bytes) = (0u64, 0u64);
    let mut quick = Quick::new(pass.request.effort);
    for number in 0..pass.sources.count() {
        // What can't be opened is the real walk's to say.
        let Ok(walk) = pass.sources.walk(number) else { return };
        for item in walk {
            if let Item::Found(found) = item {
                entries += 1;
                if found.stat.kind == FileKind::File {
                    // Holes are not read.
                    let data = found.stat.size.min(found.stat.allocated_bytes.max(4096));
                    bytes = bytes.saturating_add(data);
                    quick.take(&found, data);
                }
            }
            let over = walked_all.load(Ordering::Relaxed) || pass.cx.cancel.is_cancelled();
            if entries % LOOK_EVERY == 0 && over {
                return;
            }
        }
    }
    pass.cx.progress.totals(entries, bytes);
    pass.cx.progress.quick_expected(quick.bytes);
}

/// Bytes that will be stored as they are, by samples of large files: one for each stretch of
/// [`SAMPLE_EVERY`] bytes, longer and longer ones, so that a disk full of films costs a thousand
/// reads.
struct Quick {
    effort: Effort,
    bytes: u64,
    /// Bytes of large files since the last sample.
    since: u64,
    samples: u32,
    buffer: Vec<u8>,
}

impl Quick {
    fn new(effort: Effort) -> Self {
        Self { effort, bytes: 0, since: 0, samples: 0, buffer: vec![0; SAMPLE_AT + SAMPLE_BYTES] }
    }

    fn take(&mut self, found: &Found, bytes: u64) {
        if self.effort == Effort::None {
            self.bytes = self.bytes.saturating_add(bytes);
        } else if bytes > SMALL_FILE_BYTES_MAX as u64 {
            self.since = self.since.saturating_add(bytes);
            if self.since >= SAMPLE_EVERY << (self.samples / SAMPLES_BEFORE_LONGER).min(20) {
                self.samples += 1;
                if self.is_noise(found) {
                    self.bytes = self.bytes.saturating_add(self.since);
                }
                self.since = 0;
            }
        }
    }

    /// What lies behind the header of a file. One that can't be read is the real walk's to name.
    fn is_noise(&mut self, found: &Found) -> bool {
        let read = open_regular(found).and_then(|mut file| file.read(&mut self.buffer));
        read.is_ok_and(|read| read == self.buffer.len() && looks_random(&self.buffer[SAMPLE_AT..]))
    }
}
