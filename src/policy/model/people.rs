//! Who is told, how, and how fast somebody has to answer.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::policy::schedule::Schedule;
use crate::policy::window::Windows;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Whoever is on duty handles it: 30 minutes to answer, 45 days to close a finding.
    Minor,
    /// The lead decides: 15 minutes, 30 days.
    Serious,
    /// Everybody: 10 minutes, 7 days.
    Critical,
}

impl Severity {
    /// The word, as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minor => "minor",
            Self::Serious => "serious",
            Self::Critical => "critical",
        }
    }
}

/// Everybody and every way to reach them.
#[derive(Clone, Debug, Default)]
pub struct People {
    /// By id.
    pub contacts: Vec<Contact>,
    /// By id.
    pub vendors: Vec<Vendor>,
    /// Whose turn it is.
    pub on_call: Option<OnCall>,
    /// What is due, worst severity last.
    pub responses: Responses,
    /// Ways to tell somebody.
    pub notifiers: Vec<Notifier>,
}

/// A person.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Contact {
    /// As in `owner` and `notify`: `li.na`.
    pub id: String,
    /// For people.
    pub name: String,
    /// What they answer for.
    pub roles: Vec<String>,
    /// To be called.
    pub phone: Option<String>,
    /// To be written to.
    pub mail: Option<String>,
    /// Who answers when they don't.
    pub deputy: Option<String>,
}

/// A company that is called.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Vendor {
    /// As in `escalate`, and as the `provider` of targets.
    pub id: String,
    /// For people.
    pub name: String,
    /// To be called.
    pub phone: Option<String>,
    /// To be written to.
    pub mail: Option<String>,
    /// What they ask for first.
    pub contract: Option<String>,
    /// How fast they promised to answer.
    pub sla: Option<Duration>,
    /// What they need to know.
    pub give_them: Vec<String>,
}

/// A rota: the people take turns, a new turn beginning at each time of the schedule.
#[derive(Clone, Debug)]
pub struct OnCall {
    /// Ids of contacts, in order; at least one.
    pub people: Vec<String>,
    /// When the turn changes.
    pub turn: Schedule,
}

impl OnCall {
    /// Whose turn it is. The first person has the turn that the year 2026 began in.
    pub fn at(&self, now: Timestamp) -> &str {
        // 2026-01-01T00:00:00Z; any moment would do, as long as it never changes.
        let start = Timestamp::from_unix_ms(1_767_225_600_000);
        let turns = self.turn.occurrences(start, now).count();
        self.people.get(turns % self.people.len().max(1)).map_or("", String::as_str)
    }
}

/// Who is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// Whose turn it is.
    OnCall,
    /// The policy's owner.
    Owner,
    /// All of this role.
    Role(String),
    /// A contact.
    Person(String),
    /// A vendor.
    Vendor(String),
}

/// What is due by severity.
#[derive(Clone, Debug)]
pub struct Responses {
    /// Can wait a little.
    pub minor: Response,
    /// Can't.
    pub serious: Response,
    /// Everybody, now.
    pub critical: Response,
}

/// What is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Somebody has to answer within this time.
    pub start_within: Duration,
    /// Who is told at once.
    pub notify: Vec<Recipient>,
    /// Who is told next when nobody answers, one after the other.
    pub escalate: Vec<Recipient>,
}

impl Responses {
    /// What is due for a severity.
    pub fn of(&self, severity: Severity) -> &Response {
        match severity {
            Severity::Minor => &self.minor,
            Severity::Serious => &self.serious,
            Severity::Critical => &self.critical,
        }
    }
}

impl Default for Responses {
    fn default() -> Self {
        let minutes = |minutes: u64| Response {
            start_within: Duration::from_secs(minutes * 60),
            notify: vec![Recipient::OnCall, Recipient::Owner],
            escalate: Vec::new(),
        };
        Self { minor: minutes(30), serious: minutes(15), critical: minutes(10) }
    }
}

