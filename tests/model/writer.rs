//! A backup: what it takes over, what it hits, what it stores; then steps 1 to 8 of the commit.

use super::model::{Model, Next, Rule};
use super::state::{Act, NONCES, NONE, State, Writer, WriterAt as At, bit, members};

impl Model<'_> {
    #[expect(clippy::too_many_lines, reason = "one arm for each step, in their order")]
    pub(crate) fn writer(&self, state: &State, i: usize, next: &mut Next) {
        let writer = state.writers[i];
        let (snap, _) = self.errand(i);
        let prop = snap * NONCES + writer.nonce;
        let mut to = *state;
        let mut act =
            |what, of, to| next.push((Act { who: if i == 0 { "writer" } else { "writer 2" }, what, of }, to));
        match writer.at {
            At::Idle if self.case.sync => {
                // Every pack that stands elsewhere, found by the manifest.
                to.writers[i] = Writer { at: At::Chosen, relied: 1, own: 0, parent: NONE, ..writer };
                act("starts as a sync that needs packs", 1, to);
            }
            At::Chosen if self.case.sync => {
                if state.named() & writer.relied != 0 && self.has(Rule::CopiesAvoidNamedPacks) {
                    self.again(&mut to, i, At::Idle);
                    return act("waits for a plan over packs", writer.relied, to);
                }
                to.packs |= writer.relied;
                to.writers[i].at = At::Packed;
                act("1 copies packs", writer.relied, to);
            }
            At::Idle => {
                self.choose(state, i, false, &mut act);
                self.choose(state, i, true, &mut act);
            }
            At::Chosen => {
                if writer.missing == 0 {
                    to.writers[i].at = At::Stored;
                    return act("has nothing to store", 0, to);
                }
                let Some(pack) = to.store(writer.missing) else { return };
                to.writers[i].own = pack;
                to.writers[i].missing = 0;
                if self.has(Rule::OwnPacksAreReliedOn) {
                    to.writers[i].relied |= bit(pack);
                }
                to.writers[i].at = At::Packed;
                act("1 puts pack", pack, to);
            }
            At::Packed => {
                if self.case.sync && self.has(Rule::RunIsInForce) {
                    // Its own run may be superseded, now or by a compaction that has read it.
                    to.relisted |= bit(writer.own);
                    to.compactor.read_again &= !bit(writer.own);
                } else if self.has(Rule::RunBeforeConfirmation) {
                    to.indexed |= bit(writer.own) & !state.dropped;
                }
                to.writers[i].at = At::Stored;
                act("1 puts the run of pack", writer.own, to);
            }
            At::Stored if self.has(Rule::ProposeThenLook) => {
                to.props |= bit(prop);
                to.put |= bit(prop);
                to.writers[i].at = At::Proposed;
                act("2 puts proposal", prop, to);
            }
            At::Stored => self.look(state, i, At::LookedEarly, &mut act),
            At::LookedEarly => {
                to.props |= bit(prop);
                to.put |= bit(prop);
                to.writers[i].at = At::Looked;
                act("2 puts, after its look, proposal", prop, to);
            }
            At::Proposed if self.has(Rule::PacksAreSeenAfterThePlans) => {
                self.look(state, i, At::Looked, &mut act)
            }
            At::Proposed => self.see(state, i, At::SeenEarly, &mut act),
            At::SeenEarly => self.look(state, i, At::Seen, &mut act),
            At::Looked => self.see(state, i, At::Seen, &mut act),
            At::Seen => self.stand(state, i, &mut act),
            At::Stood => {
                to.oks |= bit(prop);
                to.writers[i].at = At::Confirmed;
                act("6 puts .ok of proposal", prop, to);
            }
            At::Confirmed => {
                let named = state.named_props() & bit(prop) != 0;
                if named && self.has(Rule::WriterLooksAgain) {
                    self.again(&mut to, i, At::Stored);
                    return act("7 finds in a plan proposal", prop, to);
                }
                to.writers[i].at = At::LookedAgain;
                act("7 finds in no plan proposal", prop, to);
            }
            At::LookedAgain => {
                if state.props & bit(prop) == 0 && self.has(Rule::ProposalIsStillThere) {
                    self.again(&mut to, i, At::Stored);
                    return act("8 misses proposal", prop, to);
                }
                to.told |= bit(snap);
                to.writers[i] = Writer { at: At::Done, ..Writer::default() };
                act("8 sees it and exits 0: snapshot", snap, to);
            }
            At::Done | At::GaveUp => {}
        }
    }

    /// Start: the plans, the snapshots, then the index; what is covered, hit, missing.
    fn choose(&self, state: &State, i: usize, last: bool, act: &mut impl FnMut(&'static str, u8, State)) {
        let (snap, parent) = self.errand(i);
        let mut writer = state.writers[i];
        let stands = !writer.orphan && Self::stands(state, parent);
        writer.parent = if stands { parent } else { NONE };
        let content = self.case.snaps[usize::from(snap)];
        let covered = if stands { self.needs(State::names(parent) & bit(parent * NONCES)) } else { 0 };
        writer.relied = 0;
        writer.missing = 0;
        let avoided = if self.has(Rule::StartAvoidsNamedPacks) { state.named() } else { 0 };
        let usable = state.listed() & !avoided & !writer.avoid;
        for blob in members((content.blobs | content.node) & !covered) {
            let mut hits = members(usable).filter(|pack| state.holds[usize::from(*pack)] & bit(blob) != 0);
            match if last { hits.last() } else { hits.next() } {
                Some(pack) => writer.relied |= bit(pack),
                None => writer.missing |= bit(blob),
            }
        }
        if !self.has(Rule::CoveredByBlob) {
            let parents = members(usable).filter(|pack| state.holds[usize::from(*pack)] & covered != 0);
            writer.relied &= !parents.fold(0, |all, pack| all | bit(pack));
        }
        writer.own = NONE;
        writer.at = At::Chosen;
        let mut to = *state;
        to.writers[i] = writer;
        act("starts and relies on packs", writer.relied, to);
    }

    /// 3: no plan names a pack relied on, the parent or this proposal.
    fn look(&self, state: &State, i: usize, then: At, act: &mut impl FnMut(&'static str, u8, State)) {
        let writer = state.writers[i];
        let (snap, _) = self.errand(i);
        let mut to = *state;
        let named = if self.has(Rule::WriterLooksAtPlans) { writer.relied & state.named() } else { 0 };
        let props = state.named_props();
        let parent = writer.parent != NONE
            && props & state.oks & State::names(writer.parent) != 0
            && self.has(Rule::NamedParentIsNone);
        let own = props & bit(snap * NONCES + writer.nonce) != 0 && self.has(Rule::NamedProposalStopsEarly);
        if named != 0 || parent || own {
            to.writers[i].avoid |= named;
            to.writers[i].orphan |= parent;
            self.again(&mut to, i, At::Idle);
            return act("3 finds named, of its packs", named, to);
        }
        to.writers[i].at = then;
        act("3 finds nothing named of", writer.relied, to);
    }

    /// 4: every pack relied on exists.
    fn see(&self, state: &State, i: usize, then: At, act: &mut impl FnMut(&'static str, u8, State)) {
        let gone = state.writers[i].relied & !state.packs;
        let mut to = *state;
        if gone != 0 && self.has(Rule::WriterSeesPacks) {
            to.writers[i].avoid |= gone;
            self.again(&mut to, i, At::Idle);
            return act("4 misses packs", gone, to);
        }
        to.writers[i].at = then;
        act("4 sees packs", state.writers[i].relied, to);
    }

    /// 5: the parent is still valid.
    fn stand(&self, state: &State, i: usize, act: &mut impl FnMut(&'static str, u8, State)) {
        let parent = state.writers[i].parent;
        let mut to = *state;
        let seen =
            if self.has(Rule::RequestsCountForTheParent) { *state } else { State { requests: 0, ..*state } };
        if parent != NONE && !Self::stands(&seen, parent) && self.has(Rule::WriterSeesItsParent) {
            to.writers[i].orphan = true;
            self.again(&mut to, i, At::Idle);
            return act("5 misses its parent", parent, to);
        }
        to.writers[i].at = At::Stood;
        act("5 finds its parent valid", parent, to);
    }

    /// A no: from here under a new nonce, or busy when there were enough.
    fn again(&self, to: &mut State, i: usize, from: At) {
        let writer = &mut to.writers[i];
        if writer.nonce + 1 >= NONCES {
            *writer = Writer { at: At::GaveUp, ..Writer::default() };
            return;
        }
        if self.has(Rule::FreshNonce) {
            writer.nonce += 1;
        }
        writer.at = from;
    }
}
