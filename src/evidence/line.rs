//! One line of the log, and reading lines with a bound.
//!
//! A line is one JSON object whose first keys are `seq, ts, prev`, then `kind` and `data`. Its
//! hash is taken over the bytes as written, without the newline: no canonical form is needed.

use std::io::{self, BufRead, Read};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::sha256;
use crate::base::clock::Timestamp;

/// Longest line, its newline not counted.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// What a line says. The order of the fields is the order of the keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// 1 for the first line, then one more each.
    pub seq: u64,
    /// When it was written, by the clock of the machine.
    pub ts: Timestamp,
    /// SHA-256 of the line before; 64 zeros in the first.
    pub prev: String,
    /// What happened: `run.finished`, `drill.started`.
    pub kind: String,
    /// Its particulars: ids and counts, no file contents.
    pub data: Value,
}

impl Line {
    /// The bytes to write, without the newline, and their hash.
    pub(super) fn encode(&self) -> (Vec<u8>, String) {
        let bytes = serde_json::to_vec(self).expect("numbers, text and JSON values always serialise");
        let hash = sha256::hex(&bytes);
        (bytes, hash)
    }

    /// Reads a line, without its newline.
    ///
    /// # Errors
    /// When it is no JSON object of this form, or its first key isn't `seq`.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        if !bytes.starts_with(b"{\"seq\":") {
            return Err("it does not begin with {\"seq\":".to_owned());
        }
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }
}

/// What [`read_line`] found.
pub(super) enum Next {
    /// A line; its newline is not in the buffer.
    Whole,
    /// The file ends without a newline; the rest is in the buffer.
    Torn,
    /// No newline within the bound; the rest of the file is unread.
    TooLong,
    /// Nothing left.
    End,
}

/// Reads the next line into `buffer`, never more than [`LINE_BYTES_MAX`] and a byte.
pub(super) fn read_line(from: &mut impl BufRead, buffer: &mut Vec<u8>) -> io::Result<Next> {
    buffer.clear();
    let bound = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX) + 1;
    let count = from.by_ref().take(bound).read_until(b'\n', buffer)?;
    Ok(match (count, buffer.last()) {
        (0, _) => Next::End,
        (_, Some(b'\n')) => {
            buffer.pop();
            Next::Whole
        }
        _ if buffer.len() > LINE_BYTES_MAX => Next::TooLong,
        _ => Next::Torn,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let line = Line::decode(&bytes);
            prop_assert!(line.is_err());
            let mut with_start = b"{\"seq\":".to_vec();
            with_start.extend_from_slice(&bytes);
            drop(Line::decode(&with_start));
        }
    }

    #[test]
    fn the_first_keys_are_seq_ts_prev() {
        let line = Line {
            seq: 7,
            ts: Timestamp::from_unix_ms(0),
            prev: sha256::NONE.to_owned(),
            kind: "run.finished".to_owned(),
            data: serde_json::json!({"b": 1, "a": 2}),
        };
        let (bytes, _) = line.encode();
        let start = format!("{{\"seq\":7,\"ts\":\"1970-01-01T00:00:00.000Z\",\"prev\":\"{}\"", sha256::NONE);
        assert!(bytes.starts_with(start.as_bytes()));
        assert_eq!(Line::decode(&bytes), Ok(line));
    }

    #[test]
    fn a_line_over_the_bound_is_not_read_whole() {
        let long = vec![b'x'; LINE_BYTES_MAX + 10];
        let mut buffer = Vec::new();
        let found = read_line(&mut long.as_slice(), &mut buffer).expect("read");
        assert!(matches!(found, Next::TooLong));
        assert_eq!(buffer.len(), LINE_BYTES_MAX + 1);
    }
}
