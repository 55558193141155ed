//! Numbers, times and strangers' words as a page shows them.

use std::time::Duration;

use crate::base::size::format_duration;

/// `412309` as `412,309`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

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

/// A stranger's words, such as file names: control characters, and those that turn or hide
/// text, are shown as escapes. HTML's own characters are the template's to escape.
pub(super) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// [`visible`] for text of several lines.
pub(super) fn visible_lines(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}

/// Control characters, direction marks and overrides, zero-width characters, line separators.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_turns_or_hides_text() {
        assert_eq!(visible("a\u{202e}gpj.exe\u{1b}[2J\n"), "a\\u{202e}gpj.exe\\u{1b}[2J\\u{a}");
        assert_eq!(visible("Größe 数据.txt"), "Größe 数据.txt");
        assert_eq!(visible_lines("a\nb\u{7}"), "a\nb\\u{7}");
    }

    #[test]
    fn numbers_are_never_rounded_to_all_or_nothing() {
        assert_eq!(percent_left(412_109, 412_309), "more than 99.9 %");
        assert_eq!(percent_left(1, 2), "50.0 %");
        assert_eq!(percent_left(1, 1_000_000), "less than 0.1 %");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(seconds(0.184), "0.18 s");
        assert_eq!(seconds(5_400.0), "1h 30m");
        assert_eq!(seconds(f64::NAN), "?");
    }
}
