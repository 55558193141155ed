//! The log: every line's place, predecessor and form, and what heads and reports say of it.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::result::{Claims, Finished, Logged, VerifyReport, is_id_of, names};
use crate::evidence::error::EvidenceError;
use crate::evidence::key::PublicKey;
use crate::evidence::line::{Line, Next, read_line};
use crate::evidence::log::{Place, public_key_of};
use crate::evidence::sha256;
use crate::evidence::tail::{month_name, month_of};

/// Where the walk along the log stands.
struct Walk<'a> {
    report: &'a mut VerifyReport,
    logged: Logged,
    claims: Claims,
    key: Option<&'a PublicKey>,
    seq: u64,
    hash: String,
    genesis: String,
    size: u64,
    month: String,
}

pub(super) fn check(
    place: &Place,
    key: Option<&PublicKey>,
    claims: Claims,
    report: &mut VerifyReport,
) -> Result<Logged, EvidenceError> {
    let mut walk = Walk {
        report,
        logged: Logged::default(),
        claims,
        key,
        seq: 0,
        hash: sha256::NONE.to_owned(),
        genesis: String::new(),
        size: 0,
        month: String::new(),
    };
    let names = names(&place.log())?;
    for name in &names {
        match month_name(name) {
            Some(month) => walk.file(&place.log().join(name), month, &format!("log/{name}")),
            None if name.starts_with("torn-") => {}
            None => walk.report.problem(&format!("log/{name}"), None, "it is no file of ours"),
        }
    }
    walk.torn_files(&place.log(), &names);
    walk.unmet_claims();
    if walk.report.lines == 0 {
        walk.report.problem("log", None, "the log has no lines");
    }
    walk.report.last_seq = walk.seq;
    walk.report.last_hash = walk.hash;
    Ok(walk.logged)
}

