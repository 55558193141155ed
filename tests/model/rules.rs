//! What each rule is worth: the world in which its absence loses data, or why others make up for it.

use super::cases::{
    BESIDE, BUILT_ON, COMES_BACK, COMPACTED, HIT, LOCKED, NODE, PARENT, PENDING, PENDING_NODE, PROPOSAL_BACK,
    REQUEST, STORE, SYNCED, TWO_COPIES, UNLISTED,
};
use super::model::{Case, Rule as R};

/// Without it something is lost.
pub(crate) const NEEDED: &[(R, &Case)] = &[
    (R::WriterLooksAtPlans, &HIT),
    (R::WriterSeesPacks, &HIT),
    (R::PacksAreSeenAfterThePlans, &HIT),
    (R::ProposeThenLook, &HIT),
    (R::WriterSeesItsParent, &PARENT),
    (R::RequestsCountForTheParent, &REQUEST),
    (R::NamedParentIsNone, &BUILT_ON),
    (R::WriterLooksAgain, &PENDING),
    (R::ProposalIsStillThere, &PENDING),
    (R::FreshNonce, &PENDING),
    (R::OwnPacksAreReliedOn, &STORE),
    (R::CoveredByBlob, &BESIDE),
    (R::RunBeforeConfirmation, &STORE),
    (R::SweeperLooksAfterItsPlan, &HIT),
    (R::PendingIsARoot, &HIT),
    (R::ConfirmedIsARoot, &PENDING),
    (R::ProposalsGoFirst, &PENDING),
    (R::KeptProposalIsARoot, &LOCKED),
    (R::AllPlansCount, &TWO_COPIES),
    (R::HomeIsOutsidePlans, &TWO_COPIES),
    (R::HomeExists, &TWO_COPIES),
    (R::HomeIsIndexed, &UNLISTED),
    (R::RunBeforeDelete, &UNLISTED),
    (R::MissingNodeIsLookedForAgain, &NODE),
    (R::MissingNodeIsLookedForAgain, &PENDING_NODE),
    (R::LookIsRecent, &COMES_BACK),
    (R::Tail, &COMES_BACK),
    (R::CopiesAvoidNamedPacks, &COMES_BACK),
    (R::LiveIsLiveWhereverElseItLies, &TWO_COPIES),
    (R::ConfirmationGoesFirst, &PROPOSAL_BACK),
    (R::RequestOutlivesItsSnapshot, &REQUEST),
    (R::CompactorLooksAfterReading, &COMPACTED),
    (R::RunIsInForce, &SYNCED),
];

/// Alone it loses nothing, and why.
pub(crate) const SPARE: &[(R, &Case, &str)] = &[
    (
        R::NamedProposalStopsEarly,
        &PENDING,
        "7 and 8 look at the same after the confirmation; at 3 it saves a confirmation that counts for nothing",
    ),
    (R::StartAvoidsNamedPacks, &HIT, "3 looks at the same; at the start it saves a round"),
    (
        R::VanishedSourceStartsOver,
        &TWO_COPIES,
        "who deleted the source had moved what his roots needed, and what another root needs was not confirmed on a named pack",
    ),
    (R::VanishedSourceStartsOver, &NODE, "the same with nodes"),
    (R::VanishedSourceStartsOver, &PENDING_NODE, "the same below a proposal"),
    (
        R::PlanIsStillListed,
        &COMES_BACK,
        "a look of the last hour is enough while clocks run; this one holds where a machine slept",
    ),
    (R::DoneWhenAbsent, &PENDING, "the end of the plan looks once more"),
    (
        R::AbsentAtTheEnd,
        &COMES_BACK,
        ".done was put over absent packs; what came back since is an orphan of the next plan",
    ),
    (R::AbsentAtTheEnd, &PENDING, "names of proposals never come back"),
];

/// Each loses nothing alone, both together do.
pub(crate) const TOGETHER: &[(&[R], &Case)] = &[
    (&[R::DoneWhenAbsent, R::AbsentAtTheEnd], &PENDING),
    (&[R::PlanIsStillListed, R::LookIsRecent], &COMES_BACK),
];
