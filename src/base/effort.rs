//! How hard to compress, as policies and people say it.

use std::fmt;
use std::str::FromStr;

/// Level unless told otherwise, and what `fast` means: half the work of level 3 for a tenth more bytes.
pub const LEVEL_DEFAULT: i32 = 1;
/// Lowest and highest level: above, zstd would need windows beyond 8 MiB.
pub const LEVELS: std::ops::RangeInclusive<i32> = -7..=19;

/// How hard to compress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// [`LEVEL_DEFAULT`] while the processors set the pace, more while the targets do.
    #[default]
    Auto,
    /// File contents are stored as they are. Metadata is compressed all the same.
    None,
    /// One level of zstd, of [`LEVELS`] without 0.
    Level(i32),
}

/// Text that names no effort.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no way to compress; auto, none, fast and the levels -7 to -1 and 1 to 19 are")]
pub struct NotAnEffort(String);

impl FromStr for Effort {
    type Err = NotAnEffort;

    fn from_str(text: &str) -> Result<Self, NotAnEffort> {
        match text.trim() {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            "fast" => Ok(Self::Level(LEVEL_DEFAULT)),
            // zstd takes 0 for its own default, and others for none: neither is meant by all.
            number => match number.parse() {
                Ok(level) if level != 0 && LEVELS.contains(&level) => Ok(Self::Level(level)),
                _ => Err(NotAnEffort(text.chars().take(40).collect())),
            },
        }
    }
}

impl fmt::Display for Effort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::None => f.write_str("none"),
            Self::Level(level) => write!(f, "{level}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_levels_name_an_effort_and_come_back() {
        for (text, effort) in [
            ("auto", Effort::Auto),
            ("none", Effort::None),
            ("fast", Effort::Level(1)),
            ("-7", Effort::Level(-7)),
            ("19", Effort::Level(19)),
        ] {
            assert_eq!(text.parse(), Ok(effort));
            assert_eq!(effort.to_string().parse(), Ok(effort));
        }
        for text in ["", "0", "20", "-8", "max", "zstd", "1.5", "9999999999"] {
            assert!(text.parse::<Effort>().is_err(), "{text}");
        }
    }
}
