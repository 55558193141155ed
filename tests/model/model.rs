//! The protocol of docs/format.md as steps: who may do what next, and what must always hold.
//! Each step is one request to the storage; between any two an actor may stop for ever, which is
//! also what a killed one does.

use super::state::{Act, Compactor, Life, NONCES, NONE, Plan, Planner, State, SweeperAt, bit, members};

/// A rule that can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    WriterLooksAtPlans,
    WriterSeesPacks,
    PacksAreSeenAfterThePlans,
    WriterSeesItsParent,
    RequestsCountForTheParent,
    NamedParentIsNone,
    NamedProposalStopsEarly,
    WriterLooksAgain,
    ProposalIsStillThere,
    ProposeThenLook,
    FreshNonce,
    OwnPacksAreReliedOn,
    CoveredByBlob,
    RunBeforeConfirmation,
    StartAvoidsNamedPacks,
    SweeperLooksAfterItsPlan,
    PendingIsARoot,
    ConfirmedIsARoot,
    ProposalsGoFirst,
    KeptProposalIsARoot,
    AllPlansCount,
    HomeIsOutsidePlans,
    HomeExists,
    HomeIsIndexed,
    RunBeforeDelete,
    VanishedSourceStartsOver,
    MissingNodeIsLookedForAgain,
    LookIsRecent,
    PlanIsStillListed,
    DoneWhenAbsent,
    Tail,
    AbsentAtTheEnd,
    LiveIsLiveWhereverElseItLies,
    ConfirmationGoesFirst,
    RequestOutlivesItsSnapshot,
    CompactorLooksAfterReading,
    CopiesAvoidNamedPacks,
    RunIsInForce,
}

impl Rule {
    pub(crate) const ALL: &[Self] = &[
        Self::WriterLooksAtPlans,
        Self::WriterSeesPacks,
        Self::PacksAreSeenAfterThePlans,
        Self::WriterSeesItsParent,
        Self::RequestsCountForTheParent,
        Self::NamedParentIsNone,
        Self::NamedProposalStopsEarly,
        Self::WriterLooksAgain,
        Self::ProposalIsStillThere,
        Self::ProposeThenLook,
        Self::FreshNonce,
        Self::OwnPacksAreReliedOn,
        Self::CoveredByBlob,
        Self::RunBeforeConfirmation,
        Self::StartAvoidsNamedPacks,
        Self::SweeperLooksAfterItsPlan,
        Self::PendingIsARoot,
        Self::ConfirmedIsARoot,
        Self::ProposalsGoFirst,
        Self::KeptProposalIsARoot,
        Self::AllPlansCount,
        Self::HomeIsOutsidePlans,
        Self::HomeExists,
        Self::HomeIsIndexed,
        Self::RunBeforeDelete,
        Self::VanishedSourceStartsOver,
        Self::MissingNodeIsLookedForAgain,
        Self::LookIsRecent,
        Self::PlanIsStillListed,
        Self::DoneWhenAbsent,
        Self::Tail,
        Self::AbsentAtTheEnd,
        Self::LiveIsLiveWhereverElseItLies,
        Self::ConfirmationGoesFirst,
        Self::RequestOutlivesItsSnapshot,
        Self::CompactorLooksAfterReading,
        Self::CopiesAvoidNamedPacks,
        Self::RunIsInForce,
    ];
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Snap {
    pub(crate) blobs: u8,
    /// Blobs that must be read to know the others.
    pub(crate) node: u8,
}

/// How a snapshot is forgotten.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forget {
    No,
    Direct(u8),
    Request(u8),
}

/// What a planner may name: one of these sets of packs.
#[derive(Clone, Copy)]
pub(crate) struct Names {
    pub(crate) packs: &'static [u8],
    /// And the pending proposals that it saw.
    pub(crate) pending: bool,
}

/// A bounded world: what is there at first and who acts in it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) packs: &'static [u8],
    /// Packs of these that the index doesn't list.
    pub(crate) unlisted: u8,
    pub(crate) snaps: &'static [Snap],
    /// Snapshots that are valid from the start.
    pub(crate) valid: u8,
    /// The snapshot of each writer and its possible parent.
    pub(crate) writers: &'static [(u8, u8)],
    /// The writer is a sync: its packs stand elsewhere and are copied under their names.
    pub(crate) sync: bool,
    pub(crate) sweepers: usize,
    pub(crate) planners: &'static [Names],
    pub(crate) forget: Forget,
    pub(crate) compactor: bool,
    /// How many packs or proposals come back under their names.
    pub(crate) comebacks: u8,
    pub(crate) late_deletes: bool,
    pub(crate) late_proposals: bool,
    /// Proposals that the storage refuses to delete.
    pub(crate) locked_props: u8,
    pub(crate) locked_packs: u8,
    /// Sweepers mark from the plan and what it had not walked.
    pub(crate) incremental: bool,
    /// From each moment on, two rounds of collection must leave nothing behind.
    pub(crate) settles: bool,
}

