//! Packs (docs/format.md, "Packs"): many sealed blobs in one object that anybody can check and
//! only the key holder can read.

mod build;
mod directory;
mod head;
mod mend;
mod row;
mod trail;

pub use build::{FinishedPack, PackBuilder};
pub use directory::{BlobOpener, PackDirectory};
pub use head::{HEADER_BYTES, PackIdentity};
pub use mend::mend;
pub use row::{BlobRow, ROW_BYTES, Row};
pub use trail::{SHARD_BYTES, TAIL_BYTES_FIRST, TRAIL_BYTES, foot_offset, hurt_shards};