/// A way to tell somebody.
#[derive(Clone, Debug)]
pub struct Notifier {
    /// Its name.
    pub name: String,
    /// How.
    pub way: Way,
    /// About what: `incident` is everything, others are the beginnings of causes.
    pub on: Vec<String>,
    /// From this severity on.
    pub from: Severity,
    /// What is not critical waits until these end.
    pub quiet: Option<Windows>,
    /// The notifier that is used, too, when this one keeps failing.
    pub otherwise: Option<String>,
}

/// How somebody is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// By a mail server.
    Mail(Mail),
    /// By a POST to a web address.
    Hook(Hook),
    /// By silence: an address that is asked for regularly, as long as all is well with the daemon.
    Heartbeat {
        /// The file that holds the address.
        url_file: PathBuf,
        /// How often.
        every: Duration,
    },
}

/// A mail server, and from whom to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Its name.
    pub host: String,
    /// 25, 465, 587.
    pub port: u16,
    /// How the line is protected.
    pub tls: MailTls,
    /// The sender's address.
    pub from: String,
    /// Addresses, beside those of whoever is to be told.
    pub to: Vec<String>,
    /// `user` and `password` lines, mode 0600.
    pub credentials_file: Option<PathBuf>,
    /// Certificates (PEM) that may vouch for the server.
    pub ca_file: Option<PathBuf>,
}

/// How the line to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// From the first byte on.
    Tls,
    /// By `STARTTLS`, without which nothing is sent.
    StartTls,
    /// Not at all: a server on this machine.
    None,
}

/// A web address and the form of what is sent to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The form.
    pub form: HookForm,
    /// The file that holds the address: whoever has it can write there.
    pub url_file: PathBuf,
    /// The file that holds what requests are signed with, or the routing key of `pagerduty`.
    pub secret_file: Option<PathBuf>,
    /// Certificates (PEM) that may vouch for the server.
    pub ca_file: Option<PathBuf>,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HookForm {
    /// Our own JSON, signed by HMAC-SHA-256 when there is a secret.
    Webhook,
    /// Slack, and what takes the same.
    Slack,
    /// DingTalk.
    Dingtalk,
    /// WeCom.
    Wecom,
    /// Feishu and Lark.
    Feishu,
    /// ntfy.
    Ntfy,
    /// PagerDuty, Events API version 2.
    Pagerduty,
}

impl People {
    /// The notifier of this name.
    pub fn notifier(&self, name: &str) -> Option<&Notifier> {
        self.notifiers.iter().find(|one| one.name == name)
    }

    /// The vendor of this id.
    pub fn vendor(&self, id: &str) -> Option<&Vendor> {
        self.vendors.iter().find(|one| one.id == id)
    }

    /// Who is meant, each once. `owner` is the policy's.
    pub fn contacts_of(
        &self,
        recipients: &[Recipient],
        owner: Option<&str>,
        now: Timestamp,
    ) -> Vec<&Contact> {
        let mut found: Vec<&Contact> = Vec::new();
        for recipient in recipients {
            let person = match recipient {
                Recipient::OnCall => self.on_call.as_ref().map(|rota| rota.at(now)),
                Recipient::Owner => owner,
                Recipient::Person(id) => Some(id.as_str()),
                Recipient::Role(_) | Recipient::Vendor(_) => None,
            };
            let is_meant = |contact: &&Contact| match recipient {
                Recipient::Role(role) => contact.roles.contains(role),
                _ => person == Some(contact.id.as_str()),
            };
            for contact in self.contacts.iter().filter(is_meant) {
                if !found.contains(&contact) {
                    found.push(contact);
                }
            }
        }
        found
    }

    /// The vendors that are meant.
    pub fn vendors_of<'a>(&'a self, recipients: &'a [Recipient]) -> impl Iterator<Item = &'a Vendor> {
        recipients.iter().filter_map(|recipient| match recipient {
            Recipient::Vendor(id) => self.vendor(id),
            _ => None,
        })
    }
}
