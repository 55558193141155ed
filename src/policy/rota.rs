//! Which stored objects a scrub reads now, so that every one is read within a period.
//!
//! A call reads as large a share of all bytes as the time since the last call is of the period, and
//! beyond that whatever is overdue: what is in doubt first, then what nobody ever read, then what
//! was read longest ago. A budget may cut that short; then the rota says how long a round takes.
//! However irregular the calls are, the oldest always come first, so that nothing starves. Pure:
//! time and what was read are arguments.

use std::cmp::Reverse;
use std::time::Duration;

use crate::base::clock::Timestamp;

/// One object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its length.
    pub bytes: u64,
    /// When it was read last, whatever was found.
    pub read_at: Option<Timestamp>,
    /// Whether it was not what it should be then.
    pub is_doubtful: bool,
}

/// What one call may cost; no bound where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Bytes read.
    pub bytes: Option<u64>,
    /// Requests sent.
    pub requests: Option<u64>,
}

/// When and how often.
#[derive(Clone, Copy, Debug)]
pub struct Rota {
    /// Everything is to be read within this time.
    pub period: Duration,
    /// What one call may cost.
    pub budget: Budget,
    /// Bytes that one request reads at most.
    pub request_bytes: u64,
}

/// What to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Numbers of the items, in the order in which to read them.
    pub chosen: Vec<usize>,
    /// How long a round takes at the pace of this call, when the budget makes it longer than the
    /// period.
    pub round: Option<Duration>,
}

/// Where no earlier call is known, a call is taken for one a day.
const FIRST_SHARE: Duration = Duration::from_secs(24 * 3600);

impl Rota {
    /// What to read now. `last_call` is when the last call began; a time in the future counts as now.
    pub fn share(&self, items: &[Item], last_call: Option<Timestamp>, now: Timestamp) -> Share {
        let elapsed = last_call.map_or(FIRST_SHARE, |at| now.since(at)).min(self.period);
        let all: u64 = items.iter().map(|item| item.bytes.max(1)).sum();
        let due = share_of(all, elapsed, self.period);
        let mut order: Vec<usize> = (0..items.len()).collect();
        // A time in the future proves nothing.
        let age = |item: &Item| item.read_at.filter(|at| *at <= now).map(|at| now.since(at));
        order.sort_by_key(|at| {
            let item = &items[*at];
            let age = age(item);
            (!item.is_doubtful, age.is_some(), Reverse(age), *at)
        });
        let mut share = Share::default();
        let (mut bytes, mut requests, mut is_cut) = (0u64, 0u64, false);
        for at in order {
            let item = &items[at];
            let is_overdue = item.is_doubtful || age(item).is_some_and(|age| age >= self.period);
            if bytes >= due && !is_overdue {
                continue;
            }
            let cost = item.bytes.div_ceil(self.request_bytes.max(1)).max(1);
            let too_many =
                |spent: u64, more: u64, most: Option<u64>| most.is_some_and(|most| spent + more > most);
            // One object is always read: a budget smaller than any object must not stop everything.
            if !share.chosen.is_empty()
                && (too_many(bytes, item.bytes, self.budget.bytes)
                    || too_many(requests, cost, self.budget.requests))
            {
                is_cut = true;
                break;
            }
            bytes = bytes.saturating_add(item.bytes.max(1));
            requests = requests.saturating_add(cost);
            share.chosen.push(at);
        }
        if is_cut && bytes > 0 && bytes < due {
            let round = elapsed.as_secs().saturating_mul(all / bytes.max(1)).max(1);
            share.round = Some(Duration::from_secs(round)).filter(|round| *round > self.period);
        }
        share
    }
}

fn share_of(all: u64, elapsed: Duration, period: Duration) -> u64 {
    let (all, elapsed, period) = (u128::from(all), elapsed.as_millis(), period.as_millis().max(1));
    u64::try_from((all * elapsed).div_ceil(period)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn rota(days: u32) -> Rota {
        Rota { period: DAY * days, budget: Budget::default(), request_bytes: 4 << 20 }
    }

    fn at(day: u64) -> Timestamp {
        Timestamp::from_unix_ms(1_764_000_000_000).plus(DAY * u32::try_from(day).expect("small"))
    }

    fn item(bytes: u64, read: Option<u64>) -> Item {
        Item { bytes, read_at: read.map(at), is_doubtful: false }
    }

    #[test]
    fn doubt_comes_first_then_the_unread_then_the_oldest() {
        let doubtful = Item { is_doubtful: true, ..item(1, Some(9)) };
        let items = [item(1, Some(5)), item(1, Some(2)), item(1, None), doubtful];
        let share = rota(1).share(&items, None, at(10));
        assert_eq!(share.chosen, [3, 2, 1, 0]);
        let half = rota(2).share(&items, Some(at(9)), at(10));
        assert_eq!(half.chosen[..2], [3, 2]);
    }

    #[test]
    fn a_budget_cuts_the_share_and_says_how_long_a_round_takes() {
        let items = vec![item(100, None); 100];
        let mut rota = rota(10);
        assert_eq!(rota.share(&items, Some(at(0)), at(1)).chosen.len(), 10);
        rota.budget.bytes = Some(500);
        let share = rota.share(&items, Some(at(0)), at(1));
        assert_eq!((share.chosen.len(), share.round), (5, Some(DAY * 20)));
        rota.budget = Budget { bytes: None, requests: Some(2) };
        assert_eq!(rota.share(&items, Some(at(0)), at(1)).chosen.len(), 2);
        rota.budget = Budget { bytes: Some(0), requests: Some(0) };
        assert_eq!(rota.share(&items, Some(at(0)), at(1)).chosen.len(), 1, "never nothing");
    }

    #[test]
    fn a_clock_that_went_back_reads_and_proves_nothing() {
        let items = [item(10, Some(20)), item(10, Some(4))];
        let share = rota(10).share(&items, Some(at(20)), at(5));
        assert_eq!(share.chosen, [] as [usize; 0], "no time has passed");
        let share = rota(10).share(&items, Some(at(4)), at(5));
        assert_eq!(share.chosen, [0], "a time in the future is none");
    }

    proptest! {
        #[test]
        fn everything_is_read_within_the_period_whatever_the_calls_and_what_comes_new(
            sizes in prop::collection::vec(1u64..5000, 1..40),
            gaps in prop::collection::vec(1u64..4, 40..60),
            new in prop::collection::vec(0usize..4, 60),
        ) {
            let rota = rota(30);
            let mut items: Vec<Item> = sizes.iter().map(|bytes| item(*bytes, None)).collect();
            let first = items.len();
            let (mut now, mut last, mut day) = (at(0), None, 0);
            let mut unread: Vec<u64> = vec![0; items.len()];
            for (gap, more) in gaps.iter().zip(new) {
                for number in rota.share(&items, last, now).chosen {
                    items[number].read_at = Some(now);
                    unread[number] = day;
                }
                // Longer than the period by no more than a gap, once a first round is over.
                if day > 30 {
                    for (number, since) in unread.iter().enumerate().take(first) {
                        prop_assert!(day - since <= 30 + 4, "item {} since {}", number, day - since);
                    }
                }
                last = Some(now);
                day += gap;
                now = at(day);
                for _ in 0..more {
                    items.push(item(1000, None));
                    unread.push(day);
                }
            }
        }
    }
}
