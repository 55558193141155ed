//! What is found gone, and what is not.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::check::{Finding, Here, Known, Scene, Sight};
use crate::base::clock::Timestamp;
use crate::base::id::{ObjectHash, WriterId};
use crate::repository::seen::{Mark, Seen};

fn id(number: u8) -> ObjectHash {
    ObjectHash::new([number; 32])
}

fn known(number: u8, links: &[u8]) -> Known {
    Known {
        id: id(number),
        mark: Mark {
            writer: WriterId::new([1; 16]),
            number: u64::from(number),
            captured_at: Timestamp::from_unix_ms(i64::from(number) * 1000),
        },
        links: links.iter().map(|link| id(*link)).collect(),
        is_checkpoint: false,
    }
}

/// A chain in which each links to the one before.
fn here(place: &str, numbers: &[u8]) -> Here {
    let linked = |number: u8| match number {
        0 | 1 => known(number, &[]),
        later => known(later, &[later - 1]),
    };
    Here {
        place: place.to_owned(),
        snapshots: numbers.iter().map(|number| linked(*number)).collect(),
        unread: Vec::new(),
    }
}

fn seen(places: &[(&str, &[u8])]) -> Seen {
    let marks = |numbers: &[u8]| numbers.iter().map(|n| (id(*n), known(*n, &[]).mark)).collect();
    Seen { places: places.iter().map(|(place, numbers)| ((*place).to_owned(), marks(numbers))).collect() }
}

fn findings(here: &[Here], seen: &Seen, sight: Sight, removed: &[u8]) -> Vec<Finding> {
    Scene { here, seen, sight }.findings(&|gone| removed.iter().any(|number| id(*number) == *gone))
}

fn gone(found: &[Finding]) -> Vec<ObjectHash> {
    found.iter().filter_map(Finding::gone).collect()
}

#[test]
fn the_newest_that_was_deleted_is_found_by_the_memory() {
    let found = findings(&[here("a", &[1, 2])], &seen(&[("a", &[1, 2, 3])]), Sight::All, &[]);
    assert_eq!(gone(&found), [id(3)]);
    assert_eq!(
        found[0].to_string(),
        "snapshot 03030303 of 1970-01-01 00:00:03 UTC is gone from a, and nobody forgot it"
    );
}

#[test]
fn without_memory_a_link_speaks_for_what_is_gone_and_another_place_for_the_rest() {
    let found = findings(&[here("a", &[1, 3])], &Seen::default(), Sight::All, &[]);
    assert_eq!(gone(&found), [id(2)]);
    assert!(found[0].to_string().ends_with("snapshot 03030303 was made after it"), "{}", found[0]);
    // A place that was put back to yesterday looks like one that lags: it is named, as that.
    let found = findings(&[here("a", &[1, 2, 3]), here("b", &[1])], &Seen::default(), Sight::All, &[]);
    let newest = Timestamp::from_unix_ms(3000);
    assert_eq!(found, [Finding::Behind { place: "b".to_owned(), snapshots: 2, newest }]);
    // With memory of the place it is known to be none.
    let found =
        findings(&[here("a", &[1, 2, 3]), here("b", &[1])], &seen(&[("b", &[1, 2])]), Sight::All, &[]);
    assert_eq!(gone(&found), [id(2)]);
    assert!(found[0].to_string().ends_with("is gone from b, and nobody forgot it; a still has it"));
}

#[test]
fn what_may_be_at_a_place_that_was_not_asked_is_not_called_gone() {
    let (some, nothing) = ([here("a", &[1, 3])], Seen::default());
    assert_eq!(findings(&some, &nothing, Sight::Part, &[]), []);
    let elsewhere = seen(&[("b", &[2])]);
    assert_eq!(findings(&some, &elsewhere, Sight::All, &[]), []);
    // What was seen here is not here, wherever else it may be.
    assert_eq!(gone(&findings(&some, &seen(&[("a", &[2])]), Sight::Part, &[])), [id(2)]);
}

#[test]
fn what_the_administrator_removed_and_checkpoints_are_not_missed() {
    let memory = seen(&[("a", &[1, 2, 3])]);
    assert_eq!(findings(&[here("a", &[1, 3])], &memory, Sight::All, &[2]), []);
    let mut over = here("a", &[1, 2]);
    over.snapshots[1].is_checkpoint = true;
    let scene = Scene { here: &[over], seen: &Seen::default(), sight: Sight::All };
    assert_eq!(scene.memory(&[]).places["a"].len(), 1, "a checkpoint is not remembered");
}

#[test]
fn what_is_gone_is_said_again_until_it_is_explained() {
    let memory = seen(&[("a", &[1, 2])]);
    let there = [here("a", &[1])];
    let scene = Scene { here: &there, seen: &memory, sight: Sight::All };
    let found = scene.findings(&|_| false);
    assert_eq!(gone(&found), [id(2)]);
    assert_eq!(scene.memory(&found), memory);
    assert_eq!(scene.memory(&[]).places["a"].keys().copied().collect::<Vec<_>>(), [id(1)]);
}

