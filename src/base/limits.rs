//! Every bound of the house, in one place: asserted when written, checked when read.

/// A blob's plaintext is never longer.
pub const BLOB_PLAIN_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Packs are closed at about this size unless the repository says otherwise.
pub const PACK_BYTES_DEFAULT: usize = 16 * 1024 * 1024;
/// Smallest pack size a repository may choose.
pub const PACK_BYTES_MIN: usize = 8 * 1024 * 1024;
/// Largest pack size a repository may choose, and the largest object that is read whole.
pub const PACK_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Objects other than packs (index runs, snapshots, slots) are never larger.
pub const PARITY_PERCENT_MAX: u8 = 25;
/// Length of an object that is read whole, at most.
pub const OBJECT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A part of a sealed object body.
pub const OBJECT_PART_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A path longer than this is an unread item.
pub const PATH_BYTES_MAX: usize = 1024 * 1024;
/// A tree deeper than this is an unread item below that depth.
pub const PATH_DEPTH_MAX: usize = 4096;
/// A single name.
pub const NAME_BYTES_MAX: usize = 255;
/// Files up to this size are joined into groups.
pub const SMALL_FILE_BYTES_MAX: usize = 128 * 1024;
/// All retries of one operation share this budget.
pub const RETRY_BUDGET_SECONDS: u64 = 15 * 60;
/// The same for a place that has not answered once.
pub const FIRST_CONTACT_SECONDS: u64 = 20;
/// Names in one directory. Above it the directory's content counts as unreadable: they are sorted in memory.
pub const DIRECTORY_ENTRIES_MAX: usize = 16_000_000;
/// Directories that a walk keeps open; others are opened again, step by step, when they are needed.
pub const OPEN_DIRECTORIES_MAX: usize = 192;
/// All extended attributes of one entry, names and values.
pub const XATTR_BYTES_MAX: usize = 1024 * 1024;
/// Stretches of data in one sparse file; what lies behind the last one is kept as data, holes included.
pub const EXTENTS_MAX: usize = 65_536;
/// The user and the group list of the machine are read up to this size.
pub const ACCOUNTS_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Patterns in one list of rules.
pub const PATTERNS_MAX: usize = 20_000;
/// A file of patterns.
pub const PATTERN_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Key slots of a repository, and how many are tried: each may cost a passphrase's derivation.
pub const SLOTS_MAX: usize = 100;
