//! Whether a run found its source changed as an accident or an attack would change it.
//!
//! A run is held against those before it by median and MAD (the median of the distances from the
//! median): a few odd runs move neither. A signal says what is odd; those that may mean that good
//! data is being replaced also hold retention, so that what is still right stays until a person
//! has looked. Pure: the runs are arguments.

use std::fmt;
use std::time::Duration;

use crate::base::size::{format_bytes, format_duration};

/// So many runs are needed before anything but a shrunken source can be called odd.
const HISTORY_MIN: usize = 8;
/// MADs from the median; for normal data six of them are about four standard deviations.
const MADS: u64 = 6;
/// New content that keeps this share of its size does not compress (percent).
const INCOMPRESSIBLE: u64 = 96;
/// Content of which usually more than this is left is no measure (percent).
const USUALLY_COMPRESSES: u64 = 85;
/// Less new content than this share of the source says nothing about it (percent).
const CHANGE_MIN: u64 = 10;
/// A run this short is never too long.
const LONG_MIN: Duration = Duration::from_secs(600);

/// What a run found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of content that no snapshot had before.
    pub bytes_new: u64,
    /// What was stored of it.
    pub bytes_stored: u64,
    /// How long it took.
    pub took: Duration,
}

/// What is odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Bytes are gone: before, and now.
    BytesShrank(u64, u64),
    /// Files are gone: before, and now.
    FilesShrank(u64, u64),
    /// Far more content is new than usual: usually, and now.
    MassChange(u64, u64),
    /// New content does not compress any more, as encrypted content doesn't: usually, and now (percent left).
    Incompressible(u64, u64),
    /// It took far longer than usual: usually, and now.
    Slow(Duration, Duration),
}

impl Signal {
    /// Whether nothing of the past may be removed until a person has looked.
    pub fn holds_retention(self) -> bool {
        !matches!(self, Self::Slow(..))
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BytesShrank(before, now) => {
                write!(f, "the source shrank from {} to {}", format_bytes(before), format_bytes(now))
            }
            Self::FilesShrank(before, now) => write!(f, "the source fell from {before} to {now} files"),
            Self::MassChange(usual, now) => {
                write!(f, "{} are new, usually {}", format_bytes(now), format_bytes(usual))
            }
            Self::Incompressible(usual, now) => {
                write!(f, "new content keeps {now} % of its size, usually {usual} %: it may be encrypted")
            }
            Self::Slow(usual, now) => {
                write!(f, "it took {}, usually {}", format_duration(now), format_duration(usual))
            }
        }
    }
}

/// What is odd about a run. `before` are the good runs of the same kind before it, newest first;
/// `last` is the newest good run of any kind.
pub fn signals(
    run: &Observation,
    last: Option<&Observation>,
    before: &[Observation],
    max_shrink_percent: u8,
) -> Vec<Signal> {
    let mut found = Vec::new();
    if let Some(last) = last {
        let left = u64::from(100u8.saturating_sub(max_shrink_percent));
        let shrank = |before: u64, now: u64| now < before && share(now, before) < left;
        if shrank(last.bytes, run.bytes) {
            found.push(Signal::BytesShrank(last.bytes, run.bytes));
        }
        if shrank(last.files, run.files) {
            found.push(Signal::FilesShrank(last.files, run.files));
        }
    }
    if before.len() < HISTORY_MIN {
        return found;
    }
    let much = share(run.bytes_new, run.bytes) >= CHANGE_MIN;
    let new = Usual::of(before.iter().map(|one| one.bytes_new));
    if much && new.is_far_below(run.bytes_new) {
        found.push(Signal::MassChange(new.median, run.bytes_new));
    }
    let kept = |one: &Observation| share(one.bytes_stored, one.bytes_new);
    let telling = before.iter().filter(|one| one.bytes_new > 0);
    let usual = Usual::of(telling.map(kept));
    if much && usual.median < USUALLY_COMPRESSES && kept(run) >= INCOMPRESSIBLE {
        found.push(Signal::Incompressible(usual.median, kept(run)));
    }
    let times = Usual::of(before.iter().map(|one| one.took.as_secs()));
    if run.took >= LONG_MIN && times.is_far_below(run.took.as_secs()) {
        found.push(Signal::Slow(Duration::from_secs(times.median), run.took));
    }
    found
}

