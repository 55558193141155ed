//! What is stored and where each actor stands, as small bit sets: bit `p` of a set of packs is
//! pack `p`; a proposal is snapshot * `NONCES` + nonce.

/// Packs that can exist in one history; their numbers are the order of their names.
pub(crate) const PACKS: usize = 6;
/// Nonces of one snapshot.
pub(crate) const NONCES: u8 = 2;
/// No pack, no plan, no snapshot.
pub(crate) const NONE: u8 = 0xff;

/// The set with one member.
pub(crate) fn bit(of: u8) -> u8 {
    1 << of
}

/// The members of a set.
pub(crate) fn members(set: u8) -> impl Iterator<Item = u8> {
    (0..8).filter(move |of| set & bit(*of) != 0)
}

/// A step, to be told in a trace.
#[derive(Clone, Copy)]
pub(crate) struct Act {
    pub(crate) who: &'static str,
    pub(crate) what: &'static str,
    pub(crate) of: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Life {
    #[default]
    Never,
    Listed,
    /// Its packs were seen absent: `.done` stands.
    Done,
    /// `.done` is as old as the tail.
    Old,
    Ended,
}

/// A sweep plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Plan {
    pub(crate) life: Life,
    pub(crate) packs: u8,
    pub(crate) props: u8,
    /// Proposals whose blobs were walked when it was made.
    pub(crate) walked: u8,
    /// Blobs that a walked one needs.
    pub(crate) live: u8,
}

impl Plan {
    pub(crate) fn listed(&self) -> bool {
        matches!(self.life, Life::Listed | Life::Done | Life::Old)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum WriterAt {
    #[default]
    Idle,
    Chosen,
    Packed,
    Stored,
    /// Only when the order is taken out: looked before the proposal.
    LookedEarly,
    Proposed,
    /// Only when the order is taken out: packs seen before the plans were.
    SeenEarly,
    Looked,
    Seen,
    Stood,
    Confirmed,
    LookedAgain,
    Done,
    GaveUp,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Writer {
    pub(crate) at: WriterAt,
    /// The parent's snapshot, or `NONE`.
    pub(crate) parent: u8,
    pub(crate) relied: u8,
    pub(crate) missing: u8,
    pub(crate) own: u8,
    pub(crate) nonce: u8,
    /// Packs that count as absent after a no.
    pub(crate) avoid: u8,
    pub(crate) orphan: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum SweeperAt {
    #[default]
    Idle,
    /// 1: the plans are read.
    Listed,
    /// 2, when nodes are to be read: the roots are known, then the index.
    Rooted,
    Indexed,
    /// 3: proposals go.
    Dropping,
    /// 4: the index is read.
    Homes,
    /// 5: what has no home moves.
    Moving,
    Moved,
    /// 6: is the plan still listed?
    Checking,
    Deleting,
    /// 3 after 6, only when the order is taken out.
    DroppingLate,
    /// 7.
    Finishing,
    Ending,
    Damage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Sweeper {
    pub(crate) at: SweeperAt,
    pub(crate) plan: u8,
    /// C: packs that count as gone.
    pub(crate) condemned: u8,
    pub(crate) roots: u8,
    pub(crate) doomed: u8,
    /// Proposals that could not be deleted: roots again.
    pub(crate) kept: u8,
    pub(crate) live: u8,
    pub(crate) index: u8,
    pub(crate) need: u8,
    /// Packs of the plan that were seen to exist at 5.
    pub(crate) todo: u8,
    pub(crate) fresh: u8,
    /// Its look is more than an hour old.
    pub(crate) stale: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Planner {
    /// 0 idle, 1 looked, 2 done.
    pub(crate) at: u8,
    pub(crate) walked: u8,
    pub(crate) live: u8,
    pub(crate) pending: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Compactor {
    /// 0 idle, 1 read, 2 looked.
    pub(crate) at: u8,
    pub(crate) read: u8,
    pub(crate) read_again: u8,
    pub(crate) there: u8,
}

/// One moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) packs: u8,
    /// Packs that a run in force lists.
    pub(crate) indexed: u8,
    /// Packs whose own run was superseded by one that leaves them out.
    pub(crate) dropped: u8,
    /// Packs that a sync listed once more, in a run of a name that nobody has seen.
    pub(crate) relisted: u8,
    pub(crate) holds: [u8; PACKS],
    pub(crate) made: u8,
    pub(crate) props: u8,
    pub(crate) oks: u8,
    /// Proposals that ever were.
    pub(crate) put: u8,
    pub(crate) requests: u8,
    pub(crate) told: u8,
    pub(crate) forgotten: u8,
    /// Proposals that a late duplicate brought back.
    pub(crate) revived: u8,
    pub(crate) plans: [Plan; 2],
    /// Deletes of packs that may be carried out once more.
    pub(crate) ghosts: u8,
    pub(crate) writers: [Writer; 2],
    pub(crate) sweepers: [Sweeper; 2],
    pub(crate) planners: [Planner; 2],
    pub(crate) forgetter: u8,
    pub(crate) compactor: Compactor,
    pub(crate) comebacks: u8,
}

impl State {
    /// Sweepers are alike: one order of them is enough.
    pub(crate) fn canonical(&mut self) {
        if self.sweepers[0] > self.sweepers[1] {
            self.sweepers.swap(0, 1);
        }
    }

    /// All packs that the plans name.
    pub(crate) fn named(&self) -> u8 {
        self.plans.iter().filter(|plan| plan.listed()).fold(0, |all, plan| all | plan.packs)
    }

    /// All proposals that the plans name.
    pub(crate) fn named_props(&self) -> u8 {
        self.plans.iter().filter(|plan| plan.listed()).fold(0, |all, plan| all | plan.props)
    }

    pub(crate) fn is_valid(&self, prop: u8) -> bool {
        self.props & self.oks & bit(prop) != 0 && self.requests & bit(prop / NONCES) == 0
    }

    /// Names of a snapshot.
    pub(crate) fn names(snapshot: u8) -> u8 {
        ((1 << NONCES) - 1) << (snapshot * NONCES)
    }

    /// The packs that runs in force list.
    pub(crate) fn listed(&self) -> u8 {
        self.indexed | self.relisted
    }

    /// The blobs that can be read through the index.
    pub(crate) fn readable(&self) -> u8 {
        members(self.packs & self.listed()).fold(0, |all, pack| all | self.holds[usize::from(pack)])
    }

    /// The blobs of a set of packs.
    pub(crate) fn blobs(&self, packs: u8) -> u8 {
        members(packs).fold(0, |all, pack| all | self.holds[usize::from(pack)])
    }

    /// Stores a new pack; `None` when the model has no more names.
    pub(crate) fn store(&mut self, blobs: u8) -> Option<u8> {
        let pack = self.made;
        if usize::from(pack) >= PACKS {
            return None;
        }
        self.made += 1;
        self.holds[usize::from(pack)] = blobs;
        self.packs |= bit(pack);
        Some(pack)
    }

    /// What is stored, without the actors: all that somebody who comes later meets.
    pub(crate) fn stored(&self) -> Self {
        Self {
            writers: [Writer::default(); 2],
            sweepers: [Sweeper::default(); 2],
            planners: [Planner::default(); 2],
            forgetter: 0,
            compactor: Compactor::default(),
            ghosts: 0,
            ..*self
        }
    }
}
