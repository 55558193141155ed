//! Comparisons as people write them: `>= 1000`, `< 5GB`, `= 3`.

use std::fmt;

use super::super::error::DrillError;
use crate::base::size::parse_bytes;

/// A number and how another one must compare with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    comparison: Comparison,
    limit: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    AtLeast,
    AtMost,
    More,
    Less,
    Exactly,
}

impl Bound {
    /// At least so much.
    pub fn at_least(limit: u64) -> Self {
        Self { comparison: Comparison::AtLeast, limit }
    }

    /// Parses a comparison and a number; sizes may have units. A number alone means exactly.
    ///
    /// # Errors
    /// When the text is neither.
    pub fn parse(text: &str) -> Result<Self, DrillError> {
        // The longer signs first: `>=` begins with `>`.
        const SIGNS: [(&str, Comparison); 5] = [
            (">=", Comparison::AtLeast),
            ("<=", Comparison::AtMost),
            (">", Comparison::More),
            ("<", Comparison::Less),
            ("=", Comparison::Exactly),
        ];
        let text = text.trim();
        let (comparison, number) = SIGNS
            .into_iter()
            .find_map(|(sign, comparison)| Some((comparison, text.strip_prefix(sign)?)))
            .unwrap_or((Comparison::Exactly, text));
        let limit = parse_bytes(number).map_err(|_| DrillError::BadCheck {
            check: text.chars().take(80).collect(),
            reason: "a comparison is written like >= 1000 or >= 5 GB".to_owned(),
        })?;
        Ok(Self { comparison, limit })
    }

    /// Whether a number keeps it.
    pub fn holds(self, number: u64) -> bool {
        match self.comparison {
            Comparison::AtLeast => number >= self.limit,
            Comparison::AtMost => number <= self.limit,
            Comparison::More => number > self.limit,
            Comparison::Less => number < self.limit,
            Comparison::Exactly => number == self.limit,
        }
    }

    /// In words, the number printed by the caller's rule.
    pub(super) fn describe(self, print: impl Fn(u64) -> String) -> String {
        format!("{self} {}", print(self.limit))
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.comparison {
            Comparison::AtLeast => "at least",
            Comparison::AtMost => "at most",
            Comparison::More => "more than",
            Comparison::Less => "less than",
            Comparison::Exactly => "exactly",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_hold_as_written() {
        let cases = [
            (">= 1000", 1000, true),
            (">= 1000", 999, false),
            ("> 3", 3, false),
            ("<= 5GB", 5_000_000_000, true),
            ("< 5", 5, false),
            ("= 3", 3, true),
            ("3", 4, false),
        ];
        for (text, number, holds) in cases {
            assert_eq!(Bound::parse(text).expect(text).holds(number), holds, "{text} {number}");
        }
        for bad in ["", ">=", "=> 3", ">= many", ">= -1", ">= 5 XB"] {
            assert!(Bound::parse(bad).is_err(), "{bad}");
        }
    }
}
