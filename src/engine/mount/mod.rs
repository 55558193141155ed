//! Mount: snapshots as a read-only file system, by FUSE.
//!
//! Nothing of a tree is held: an inode's number is its entry's place in the manifest (`place`), so
//! that any request is answered by one descent, through bounded caches of decoded nodes, leaves and
//! opened blobs (`cache`). `view` knows what lies where, `file` reads bytes of files, `door` takes
//! the kernel's requests and `answer` answers them on several threads, `session` mounts and
//! unmounts. Every blob is compared with its id when it is opened; what can't be read is an I/O
//! error for whoever reads it, and a named warning.
//!
//! It writes nothing, follows nothing out of the snapshots, and shows what was there when it was
//! mounted.

mod answer;
mod cache;
mod door;
mod file;
mod place;
mod session;
mod view;

pub use session::{MountRequest, mount};
pub use view::Shape;
