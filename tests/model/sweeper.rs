//! A sweep: steps 1 to 7. Any number of sweepers may work at one plan or at several.

use super::model::{Model, Next, Rule};
use super::state::{Act, Life, NONCES, NONE, State, Sweeper, SweeperAt as At, bit, members};

impl Model<'_> {
    pub(crate) fn sweeper(&self, state: &State, i: usize, next: &mut Next) {
        let sweeper = state.sweepers[i];
        let mut to = *state;
        let mut act = |what, of, to| next.push((Act { who: "sweeper", what, of }, to));
        match sweeper.at {
            At::Idle => self.begin(state, i, &mut act),
            At::Listed => self.roots(state, i, &mut act),
            At::Rooted => {
                to.sweepers[i].index = state.listed();
                to.sweepers[i].at = At::Indexed;
                act("2 lists i/", state.listed(), to);
            }
            At::Indexed => self.mark(state, i, &mut act),
            At::Dropping | At::DroppingLate => self.drop_props(state, i, &mut act),
            At::Homes => self.homes(state, i, &mut act),
            At::Moving => self.relocate(state, i, &mut act),
            At::Moved => {
                if self.has(Rule::RunBeforeDelete) {
                    to.indexed |= bit(sweeper.fresh);
                }
                to.sweepers[i].at = At::Checking;
                act("5 puts the run of pack", sweeper.fresh, to);
            }
            At::Checking => {
                let listed = state.plans[usize::from(sweeper.plan)].listed();
                if (!listed && self.has(Rule::PlanIsStillListed))
                    || (sweeper.stale && self.has(Rule::LookIsRecent))
                {
                    to.sweepers[i] = Sweeper::default();
                    return act("6 must start over: plan", sweeper.plan, to);
                }
                to.sweepers[i].at = At::Deleting;
                act("6 may delete, of plan", sweeper.plan, to);
            }
            At::Deleting => self.delete(state, i, &mut act),
            At::Finishing => self.finish_plan(state, i, &mut act),
            At::Ending => {
                let plan = &mut to.plans[usize::from(sweeper.plan)];
                plan.life = Life::Ended;
                plan.packs = 0;
                plan.props = 0;
                plan.walked = 0;
                plan.live = 0;
                to.sweepers[i] = Sweeper::default();
                act("7 deletes plan", sweeper.plan, to);
            }
            At::Damage => {}
        }
    }

    /// 1: all packs that all plans name. Or the end of a plan that is done.
    fn begin(&self, state: &State, i: usize, act: &mut impl FnMut(&'static str, u8, State)) {
        for (number, plan) in (0u8..).zip(&state.plans) {
            let mut to = *state;
            let back = state.packs & plan.packs != 0 || state.props & plan.props != 0;
            match plan.life {
                Life::Listed => {
                    let condemned = if self.has(Rule::AllPlansCount) { state.named() } else { plan.packs };
                    to.sweepers[i] =
                        Sweeper { at: At::Listed, plan: number, condemned, ..Sweeper::default() };
                    if !self.has(Rule::SweeperLooksAfterItsPlan) {
                        // It trusts the planner's marks.
                        to.sweepers[i].at = At::Homes;
                        to.sweepers[i].live = plan.live;
                    }
                    act("1 lists g/; condemned are packs", condemned, to);
                }
                Life::Done | Life::Old if back && self.has(Rule::AbsentAtTheEnd) => {
                    to.plans[usize::from(number)].life = Life::Listed;
                    act("7 finds something back of plan", number, to);
                }
                Life::Old => {
                    to.sweepers[i] = Sweeper { at: At::Ending, plan: number, ..Sweeper::default() };
                    act("7 finds all still absent of plan", number, to);
                }
                Life::Done if !self.has(Rule::Tail) => {
                    to.sweepers[i] = Sweeper { at: At::Ending, plan: number, ..Sweeper::default() };
                    act("7 finds all absent, waits for no tail of plan", number, to);
                }
                _ => {}
            }
        }
    }

    /// 2: every s/, but those in f/ and those that this plan names and that have no .ok.
    fn roots(&self, state: &State, i: usize, act: &mut impl FnMut(&'static str, u8, State)) {
        let mut sweeper = state.sweepers[i];
        let plan = &state.plans[usize::from(sweeper.plan)];
        let forgotten = members(state.requests).fold(0, |all, snap| all | State::names(snap));
        let unconfirmed = if self.has(Rule::ConfirmedIsARoot) { !state.oks } else { !0 };
        let doomed = state.props & (forgotten | (plan.props & unconfirmed)) & !sweeper.kept;
        sweeper.doomed = doomed;
        sweeper.roots = state.props & !doomed;
        if !self.has(Rule::PendingIsARoot) {
            sweeper.roots &= state.oks;
        }
        let nodes = self.case.snaps.iter().any(|snap| snap.node != 0);
        if nodes {
            sweeper.at = At::Rooted;
        } else {
            sweeper.live = self.live_of(state, &sweeper, sweeper.roots);
            sweeper.at = if self.has(Rule::ProposalsGoFirst) { At::Dropping } else { At::Homes };
        }
        let mut to = *state;
        to.sweepers[i] = sweeper;
        act("2 lists s/ and f/; roots are proposals", sweeper.roots, to);
    }

    /// The live blobs: of the roots, or the plan's and those of the roots that it had not walked.
    fn live_of(&self, state: &State, sweeper: &Sweeper, roots: u8) -> u8 {
        let plan = &state.plans[usize::from(sweeper.plan)];
        if self.case.incremental { plan.live | self.needs(roots & !plan.walked) } else { self.needs(roots) }
    }

    /// 2: the roots' nodes are read. What can't be found is looked for until i/ changes no more.
    fn mark(&self, state: &State, i: usize, act: &mut impl FnMut(&'static str, u8, State)) {
        let sweeper = state.sweepers[i];
        let there = state.blobs(sweeper.index & state.packs);
        let node = |prop: u8| self.case.snaps[usize::from(prop / NONCES)].node;
        let lost = members(sweeper.roots).filter(|prop| node(*prop) & !there != 0);
        let lost = lost.fold(0, |all, prop| all | bit(prop));
        let mut to = *state;
        if lost != 0 && self.has(Rule::MissingNodeIsLookedForAgain) {
            if state.listed() != sweeper.index {
                to.sweepers[i].index = state.listed();
                return act("2 misses a node and lists i/ again", state.listed(), to);
            }
            if lost & state.oks != 0 {
                to.sweepers[i] = Sweeper { at: At::Damage, ..Sweeper::default() };
                return act("2 stops: damage below proposals", lost, to);
            }
        }
        let sweeper = &mut to.sweepers[i];
        sweeper.live = self.live_of(state, sweeper, sweeper.roots & !lost);
        sweeper.index = 0;
        sweeper.at = if self.has(Rule::ProposalsGoFirst) { At::Dropping } else { At::Homes };
        act("2 has read all but proposals", lost, to);
    }

    /// 3: what is no root goes, of forgotten ones the .ok first; what can't go is a root again.
    fn drop_props(&self, state: &State, i: usize, act: &mut impl FnMut(&'static str, u8, State)) {
        let mut to = *state;
        let sweeper = &mut to.sweepers[i];
        let Some(prop) = members(sweeper.doomed & state.props).next() else {
            sweeper.doomed = 0;
            sweeper.at = if sweeper.at == At::DroppingLate { At::Finishing } else { At::Homes };
            return act("3 has no more to drop", 0, to);
        };
        if self.case.locked_props & bit(prop) != 0 {
            sweeper.doomed &= !bit(prop);
            if self.has(Rule::KeptProposalIsARoot) {
                sweeper.kept |= bit(prop);
                sweeper.at = At::Listed;
            }
            return act("3 can't delete proposal", prop, to);
        }
        let confirmed = state.oks & bit(prop) != 0 && state.requests & bit(prop / NONCES) != 0;
        if confirmed && self.has(Rule::ConfirmationGoesFirst) {
            to.oks &= !bit(prop);
            return act("3 deletes .ok of proposal", prop, to);
        }
        sweeper.doomed &= !bit(prop);
        to.props &= !bit(prop);
        act("3 deletes proposal", prop, to);
    }

    /// 4 and 5: the index, and which live blobs of the plan's packs have no home that stays.
    fn homes(&self, state: &State, i: usize, act: &mut impl FnMut(&'static str, u8, State)) {
        let sweeper = state.sweepers[i];
        let packs = state.plans[usize::from(sweeper.plan)].packs & state.packs;
        let mut homes = if self.has(Rule::HomeIsIndexed) { state.listed() } else { !0 };
        if self.has(Rule::HomeExists) {
            homes &= state.packs;
        }
        if self.has(Rule::HomeIsOutsidePlans) {
            homes &= !sweeper.condemned;
        }
        let need = members(packs).fold(0, |all, pack| {
            let others = if self.has(Rule::HomeIsOutsidePlans) { homes } else { homes & !bit(pack) };
            all | (state.holds[usize::from(pack)]
                & sweeper.live
                & !state.blobs(others & ((1 << state.made) - 1)))
        });
        let mut to = *state;
        let sweeper = &mut to.sweepers[i];
        sweeper.todo = packs;
        sweeper.need = need;
        sweeper.at = if need == 0 { At::Checking } else { At::Moving };
        act("4 lists i/ and sees homes; to move are blobs", need, to);
    }

    /// 5: a new pack for what must move.
    fn relocate(&self, state: &State, i: usize, act: &mut impl FnMut(&'static str, u8, State)) {
        let sweeper = state.sweepers[i];
        let there = state.blobs(sweeper.todo & state.packs);
        let mut to = *state;
        let mut need = sweeper.need;
        if need & !there != 0 {
            if self.has(Rule::VanishedSourceStartsOver) {
                to.sweepers[i] = Sweeper::default();
                return act("5 misses a source of blobs", need & !there, to);
            }
            need &= there;
        }
        if need == 0 {
            to.sweepers[i].at = At::Checking;
            return act("5 moves nothing", 0, to);
        }
        let Some(pack) = to.store(need) else {
            // No room: plan and packs stay as they are.
            to.sweepers[i] = Sweeper::default();
            return act("stops, no room for pack", NONE, to);
        };
        to.sweepers[i].fresh = pack;
        to.sweepers[i].need = 0;
        to.sweepers[i].at = At::Moved;
        act("5 puts what it moves into pack", pack, to);
    }

    /// 6: one pack of the plan goes.
    fn delete(&self, state: &State, i: usize, act: &mut impl FnMut(&'static str, u8, State)) {
        let mut to = *state;
        let sweeper = &mut to.sweepers[i];
        let Some(pack) = members(sweeper.todo).next() else {
            sweeper.at = if self.has(Rule::ProposalsGoFirst) { At::Finishing } else { At::DroppingLate };
            return act("6 has deleted the packs of plan", to.sweepers[i].plan, to);
        };
        sweeper.todo &= !bit(pack);
        if self.case.locked_packs & bit(pack) != 0 {
            return act("6 can't delete pack", pack, to);
        }
        to.packs &= !bit(pack);
        if self.case.late_deletes {
            to.ghosts |= bit(pack);
        }
        act("6 deletes pack", pack, to);
    }

    /// 7: done when every pack and every proposal of the plan is absent.
    fn finish_plan(&self, state: &State, i: usize, act: &mut impl FnMut(&'static str, u8, State)) {
        let number = state.sweepers[i].plan;
        let mut to = *state;
        to.sweepers[i] = Sweeper::default();
        let plan = &mut to.plans[usize::from(number)];
        let absent = state.packs & plan.packs == 0 && state.props & plan.props == 0;
        if plan.life == Life::Listed && (absent || !self.has(Rule::DoneWhenAbsent)) {
            plan.life = Life::Done;
            return act("7 puts .done of plan", number, to);
        }
        act("7 leaves plan", number, to);
    }
}