/// Everything off.
pub(crate) const EMPTY: Case = Case {
    name: "",
    packs: &[],
    unlisted: 0,
    snaps: &[],
    valid: 0,
    writers: &[],
    sync: false,
    sweepers: 0,
    planners: &[],
    forget: Forget::No,
    compactor: false,
    comebacks: 0,
    late_deletes: false,
    late_proposals: false,
    locked_props: 0,
    locked_packs: 0,
    incremental: false,
    settles: false,
};

pub(crate) type Next = Vec<(Act, State)>;

pub(crate) struct Model<'a> {
    pub(crate) case: &'a Case,
    pub(crate) out: &'a [Rule],
}

impl Model<'_> {
    pub(crate) fn has(&self, rule: Rule) -> bool {
        !self.out.contains(&rule)
    }

    pub(crate) fn first(&self) -> State {
        let mut state = State::default();
        for blobs in self.case.packs {
            state.store(*blobs).expect("room for the first packs");
        }
        state.indexed = state.packs & !self.case.unlisted;
        for snap in members(self.case.valid) {
            state.props |= bit(snap * NONCES);
        }
        state.oks = state.props;
        state.put = state.props;
        state.told = self.case.valid;
        state.comebacks = self.case.comebacks;
        state
    }

    /// All that can happen next.
    pub(crate) fn steps(&self, state: &State, next: &mut Next) {
        for i in 0..self.case.writers.len() {
            self.writer(state, i, next);
        }
        for i in 0..2 {
            // Sorted: the idle ones stand first, and as many as the case has not stay idle.
            if i >= 2 - self.case.sweepers {
                self.sweeper(state, i, next);
            }
        }
        for i in 0..self.case.planners.len() {
            self.planner(state, i, next);
        }
        self.forgetter(state, next);
        if self.case.compactor {
            self.compactor(state, next);
        }
        self.storage(state, next);
        self.time(state, next);
    }

    /// What a mark finds: everything that roots need.
    pub(crate) fn needs(&self, props: u8) -> u8 {
        members(props).fold(0, |all, prop| {
            let snap = self.case.snaps[usize::from(prop / NONCES)];
            all | snap.blobs | snap.node
        })
    }

    /// A planner looks, and names whatever it likes: a bad choice costs work, never data.
    fn planner(&self, state: &State, i: usize, next: &mut Next) {
        let (planner, names) = (state.planners[i], self.case.planners[i]);
        match planner.at {
            0 => {
                let mut to = *state;
                let forgotten = members(state.requests).fold(0, |all, snap| all | State::names(snap));
                let walked = state.props & !forgotten;
                let pending = if names.pending { state.props & !state.oks } else { 0 };
                let live = if self.case.incremental { self.needs(walked) } else { 0 };
                let walked = if self.case.incremental { walked } else { 0 };
                to.planners[i] = Planner { at: 1, walked, live, pending };
                next.push((Act { who: "planner", what: "looks", of: walked }, to));
            }
            1 => {
                for packs in names.packs {
                    let packs = packs & state.packs;
                    if packs | planner.pending == 0 {
                        continue;
                    }
                    let mut to = *state;
                    let plan = &mut to.plans[i];
                    plan.life = Life::Listed;
                    plan.packs = packs;
                    plan.props = planner.pending;
                    plan.walked = planner.walked;
                    plan.live = planner.live;
                    if !self.has(Rule::LiveIsLiveWhereverElseItLies) {
                        plan.live &= !state.blobs(state.packs & !packs);
                    }
                    to.planners[i] = Planner { at: 2, ..Planner::default() };
                    next.push((Act { who: "planner", what: "puts a plan over packs", of: packs }, to));
                }
            }
            _ => {}
        }
    }

    fn forgetter(&self, state: &State, next: &mut Next) {
        let (snap, request) = match self.case.forget {
            Forget::No => return,
            Forget::Direct(snap) => (snap, false),
            Forget::Request(snap) => (snap, true),
        };
        let mut to = *state;
        let names = State::names(snap);
        let what = match (request, state.forgetter) {
            // What is forgotten was a backup once.
            (_, 0) if state.told & bit(snap) == 0 => return,
            (true, 0) => {
                to.requests |= bit(snap);
                "puts f/ of snapshot"
            }
            (true, 1) if state.props & names == 0 || !self.has(Rule::RequestOutlivesItsSnapshot) => {
                to.requests &= !bit(snap);
                "deletes f/ of snapshot"
            }
            (false, at @ (0 | 1)) if (at == 0) == self.has(Rule::ConfirmationGoesFirst) => {
                to.oks &= !names;
                "deletes .ok of snapshot"
            }
            (false, 0 | 1) => {
                to.props &= !names;
                "deletes s/ of snapshot"
            }
            _ => return,
        };
        to.forgotten |= bit(snap);
        to.forgetter += 1;
        next.push((Act { who: "forgetter", what, of: snap }, to));
    }

    /// Reads the runs, looks which packs are there, publishes one run for all that it read.
    fn compactor(&self, state: &State, next: &mut Next) {
        let mut to = *state;
        let after = self.has(Rule::CompactorLooksAfterReading);
        let what = match (state.compactor.at, after) {
            (0, true) | (1, false) => {
                to.compactor.read = state.listed();
                to.compactor.read_again = state.relisted;
                "lists i/"
            }
            (1, true) | (0, false) => {
                to.compactor.there = state.packs;
                "lists p/"
            }
            (2, _) => {
                to.dropped |= state.compactor.read & !state.compactor.there;
                to.relisted &= !state.compactor.read_again;
                to.indexed =
                    (state.indexed & !state.compactor.read) | (state.compactor.read & state.compactor.there);
                to.compactor = Compactor { at: 2, ..Compactor::default() };
                "publishes one run for"
            }
            _ => return,
        };
        to.compactor.at += 1;
        next.push((Act { who: "compactor", what, of: to.indexed }, to));
    }

    /// What the storage and its network may do late, and copies that come back.
    fn storage(&self, state: &State, next: &mut Next) {
        for pack in members(state.ghosts & state.packs) {
            let mut to = *state;
            to.packs &= !bit(pack);
            to.ghosts &= !bit(pack);
            next.push((Act { who: "storage", what: "deletes, late or twice, pack", of: pack }, to));
        }
        if state.comebacks == 0 {
            return;
        }
        if self.case.late_proposals {
            for prop in members(state.put & !state.props) {
                let mut to = *state;
                to.comebacks -= 1;
                to.props |= bit(prop);
                to.revived |= bit(prop);
                next.push((Act { who: "storage", what: "stores, late or twice, proposal", of: prop }, to));
            }
            return;
        }
        // A late duplicate comes before the tail is over; a copy never has a name that a plan names.
        let over =
            state.plans.iter().filter(|plan| plan.life == Life::Old).fold(0, |all, plan| all | plan.packs);
        let barred = if self.has(Rule::CopiesAvoidNamedPacks) { over } else { 0 };
        for pack in (0..state.made).filter(|pack| (state.packs | barred) & bit(*pack) == 0) {
            let mut to = *state;
            to.comebacks -= 1;
            to.packs |= bit(pack);
            next.push((
                Act { who: "storage", what: "has again, by a copy or a late PUT, pack", of: pack },
                to,
            ));
        }
    }

    /// The tail passes: a `.done` grows old. Assumed: no sweeper is frozen that long between its
    /// look at the plan and its DELETE; whoever looked before has a look older than an hour.
    fn time(&self, state: &State, next: &mut Next) {
        for (i, plan) in state.plans.iter().enumerate().filter(|(_, plan)| plan.life == Life::Done) {
            let this = |at: SweeperAt| state.sweepers.iter().any(|s| usize::from(s.plan) == i && s.at == at);
            if this(SweeperAt::Deleting) {
                continue;
            }
            let mut to = *state;
            to.plans[i].life = Life::Old;
            to.ghosts &= !plan.packs;
            for sweeper in to.sweepers.iter_mut().filter(|s| s.at != SweeperAt::Idle) {
                sweeper.stale = true;
            }
            next.push((
                Act { who: "time", what: "passes: the tail of plan", of: u8::try_from(i).expect("two") },
                to,
            ));
        }
    }

    /// The first promise that does not hold.
    pub(crate) fn broken(&self, state: &State) -> Option<String> {
        let readable = state.readable();
        for (snap, content) in (0u8..).zip(self.case.snaps) {
            let lost = (content.blobs | content.node) & !readable;
            let mut valid = members(State::names(snap)).filter(|prop| state.is_valid(*prop)).peekable();
            let promised = (state.told & !state.forgotten) & bit(snap) != 0;
            if promised && valid.peek().is_none() {
                return Some(format!("snapshot {snap} was a success and is no backup any more"));
            }
            if lost == 0 {
                continue;
            }
            if promised {
                return Some(format!("snapshot {snap} was a success and has lost blobs {lost:#b}"));
            }
            // A late duplicate of a proposal that nobody was told about is a debt (docs/model.md).
            let told = state.told & bit(snap) != 0;
            if let Some(prop) = valid.find(|prop| told || state.revived & bit(*prop) == 0) {
                return Some(format!("proposal {prop} is listed as a backup and lacks blobs {lost:#b}"));
            }
        }
        None
    }

    /// Everybody is killed here; two rounds of collection, and nothing is left that isn't needed.
    pub(crate) fn unsettled(&self, state: &State) -> Option<String> {
        let mut state = State { comebacks: 0, ..state.stored() };
        for snap in members(state.forgotten & !state.requests) {
            // A forget that was broken off is asked for again.
            state.oks &= !State::names(snap);
            state.props &= !State::names(snap);
        }
        for _ in 0..2 {
            let pending = state.props & !state.oks;
            let forgotten = members(state.requests).fold(0, |all, snap| all | State::names(snap));
            let needed = self.needs(state.props & !pending & !forgotten);
            let dead = members(state.packs).filter(|p| state.holds[usize::from(*p)] & needed == 0);
            let packs = dead.fold(0, |all, pack| all | bit(pack));
            if packs | pending | (state.props & forgotten) != 0
                && let Some(slot) = state.plans.iter_mut().find(|plan| !plan.listed())
            {
                *slot = Plan { life: Life::Listed, packs, props: pending, walked: 0, live: 0 };
            }
            match self.run_sweeps(&mut state) {
                Ok(true) => {}
                // The model has no more names for packs: nothing can be said.
                Ok(false) => return None,
                Err(what) => return Some(what),
            }
        }
        if let Some(what) = self.broken(&state) {
            return Some(format!("after two rounds {what}"));
        }
        let forgotten = members(state.requests).fold(0, |all, snap| all | State::names(snap));
        let needed = self.needs(state.props);
        let orphans = members(state.packs).filter(|p| state.holds[usize::from(*p)] & needed == 0).count();
        let plans = if self.waits_for_a_backup(&state) {
            0
        } else {
            state.plans.iter().filter(|plan| plan.listed()).count()
        };
        let pending = (state.props & (!state.oks | forgotten)).count_ones();
        (orphans + plans != 0 || pending != 0).then(|| {
            format!("after two rounds {orphans} orphans, {plans} plans, {pending} proposals are left")
        })
    }

    /// One sweeper alone, until no plan is listed; false when the model has no room for a move.
    fn run_sweeps(&self, state: &mut State) -> Result<bool, String> {
        let mut next = Vec::new();
        let mut turn = 0;
        for _ in 0..400 {
            if !state.plans.iter().any(Plan::listed) {
                return Ok(true);
            }
            if state.sweepers[1].at == SweeperAt::Idle {
                self.time(state, &mut next);
            }
            if next.is_empty() {
                self.sweeper(state, 1, &mut next);
                turn += usize::from(state.sweepers[1].at == SweeperAt::Idle);
            }
            if next.is_empty() {
                return Err("a sweeper alone can't go on".to_owned());
            }
            // Plans in turn.
            let (act, to) = next[turn % next.len()];
            next.clear();
            if act.of == NONE {
                return Ok(false);
            }
            if act.what == "7 leaves plan" && self.waits_for_a_backup(&to) {
                return Ok(true);
            }
            *state = to;
        }
        Err(format!("a sweeper alone never ends: {:?}", state.sweepers[1].at))
    }

    /// A named proposal that got its confirmation keeps its plan until it is forgotten.
    fn waits_for_a_backup(&self, state: &State) -> bool {
        let kept = |plan: &Plan| state.packs & plan.packs == 0 && state.props & state.oks & plan.props != 0;
        state.plans.iter().filter(|plan| plan.listed()).all(kept)
    }

    /// The writer's snapshot and the parent that it may take.
    pub(crate) fn errand(&self, i: usize) -> (u8, u8) {
        self.case.writers[i]
    }

    /// Whether a snapshot stands: valid under any of its names.
    pub(crate) fn stands(state: &State, snap: u8) -> bool {
        snap != NONE && members(State::names(snap)).any(|prop| state.is_valid(prop))
    }
}
