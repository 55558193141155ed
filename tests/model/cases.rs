//! The bounded worlds. Each is as small as what it shows allows, so that all of it is explored.

use super::model::{Case, EMPTY, Forget, Names, Snap};
use super::state::NONE;

const A: u8 = 1;
const B: u8 = 2;
const N: u8 = 4;

const fn of(blobs: u8) -> Snap {
    Snap { blobs, node: 0 }
}

/// A dead pack, planned and swept while a backup hits it.
pub(crate) const HIT: Case = Case {
    name: "a dead pack is swept while a backup hits it",
    packs: &[B],
    snaps: &[of(B)],
    writers: &[(0, NONE)],
    sweepers: 1,
    planners: &[Names { packs: &[1], pending: false }],
    settles: true,
    ..EMPTY
};

/// Two writers, everything may be named, also what they have just stored.
pub(crate) const STORE: Case = Case {
    name: "two backups of one content, everything they store is named at once",
    snaps: &[of(A), of(A | B)],
    writers: &[(0, NONE), (1, NONE)],
    sweepers: 1,
    planners: &[Names { packs: &[1, 2, 3, 7], pending: false }],
    settles: true,
    ..EMPTY
};

/// The parent is forgotten by its removal.
pub(crate) const PARENT: Case = Case {
    name: "the parent is forgotten by its removal, and its pack is swept",
    packs: &[B],
    snaps: &[of(B), of(B)],
    valid: 1,
    writers: &[(1, 0)],
    sweepers: 1,
    planners: &[Names { packs: &[1], pending: true }],
    forget: Forget::Direct(0),
    settles: true,
    ..EMPTY
};

/// The parent is forgotten by a request.
pub(crate) const REQUEST: Case = Case {
    name: "the parent is forgotten by a request, and its pack is swept",
    forget: Forget::Request(0),
    ..PARENT
};

/// A proposal is condemned before and after its confirmation.
pub(crate) const PENDING: Case = Case {
    name: "a proposal is condemned about the time of its confirmation, two sweepers",
    snaps: &[of(B)],
    writers: &[(0, NONE)],
    sweepers: 2,
    planners: &[Names { packs: &[0, 1], pending: true }],
    settles: true,
    ..EMPTY
};

/// The same, and the storage refuses to delete the proposal.
pub(crate) const LOCKED: Case = Case {
    name: "a condemned proposal that can't be deleted",
    locked_props: 0xff,
    settles: false,
    ..PENDING
};

/// The same with packs that can't be deleted.
pub(crate) const LOCKED_PACKS: Case =
    Case { name: "packs that can't be deleted", locked_packs: 1, settles: false, ..TWO_COPIES };

/// Another writer builds on a proposal that is condemned.
pub(crate) const BUILT_ON: Case = Case {
    name: "a condemned proposal that got its confirmation is a parent",
    snaps: &[of(B), of(B)],
    writers: &[(0, NONE), (1, 0)],
    sweepers: 1,
    planners: &[Names { packs: &[1], pending: true }],
    settles: true,
    ..EMPTY
};

/// One blob in two packs, two plans, two sweepers.
pub(crate) const TWO_COPIES: Case = Case {
    name: "one blob in two packs, plans for both, two sweepers",
    packs: &[B, B],
    snaps: &[of(B)],
    valid: 1,
    sweepers: 2,
    planners: &[Names { packs: &[1, 2, 3], pending: false }, Names { packs: &[1, 2], pending: false }],
    incremental: true,
    settles: true,
    ..EMPTY
};

/// Nobody lists one of the two packs.
pub(crate) const UNLISTED: Case = Case {
    name: "one of the two packs is in no index run",
    unlisted: 2,
    sweepers: 1,
    planners: &[Names { packs: &[1], pending: false }],
    ..TWO_COPIES
};

/// A pack comes back under its name.
pub(crate) const COMES_BACK: Case = Case {
    name: "a swept pack comes back under its name, and deletes are late",
    packs: &[B],
    snaps: &[of(B)],
    writers: &[(0, NONE)],
    sweepers: 2,
    planners: &[Names { packs: &[1], pending: false }],
    comebacks: 1,
    late_deletes: true,
    ..EMPTY
};

/// The node by which the rest is known lies in a pack of another plan.
pub(crate) const NODE: Case = Case {
    name: "a manifest node is moved while another sweeper reads it",
    packs: &[N, B],
    snaps: &[Snap { blobs: B, node: N }],
    valid: 1,
    sweepers: 2,
    planners: &[Names { packs: &[1], pending: false }, Names { packs: &[2], pending: false }],
    settles: true,
    ..EMPTY
};

/// The same below a root that is pending.
pub(crate) const PENDING_NODE: Case = Case {
    name: "a manifest node of a proposal is moved while another sweeper reads it",
    valid: 0,
    writers: &[(0, NONE)],
    settles: false,
    ..NODE
};

/// A dead blob beside a live one.
pub(crate) const BESIDE: Case = Case {
    name: "a dead blob beside a live one in the parent's pack",
    packs: &[A | B],
    snaps: &[of(A), of(A | B)],
    valid: 1,
    writers: &[(1, 0)],
    sweepers: 1,
    planners: &[Names { packs: &[1], pending: false }],
    settles: true,
    ..EMPTY
};

/// Runs are compacted while a backup adds its own.
pub(crate) const COMPACTED: Case = Case {
    name: "index runs are compacted while a backup and a sweep go on",
    packs: &[A],
    snaps: &[of(B)],
    writers: &[(0, NONE)],
    sweepers: 1,
    planners: &[Names { packs: &[1, 2, 3], pending: false }],
    compactor: true,
    settles: false,
    ..EMPTY
};

/// A sync brings a pack back whose entries a compaction left out.
pub(crate) const SYNCED: Case = Case {
    name: "a sync needs a pack that was swept and left out by a compaction",
    packs: &[B],
    snaps: &[of(B)],
    writers: &[(0, NONE)],
    sync: true,
    sweepers: 1,
    planners: &[Names { packs: &[1], pending: false }],
    compactor: true,
    ..EMPTY
};

/// A proposal comes back after it was forgotten.
pub(crate) const PROPOSAL_BACK: Case = Case {
    name: "a proposal is stored once more, late, after it was forgotten",
    packs: &[B],
    snaps: &[of(B)],
    valid: 1,
    sweepers: 1,
    planners: &[Names { packs: &[1], pending: false }],
    forget: Forget::Direct(0),
    comebacks: 1,
    late_proposals: true,
    settles: true,
    ..EMPTY
};

pub(crate) const ALL: [&Case; 17] = [
    &HIT,
    &STORE,
    &PARENT,
    &REQUEST,
    &PENDING,
    &LOCKED,
    &LOCKED_PACKS,
    &BUILT_ON,
    &TWO_COPIES,
    &UNLISTED,
    &COMES_BACK,
    &NODE,
    &PENDING_NODE,
    &BESIDE,
    &COMPACTED,
    &PROPOSAL_BACK,
    &SYNCED,
];
