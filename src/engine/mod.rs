//! The verbs: backup, restore, verify, sync, stats. Each plans first, then executes.