/// Percent, rounded down; of nothing it is none.
fn share(part: u64, whole: u64) -> u64 {
    let percent = u128::from(part) * 100 / u128::from(whole.max(1));
    u64::try_from(percent).unwrap_or(u64::MAX)
}

/// What a number usually is.
struct Usual {
    median: u64,
    mad: u64,
}

impl Usual {
    fn of(numbers: impl Iterator<Item = u64>) -> Self {
        let mut numbers: Vec<u64> = numbers.collect();
        let median = median(&mut numbers);
        let mut distances: Vec<u64> = numbers.iter().map(|number| number.abs_diff(median)).collect();
        Self { median, mad: self::median(&mut distances) }
    }

    /// Three times as much at least, so that numbers that hardly vary don't make every change odd.
    fn is_far_below(&self, number: u64) -> bool {
        let far = self.median.saturating_add(self.mad.saturating_mul(MADS));
        number > far.max(self.median.saturating_mul(3))
    }
}

fn median(numbers: &mut [u64]) -> u64 {
    numbers.sort_unstable();
    numbers.get(numbers.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    fn usual() -> Vec<Observation> {
        let run = |number: u64| Observation {
            files: 1000 + number,
            bytes: 1000 * MB + number * MB,
            bytes_new: 20 * MB + number % 5 * MB,
            bytes_stored: 9 * MB + number % 3 * MB,
            took: Duration::from_secs(60 + number),
        };
        (0..20).map(run).collect()
    }

    fn odd(change: impl FnOnce(&mut Observation)) -> Vec<String> {
        let before = usual();
        let mut run = before[0];
        change(&mut run);
        signals(&run, before.first(), &before, 30).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_usual_run_is_not_odd_nor_is_a_first_one() {
        assert!(odd(|_| ()).is_empty());
        assert!(
            odd(|run| run.bytes_new = 60 * MB).is_empty(),
            "three times as much, but little of the source"
        );
        assert!(odd(|run| run.bytes = 710 * MB).is_empty(), "29 % less");
        let huge = Observation { bytes: MB, bytes_new: MB, bytes_stored: MB, ..Observation::default() };
        assert!(signals(&huge, None, &[], 30).is_empty());
        assert!(signals(&huge, Some(&huge), &vec![huge; 30], 30).is_empty(), "nothing ever varies");
    }

    #[test]
    fn a_source_that_shrank_is_odd_from_the_second_run_on() {
        assert_eq!(odd(|run| run.bytes = 600 * MB), ["the source shrank from 954 MiB to 572 MiB"]);
        assert_eq!(odd(|run| run.files = 0), ["the source fell from 1000 to 0 files"]);
        let before = Observation { files: 10, bytes: 1000, ..Observation::default() };
        let run = Observation { files: 10, bytes: 10, ..Observation::default() };
        assert_eq!(signals(&run, Some(&before), &[], 50), [Signal::BytesShrank(1000, 10)]);
    }

    #[test]
    fn an_encrypted_source_is_noticed_twice() {
        let told = odd(|run| {
            run.bytes_new = 900 * MB;
            run.bytes_stored = 900 * MB;
        });
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("are new, usually"), "{told:?}");
        assert!(told[1].contains("may be encrypted"), "{told:?}");
    }

    #[test]
    fn a_slow_run_is_told_and_holds_nothing() {
        let before = usual();
        let run = Observation { took: Duration::from_secs(7200), ..before[0] };
        let found = signals(&run, before.first(), &before, 30);
        assert!(matches!(found[..], [Signal::Slow(..)]), "{found:?}");
        assert!(!found[0].holds_retention());
        assert!(Signal::MassChange(1, 2).holds_retention());
    }
}