impl Walk<'_> {
    fn file(&mut self, path: &Path, month: &str, file: &str) {
        let mut number = 0;
        let mut buffer = Vec::new();
        let mut reader = match File::open(path) {
            Ok(opened) => BufReader::with_capacity(64 * 1024, opened),
            Err(error) => {
                self.report.problem(file, None, format!("it cannot be opened: {error}"));
                return;
            }
        };
        loop {
            match read_line(&mut reader, &mut buffer) {
                Ok(Next::Whole) => {
                    number += 1;
                    self.line(&buffer, month, file, number);
                }
                Ok(Next::End) => return,
                Ok(Next::Torn) => {
                    self.report.problem(file, Some(number + 1), "the last line has no end");
                    return;
                }
                Ok(Next::TooLong) => {
                    self.report.problem(file, Some(number + 1), "a line is longer than 1 MiB");
                    return;
                }
                Err(error) => {
                    self.report.problem(file, Some(number + 1), format!("it cannot be read: {error}"));
                    return;
                }
            }
        }
    }

    fn line(&mut self, bytes: &[u8], month: &str, file: &str, number: u64) {
        let hash = sha256::hex(bytes);
        self.size += u64::try_from(bytes.len()).unwrap_or(0) + 1;
        self.report.lines += 1;
        match Line::decode(bytes) {
            Err(why) => {
                self.report.problem(file, Some(number), format!("it is no line of ours: {why}"));
                self.seq += 1;
            }
            Ok(line) => {
                if line.seq != self.seq + 1 {
                    let what = format!("line {} is followed by line {}", self.seq, line.seq);
                    self.report.problem(file, Some(number), what);
                }
                if line.prev != self.hash {
                    let what = "it does not carry the hash of the line before: one of the two was changed, \
                                or lines between them are missing";
                    self.report.problem(file, Some(number), what);
                }
                self.seq = line.seq;
                self.month = std::mem::take(&mut self.month).max(month_of(line.ts));
                if self.month != month {
                    let what = format!("the line belongs into {}.jsonl", self.month);
                    self.report.problem(file, Some(number), what);
                }
                if self.report.lines == 1 {
                    self.report.first = Some(line.ts);
                    self.genesis.clone_from(&hash);
                    self.first(&line, file);
                }
                self.report.last = Some(line.ts);
                self.note(&line, file, number);
            }
        }
        self.hash = hash;
        self.meet_claims();
    }

    fn first(&mut self, line: &Line, file: &str) {
        let named = public_key_of(line);
        if line.kind != "log.started" || named.is_none() {
            self.report.problem(file, Some(1), "the log does not begin with `log.started` and a key");
        } else if named.as_ref() != self.key {
            self.report.problem(file, Some(1), "the log was begun with another key");
        }
    }

    /// Keeps what other files must match.
    fn note(&mut self, line: &Line, file: &str, number: u64) {
        let text = |name: &str| line.data[name].as_str().unwrap_or_default().to_owned();
        match line.kind.as_str() {
            "drill.started" => {
                if !is_id_of(&text("id"), line.seq, line.ts) {
                    self.report.problem(file, Some(number), "the drill's id is not its line's");
                }
                self.logged.started.insert(text("id"));
            }
            "drill.finished" => {
                let finished = Finished {
                    seq: line.seq,
                    json_sha256: text("report_sha256"),
                    html_sha256: text("html_sha256"),
                };
                let id = text("id");
                if !self.logged.started.contains(&id) {
                    self.report.problem(file, Some(number), format!("drill {id} ends without a start"));
                }
                if self.logged.finished.insert(id.clone(), finished).is_some() {
                    self.report.problem(file, Some(number), format!("drill {id} ends twice"));
                }
            }
            _ => {}
        }
        if let Some(commitment) = line.data["commitment"].as_str() {
            self.logged.commitments.entry(commitment.to_owned()).or_insert(line.seq);
        }
        if matches!(line.kind.as_str(), "log.started" | "log.recovered") {
            for torn in line.data["torn"].as_array().into_iter().flatten() {
                let text = |name: &str| torn[name].as_str().map(str::to_owned);
                if let (Some(file), Some(sha256)) = (text("file"), text("sha256")) {
                    self.logged.torn.insert(file, sha256);
                }
            }
        }
    }

    fn meet_claims(&mut self) {
        for claim in self.claims.remove(&self.seq).unwrap_or_default() {
            if claim.hash != self.hash {
                let what = format!("line {} of the log is not the one it names", self.seq);
                self.report.problem(&claim.file, None, what);
            }
            if claim.size.is_some_and(|size| size != self.size) {
                let what = format!("the log up to line {} does not have the size it names", self.seq);
                self.report.problem(&claim.file, None, what);
            }
            if claim.genesis.is_some_and(|genesis| genesis != self.genesis) {
                self.report.problem(&claim.file, None, "it belongs to a log with another first line");
            }
        }
    }

    fn unmet_claims(&mut self) {
        for (seq, claims) in std::mem::take(&mut self.claims) {
            for claim in claims {
                let what = if seq > self.seq {
                    format!("it names line {seq}, but the log ends at line {}: the log was cut", self.seq)
                } else {
                    format!("it names line {seq}, which the log lacks")
                };
                self.report.problem(&claim.file, None, what);
            }
        }
    }

    fn torn_files(&mut self, log: &Path, names: &[String]) {
        for name in names.iter().filter(|name| name.starts_with("torn-")) {
            let file = format!("log/{name}");
            match (self.logged.torn.get(name), sha256::of_file(&log.join(name))) {
                (Some(expected), Ok(found)) if *expected == found => {}
                (Some(_), _) => self.report.problem(&file, None, "it was changed"),
                (None, _) => self.report.problem(&file, None, "no line of the log accounts for it"),
            }
        }
        for name in self.logged.torn.keys().filter(|name| !names.contains(name)) {
            self.report.problem(&format!("log/{name}"), None, "the log accounts for it, but it is missing");
        }
    }
}
