//! What happened: runs and their attempts, snapshots, copies with their assurance, drills, findings.
