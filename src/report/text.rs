//! Numbers, times and strangers' words as a page shows them.

use std::time::Duration;

use crate::base::display;
use crate::base::size::format_duration;

/// Seconds as a person reads them: `0.18 s`, `42.3 s`, `1h 30m`. What is no time is `?`.
pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() || s < 0.0 => "?".to_owned(),
        s if s < 10.0 => format!("{s:.2} s"),
        s if s < 60.0 => format!("{s:.1} s"),
        s => format_duration(Duration::from_secs_f64(s.min(1e12))),
    }
}

/// The share of what is left, never rounded to all or nothing.
pub(super) fn percent_left(part: u64, whole: u64) -> String {
    let percent = part as f64 * 100.0 / whole.max(1) as f64;
    if percent > 99.9 && part < whole {
        "more than 99.9 %".to_owned()
    } else if percent < 0.1 && part > 0 {
        "less than 0.1 %".to_owned()
    } else {
        format!("{percent:.1} %")
    }
}

/// A stranger's text of several lines, made harmless line by line.
pub(super) fn visible_lines(text: &str) -> String {
    text.split('\n').map(display::text).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_turns_or_hides_text() {
        assert_eq!(visible_lines("a\nb\u{7}\u{202e}"), "a\nb\\u{7}\\u{202e}");
    }

    #[test]
    fn numbers_are_never_rounded_to_all_or_nothing() {
        assert_eq!(percent_left(412_109, 412_309), "more than 99.9 %");
        assert_eq!(percent_left(1, 2), "50.0 %");
        assert_eq!(percent_left(1, 1_000_000), "less than 0.1 %");
        assert_eq!(seconds(0.184), "0.18 s");
        assert_eq!(seconds(5_400.0), "1h 30m");
        assert_eq!(seconds(f64::NAN), "?");
    }
}
