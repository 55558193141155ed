//! Bytes and durations as people write them: `64 MiB`, `36h`.

use std::time::Duration;

/// Text that is no size or duration; says what would be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct NotAQuantity {
    text: String,
    expected: &'static str,
}

/// Bytes in binary units with three significant digits: `0 B`, `1.50 KiB`, `64.0 MiB`.
pub fn format_bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    let mut whole = bytes;
    let mut scaled = bytes as f64;
    while whole >= 1024 && unit < UNITS.len() - 1 {
        whole /= 1024;
        scaled /= 1024.0;
        unit += 1;
    }
    match (unit, whole) {
        (0, _) => format!("{bytes} B"),
        (_, 0..=9) => format!("{scaled:.2} {}", UNITS[unit]),
        (_, 10..=99) => format!("{scaled:.1} {}", UNITS[unit]),
        _ => format!("{scaled:.0} {}", UNITS[unit]),
    }
}

/// `412309` as `412,309`.
pub fn format_count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Parses `4096`, `64 MiB`, `5GB`. `K M G T` with `iB` are powers of 1024, with `B` of 1000.
///
/// # Errors
/// When the text is no number with a known unit, or is larger than `u64`.
pub fn parse_bytes(text: &str) -> Result<u64, NotAQuantity> {
    let wrong = || NotAQuantity { text: text.to_owned(), expected: "a size such as 64 MiB or 5 GB" };
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(wrong)
}

/// Seconds as the two largest units: `0s`, `59s`, `1h 30m`, `35d`.
pub fn format_duration(duration: Duration) -> String {
    let total = duration.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let mut rest = total;
    let mut parts = Vec::new();
    for (seconds, name) in units {
        let count = rest / seconds;
        rest %= seconds;
        if count > 0 && parts.len() < 2 {
            parts.push(format!("{count}{name}"));
        }
    }
    if parts.is_empty() { format!("{total}s") } else { parts.join(" ") }
}

/// Parses `90s`, `15m`, `36h`, `35d`, `2w`, `7y` (a year is 365 days).
///
/// # Errors
/// When the text is no number with a known unit, or is too large.
pub fn parse_duration(text: &str) -> Result<Duration, NotAQuantity> {
    let wrong = || NotAQuantity { text: text.to_owned(), expected: "a duration such as 90m, 36h or 35d" };
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let factor: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        "y" => 365 * 86_400,
        _ => return Err(wrong()),
    };
    let seconds = number.checked_mul(factor).filter(|s| *s <= 1_000 * 365 * 86_400).ok_or_else(wrong)?;
    Ok(Duration::from_secs(seconds))
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = text[..digits].parse().ok()?;
    Some((number, text[digits..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_written() {
        assert_eq!(parse_bytes("64 MiB"), Ok(64 << 20));
        assert_eq!(parse_bytes("5GB"), Ok(5_000_000_000));
        assert_eq!(parse_bytes("17"), Ok(17));
        assert!(parse_bytes("1.5 GiB").is_err());
        assert!(parse_bytes("99999999999 TiB").is_err());
        assert_eq!(format_bytes(0), "0 B");
        assert_eq!(format_bytes(1536), "1.50 KiB");
        assert_eq!(format_bytes(64 << 20), "64.0 MiB");
        assert_eq!(format_bytes(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn counts_are_grouped() {
        let shown = [0, 999, 1000, 1_234_567].map(format_count);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn durations_read_as_written() {
        assert_eq!(parse_duration("36h"), Ok(Duration::from_secs(129_600)));
        assert!(parse_duration("36").is_err());
        assert!(parse_duration("h").is_err());
        assert_eq!(format_duration(Duration::from_secs(5_400)), "1h 30m");
        assert_eq!(format_duration(Duration::from_secs(0)), "0s");
    }
}
