//! Stored shapes, exactly as in `docs/format.md`. Bytes in, bytes out; no place, no clock.

pub mod cert;
pub mod epoch;
pub mod error;
pub mod forget;
pub mod group;
pub mod index_run;
pub mod keys;
pub mod names;
pub mod object;
pub mod pack;
pub mod pack_set;
pub mod plan;
pub mod removals;
pub mod repo_fmt;
pub mod slot;
pub mod snapshot;
pub mod tlv;
