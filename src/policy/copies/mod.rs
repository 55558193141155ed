//! The 3-2-1 rule, answered from dated facts: `facts` go in, a verdict comes out of `rule`.
//!
//! Looks at one snapshot: the newest that any target holds confirmed (or the newest full). A copy
//! stands while every byte it needs was read back from its target within the rule's age. Copies
//! on the source's device are none; copies in one failure domain are one. Declared facts can be
//! refuted, never improved. The answer carries its reasons and the moment it expires.
//!
//! Not here: the word that `status` shows ([`super::state`]), and gathering the facts.

mod facts;
mod rule;
mod verdict;

pub use facts::{
    Assurance, CopyFacts, DrillFacts, Facts, Network, SnapshotFacts, SourceFacts, TargetFacts,
    drill_valid_until,
};
pub use rule::evaluate;
pub use verdict::{Choice, Expiry, Reason, Verdict};
