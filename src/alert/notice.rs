//! What is told.

use serde::{Deserialize, Serialize};

use crate::base::clock::Timestamp;

/// Longest text that is told of one thing, in characters: chats cut off, or refuse, what is longer.
const TEXT_MAX: usize = 3000;

/// News of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Version of this shape; 1.
    pub version: u32,
    /// Which place.
    pub site: String,
    /// When it was noticed.
    pub at: Timestamp,
    /// What sort of news: `opened`, `worse`, `escalated`, `passed`, `reopened`, `answered`, `test`.
    pub topic: String,
    /// `minor`, `serious`, `critical`.
    pub severity: String,
    /// The incident's id; empty in a test.
    pub incident: String,
    /// The policy; empty for the whole site.
    pub policy: String,
    /// What happened, as a stable word: `rpo.exceeded`.
    pub cause: String,
    /// One sentence.
    pub title: String,
    /// Who has to act, in order.
    pub people: Vec<Person>,
    /// Until when somebody has to answer.
    pub respond_by: Option<Timestamp>,
}

/// Somebody to be called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// For people.
    pub name: String,
    /// To be called.
    pub phone: Option<String>,
    /// To be written to.
    pub mail: Option<String>,
    /// What to have at hand; for vendors.
    pub give_them: Vec<String>,
}

impl Notice {
    /// One line: `[CRITICAL] web: more than the rpo would be lost`.
    pub fn subject(&self) -> String {
        let severity = self.severity.to_uppercase();
        let what = match self.topic.as_str() {
            "passed" => "over: ".to_owned(),
            "escalated" => "nobody has answered: ".to_owned(),
            "answered" => "answered: ".to_owned(),
            "reopened" => "again: ".to_owned(),
            "test" => "test: ".to_owned(),
            _ => String::new(),
        };
        let policy = if self.policy.is_empty() { &self.site } else { &self.policy };
        plain(&format!("[{severity}] {policy}: {what}{}", self.title), 200)
    }

    /// The whole of it, as lines of plain text.
    pub fn text(&self) -> String {
        let mut lines = vec![self.subject(), format!("site {}, since {}", self.site, self.at.readable())];
        if let Some(at) = self.respond_by.filter(|_| self.topic != "passed") {
            lines.push(format!("to be answered by {}", at.readable()));
        }
        for person in &self.people {
            let ways: Vec<&str> =
                [&person.phone, &person.mail].into_iter().flatten().map(String::as_str).collect();
            lines.push(format!("call {} {}", person.name, ways.join(" ")));
            if !person.give_them.is_empty() {
                lines.push(format!("  give them: {}", person.give_them.join(", ")));
            }
        }
        if !self.incident.is_empty() {
            lines.push(format!("lifeboat incident show {0}; lifeboat incident ack {0}", self.incident));
        }
        lines.iter().map(|line| plain(line, TEXT_MAX)).collect::<Vec<_>>().join("\n")
    }
}

/// Without control characters, and no longer than a bound.
fn plain(text: &str, most: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect()
}
