//! How much of a file system has to stay free for a backup to start.

use std::fmt;

use crate::base::room::Room;
use crate::base::size::format_bytes;

/// Of `auto`: as much of a file system, in percent ...
const AUTO_PERCENT: u8 = 5;
/// ... and never more than this.
const AUTO_BYTES_MAX: u64 = 1 << 30;

/// What has to stay free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinFree {
    /// A twentieth, and at most 1 GiB: small disks stay usable, large ones keep room enough.
    #[default]
    Auto,
    /// A share in percent.
    Share(u8),
    /// So many bytes.
    Bytes(u64),
}

impl MinFree {
    /// In bytes, on a file system of this size.
    pub fn of(self, total_bytes: u64) -> u64 {
        let share = |percent: u8| {
            let part = u128::from(total_bytes) * u128::from(percent) / 100;
            u64::try_from(part).unwrap_or(u64::MAX)
        };
        match self {
            Self::Auto => share(AUTO_PERCENT).min(AUTO_BYTES_MAX),
            Self::Share(percent) => share(percent),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// Whether less than that is free.
    pub fn is_crossed(self, room: Room) -> bool {
        room.free_bytes < self.of(room.total_bytes)
    }
}

impl fmt::Display for MinFree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => write!(f, "{AUTO_PERCENT} %, at most {}", format_bytes(AUTO_BYTES_MAX)),
            Self::Share(percent) => write!(f, "{percent} %"),
            Self::Bytes(bytes) => write!(f, "{}", format_bytes(*bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_disks_keep_a_twentieth_and_large_ones_a_gibibyte_unless_somebody_says_otherwise() {
        const GIB: u64 = 1 << 30;
        assert_eq!(MinFree::Auto.of(20 << 20), 1 << 20);
        assert_eq!(MinFree::Auto.of(4096 * GIB), GIB);
        assert_eq!(MinFree::Share(10).of(100 * GIB), 10 * GIB);
        assert_eq!(MinFree::Share(100).of(u64::MAX), u64::MAX);
        assert_eq!(MinFree::Bytes(2 * GIB).of(GIB), 2 * GIB);
    }

    #[test]
    fn the_limit_itself_is_enough_and_one_byte_less_is_not() {
        let with = |free_bytes| Room { free_bytes, total_bytes: 1000 };
        assert!(!MinFree::Share(10).is_crossed(with(100)));
        assert!(MinFree::Share(10).is_crossed(with(99)));
        assert!(!MinFree::Bytes(0).is_crossed(with(0)), "0 asks for nothing");
    }
}
