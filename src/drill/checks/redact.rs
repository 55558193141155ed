//! Takes what looks like a secret out of a program's output before it is kept.
//!
//! A best effort, by the names of things: a program that prints a bare password cannot be
//! helped. The full output is never kept, only its hash.

/// What follows one of these and `=` or `:` is taken out.
const NAMES: [&str; 10] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "access_key",
    "authorization",
];
const GONE: &str = "[redacted]";

/// The text without what looks like a secret.
pub(super) fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_key = false;
    for line in text.split_inclusive('\n') {
        if in_key || (line.contains("-----BEGIN") && line.contains("PRIVATE KEY")) {
            if !in_key {
                out.push_str(GONE);
                out.push('\n');
            }
            in_key = !(in_key && line.contains("-----END"));
            continue;
        }
        redact_line(line, &mut out);
    }
    out
}

fn redact_line(line: &str, out: &mut String) {
    // ASCII lower case keeps every byte where it was.
    let lower = line.to_ascii_lowercase();
    let mut at = 0;
    while at < line.len() {
        let found = NAMES.iter().filter_map(|name| Some((lower[at..].find(name)? + at, name.len()))).min();
        let Some((name_at, name_len)) = found else { break };
        let after = name_at + name_len;
        match value_start(&line[after..]) {
            Some(skip) => {
                let value = &line[after + skip..];
                // The rest of the line: values may have blanks, as after `Authorization: Bearer`.
                let end = value.find(['\n', '\r', '&', ';']).unwrap_or(value.len());
                push_without_login(&line[at..after + skip], out);
                out.push_str(GONE);
                at = after + skip + end;
            }
            None => {
                push_without_login(&line[at..after], out);
                at = after;
            }
        }
    }
    push_without_login(&line[at..], out);
}

/// Where the value begins behind a name: after `=` or `:`, blanks and quotes.
fn value_start(rest: &str) -> Option<usize> {
    let sign = rest.find(['=', ':'])?;
    // `secret_value=`, `"token": `, `password for db: ` but not a whole sentence with a colon.
    let between = &rest[..sign];
    if between.len() > 24 || between.contains('\n') {
        return None;
    }
    let value = &rest[sign + 1..];
    Some(sign + 1 + (value.len() - value.trim_start_matches([' ', '"', '\'', '=']).len()))
}

/// Copies text; `//name:password@` loses its login.
fn push_without_login(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
            Some(login) => {
                out.push_str(GONE);
                &after[login..]
            }
            None => after,
        };
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_looks_like_a_secret_is_taken_out() {
        let cases = [
            "password=hunter2\n",
            "DB_PASSWORD: hunter2\n",
            "{\"token\": \"hunter2\", \"a\": 1}\n",
            "Authorization: Bearer hunter2\n",
            "aws_secret_access_key = hunter2\n",
            "connecting to postgres://app:hunter2@db/app\n",
            "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n",
            "GET /x?api_key=hunter2&page=2\n",
        ];
        for text in cases {
            let kept = redact(text);
            assert!(!kept.contains("hunter2"), "{text:?} kept as {kept:?}");
            assert!(kept.contains(GONE) && kept.ends_with('\n'), "{kept:?}");
        }
        assert!(redact(cases[7]).contains("page=2"));
        let plain = "12 rows in 3 tables\nsee https://example.net/a@b\nall fine\n";
        assert_eq!(redact(plain), plain);
        assert_eq!(
            redact("-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\nafter\n"),
            "[redacted]\nafter\n"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}(password|token|://)[=: @é]{0,3}\\PC{0,40}") {
            drop(redact(&text));
        }
    }
}