#[test]
fn an_unreadable_one_is_there_and_two_of_one_number_are_named() {
    let mut damaged = here("a", &[1]);
    damaged.unread = vec![id(2)];
    assert_eq!(findings(&[damaged], &seen(&[("a", &[1, 2])]), Sight::All, &[]), []);
    let mut twins = here("a", &[1, 2]);
    twins.snapshots[1].mark.number = 1;
    let found = findings(&[twins], &Seen::default(), Sight::All, &[]);
    assert!(matches!(&found[..], [Finding::Twins { number: 1, snapshots, .. }] if snapshots.len() == 2));
}

/// One step of an honest history at two places.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A backup that reaches both, or one of them.
    Backup(bool, bool),
    /// The administrator forgets the n-th of those that are left, everywhere.
    Forget(u8),
    /// A sync from one to the other.
    Sync(bool),
    /// This machine looks at both, or at one.
    Look(bool, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<bool>(), any::<bool>()).prop_map(|(a, b)| Step::Backup(a || !b, b)),
        1 => any::<u8>().prop_map(Step::Forget),
        1 => any::<bool>().prop_map(Step::Sync),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(a, b)| Step::Look(a || !b, b)),
    ]
}

/// Two places and what was done to them.
#[derive(Default)]
struct World {
    at: [BTreeMap<ObjectHash, Known>; 2],
    removed: Vec<ObjectHash>,
    seen: Seen,
    number: u8,
}

impl World {
    fn here(&self, which: [bool; 2]) -> Vec<Here> {
        let places = ["a", "b"].into_iter().zip(&self.at).zip(which).filter(|(_, wanted)| *wanted);
        let one = |((place, at), _): ((&str, &BTreeMap<ObjectHash, Known>), bool)| Here {
            place: place.to_owned(),
            snapshots: at.values().cloned().collect(),
            unread: Vec::new(),
        };
        places.map(one).collect()
    }

    fn look(&mut self, which: [bool; 2]) -> Vec<Finding> {
        let here = self.here(which);
        let sight = if which == [true; 2] { Sight::All } else { Sight::Part };
        let scene = Scene { here: &here, seen: &self.seen, sight };
        let found = scene.findings(&|gone| self.removed.contains(gone));
        self.seen = scene.memory(&found);
        found
    }

    fn take(&mut self, step: Step) -> Vec<Finding> {
        match step {
            Step::Backup(a, b) => {
                self.number += 1;
                let reached: Vec<&Known> =
                    self.at.iter().zip([a, b]).filter(|(_, r)| *r).flat_map(|(at, _)| at.values()).collect();
                let newest = reached.iter().map(|known| known.mark.number).max();
                let mut links: Vec<ObjectHash> = reached
                    .iter()
                    .filter(|known| Some(known.mark.number) == newest)
                    .map(|known| known.id)
                    .collect();
                links.sort_unstable();
                links.dedup();
                let snapshot = Known { links, ..known(self.number, &[]) };
                for (at, reached) in self.at.iter_mut().zip([a, b]) {
                    if reached {
                        at.insert(snapshot.id, snapshot.clone());
                    }
                }
                Vec::new()
            }
            Step::Forget(n) => {
                let ids: Vec<ObjectHash> = self.at.iter().flat_map(|at| at.keys().copied()).collect();
                if let Some(id) = ids.get(usize::from(n) % ids.len().max(1)) {
                    self.removed.push(*id);
                    self.at.iter_mut().for_each(|at| drop(at.remove(id)));
                }
                Vec::new()
            }
            Step::Sync(forth) => {
                let (from, to) = if forth { (0, 1) } else { (1, 0) };
                let more = self.at[from].clone();
                self.at[to].extend(more);
                Vec::new()
            }
            Step::Look(a, b) => self.look([a, b]),
        }
    }
}

proptest! {
    #[test]
    fn an_honest_history_gives_no_alarm(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::default();
        for step in steps {
            let found = world.take(step);
            prop_assert_eq!(gone(&found), [], "{:?}", step);
        }
    }

    #[test]
    fn what_was_seen_and_is_deleted_is_found(
        steps in prop::collection::vec(step(), 1..40),
        place in 0..2usize,
        victims in prop::collection::vec(any::<u8>(), 1..4),
    ) {
        let mut world = World::default();
        for step in steps {
            world.take(step);
        }
        world.look([true; 2]);
        let ids: Vec<ObjectHash> = world.at[place].keys().copied().collect();
        let mut taken: Vec<ObjectHash> = Vec::new();
        for victim in victims {
            if let Some(id) = ids.get(usize::from(victim) % ids.len().max(1)) {
                world.at[place].remove(id);
                taken.push(*id);
            }
        }
        taken.sort_unstable();
        taken.dedup();
        let mut found = gone(&world.look([true; 2]));
        found.sort_unstable();
        prop_assert_eq!(&found, &taken);
        // And again, by who asks that place alone.
        let found = gone(&world.look([place == 0, place == 1]));
        prop_assert_eq!(found.len(), taken.len());
    }
}
