//! Rehearsals: pick, restore into a sandbox, check, judge.
