//! `[contacts]`, `[vendors]`, `[on_call]`, `[response]` and `[[notify]]` of `lifeboat.toml`.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono_tz::Tz;
use toml_edit::Value;

use super::reader::{Parsed, Section, wrong_type};
use super::values;
use crate::policy::model::{
    Contact, Hook, HookForm, Mail, MailTls, Notifier, OnCall, People, Recipient, Response, Responses,
    Severity, Vendor, Way,
};
use crate::policy::problem::{Complaint, Sort};
use crate::policy::window::Windows;

const SEVERITIES: [(&str, Severity); 3] =
    [("minor", Severity::Minor), ("serious", Severity::Serious), ("critical", Severity::Critical)];
const FORMS: [(&str, HookForm); 7] = [
    ("webhook", HookForm::Webhook),
    ("slack", HookForm::Slack),
    ("dingtalk", HookForm::Dingtalk),
    ("wecom", HookForm::Wecom),
    ("feishu", HookForm::Feishu),
    ("ntfy", HookForm::Ntfy),
    ("pagerduty", HookForm::Pagerduty),
];
/// An answer later than this is none.
const START_WITHIN_MAX: Duration = Duration::from_secs(24 * 3600);
/// A heart beats more often than the daemon looks at it otherwise.
const BEAT_MIN: Duration = Duration::from_secs(60);

pub(super) fn read(root: &Section<'_>, zone: Tz) -> Option<People> {
    let contacts = all(root.named("contacts"), contact);
    let vendors = all(root.named("vendors"), vendor);
    let on_call = if root.has("on_call") { Some(on_call(root.section("on_call"), zone)) } else { None };
    let responses = responses(root.section("response"));
    let notifiers =
        all(root.each("notify").into_iter().map(|section| ("", section)).collect(), |_, section| {
            notifier(section, zone)
        });
    let people = People {
        contacts: contacts?,
        vendors: vendors?,
        on_call: match on_call {
            Some(read) => Some(read?),
            None => None,
        },
        responses: responses?,
        notifiers: notifiers?,
    };
    fits_together(root, &people).then_some(people)
}

/// All of them, or none when one is wrong; each is read.
fn all<'a, T>(
    sections: Vec<(&'a str, Section<'a>)>,
    read: impl Fn(&'a str, Section<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let read: Vec<Option<T>> = sections.into_iter().map(|(name, section)| read(name, section)).collect();
    read.into_iter().collect()
}

fn contact(id: &str, section: Section<'_>) -> Option<Contact> {
    let name = section.or("name", id, values::word);
    let roles = section.list("roles", values::word);
    let phone = section.optional("phone", values::word);
    let mail = section.optional("mail", address);
    let deputy = section.optional("deputy", values::word);
    section.finish(&[]);
    Some(Contact {
        id: id.to_owned(),
        name: name?.value,
        roles: roles?,
        phone: phone.map(|found| found.value),
        mail: mail.map(|found| found.value),
        deputy: deputy.map(|found| found.value),
    })
}

fn vendor(id: &str, section: Section<'_>) -> Option<Vendor> {
    let name = section.or("name", id, values::word);
    let phone = section.optional("phone", values::word);
    let mail = section.optional("mail", address);
    let contract = section.optional("contract", values::word);
    let sla = section.optional("sla", values::duration);
    let give_them = section.list("give_them", values::word);
    section.finish(&[]);
    Some(Vendor {
        id: id.to_owned(),
        name: name?.value,
        phone: phone.map(|found| found.value),
        mail: mail.map(|found| found.value),
        contract: contract.map(|found| found.value),
        sla: sla.map(|found| found.value),
        give_them: give_them?,
    })
}

fn on_call(section: Section<'_>, zone: Tz) -> Option<OnCall> {
    let people = section.required_list("people", "[\"li.na\", \"wang.wei\"]", values::word);
    let turn = section.or("turn", "weekly mon 09:00", |value| values::schedule(value, zone));
    section.finish(&[]);
    Some(OnCall { people: people?, turn: turn?.value })
}

fn responses(section: Section<'_>) -> Option<Responses> {
    let standard = Responses::default();
    let minor = response(section.section("minor"), &standard.minor);
    let serious = response(section.section("serious"), &standard.serious);
    let critical = response(section.section("critical"), &standard.critical);
    section.finish(&[]);
    Some(Responses { minor: minor?, serious: serious?, critical: critical? })
}

fn response(section: Section<'_>, standard: &Response) -> Option<Response> {
    let minutes = format!("{}m", standard.start_within.as_secs() / 60);
    let start_within = section.or("start_within", minutes, |value| {
        let found = values::duration(value)?;
        if found > START_WITHIN_MAX {
            return Err(Complaint::value(
                "nobody waits for an answer for more than a day",
                "write 24h or less",
            ));
        }
        Ok(found)
    });
    let is_named = section.has("notify");
    let named = section.list("notify", recipient);
    let notify = if is_named { named } else { Some(standard.notify.clone()) };
    let escalate = section.list("escalate", recipient);
    section.finish(&[]);
    Some(Response { start_within: start_within?.value, notify: notify?, escalate: escalate? })
}

/// `oncall`, `owner`, `role:dba`, `vendor:example-cloud`, `li.na`.
fn recipient(value: &Value) -> Parsed<Recipient> {
    let text = values::word(value)?;
    Ok(match (text.as_str(), text.split_once(':')) {
        ("oncall", _) => Recipient::OnCall,
        ("owner", _) => Recipient::Owner,
        (_, Some(("role", role))) => Recipient::Role(role.to_owned()),
        (_, Some(("vendor", vendor))) => Recipient::Vendor(vendor.to_owned()),
        (_, Some(_)) => {
            let fix = "write oncall, owner, role:NAME, vendor:NAME or a contact's id";
            return Err(Complaint::value(format!("`{text}` names nobody"), fix));
        }
        _ => Recipient::Person(text),
    })
}

fn notifier(section: Section<'_>, zone: Tz) -> Option<Notifier> {
    let mut kinds: Vec<(&str, &str)> = FORMS.iter().map(|(word, _)| (*word, *word)).collect();
    kinds.extend([("mail", "mail"), ("heartbeat", "heartbeat")]);
    let kind = section.required("kind", "\"mail\"", |value| values::one_of(value, &kinds, &[]))?.value;
    let name = section.or("name", kind, values::word);
    let form = FORMS.iter().find(|(word, _)| *word == kind).map(|(_, form)| *form);
    let way = match form {
        Some(form) => hook(&section, form).map(Way::Hook),
        None if kind == "mail" => mail(&section).map(Way::Mail),
        None => heartbeat(&section),
    };
    let on = if kind == "heartbeat" { Some(Vec::new()) } else { topics(&section) };
    let from = section.or("from_severity", "minor", |value| values::one_of(value, &SEVERITIES, &[]));
    let quiet = quiet(&section, zone);
    let otherwise = section.optional("otherwise", values::word);
    section.finish(&[]);
    Some(Notifier {
        name: name?.value,
        way: way?,
        on: on?,
        from: from?.value,
        quiet: quiet?,
        otherwise: otherwise.map(|found| found.value),
    })
}

fn topics(section: &Section<'_>) -> Option<Vec<String>> {
    let found = section.list("on", values::word)?;
    Some(if found.is_empty() { vec!["incident".to_owned()] } else { found })
}

fn quiet(section: &Section<'_>, zone: Tz) -> Option<Option<Windows>> {
    let texts = section.list("quiet", values::word)?;
    match Windows::parse(texts.iter().map(String::as_str), zone) {
        Ok(windows) => Some(windows),
        Err(error) => {
            let complaint = Complaint::value(error.to_string(), "write hours, such as [\"22:00-07:00\"]");
            section.reader().complain(complaint, section.span.clone());
            None
        }
    }
}

fn hook(section: &Section<'_>, form: HookForm) -> Option<Hook> {
    let url_file = section.required("url_file", "\"/etc/lifeboat/secrets/hook.url\"", values::path);
    let secret_file = if form == HookForm::Pagerduty {
        section.required("secret_file", "\"/etc/lifeboat/secrets/pagerduty.key\"", values::path)
    } else {
        section.optional("secret_file", values::path)
    };
    let ca_file = section.optional("ca_file", values::path);
    if form == HookForm::Pagerduty {
        secret_file.as_ref()?;
    }
    Some(Hook {
        form,
        url_file: url_file?.value,
        secret_file: secret_file.map(|found| found.value),
        ca_file: ca_file.map(|found| found.value),
    })
}

fn mail(section: &Section<'_>) -> Option<Mail> {
    let host = section.required("host", "\"mail.example.com\"", values::word);
    let ways = [("tls", MailTls::Tls), ("starttls", MailTls::StartTls), ("none", MailTls::None)];
    let tls = section.or("tls", "starttls", |value| values::one_of(value, &ways, &[]));
    let standard = match tls.as_ref().map(|found| found.value) {
        Some(MailTls::Tls) => 465,
        Some(MailTls::None) => 25,
        _ => 587,
    };
    let port = section.or("port", standard, |value| values::small(value, 1..=65535));
    let from = section.required("from", "\"lifeboat@example.com\"", address);
    let to = section.list("to", address);
    let credentials_file = section.optional("credentials_file", values::path);
    let ca_file = section.optional("ca_file", values::path);
    Some(Mail {
        host: host?.value,
        port: u16::try_from(port?.value).ok()?,
        tls: tls?.value,
        from: from?.value,
        to: to?,
        credentials_file: credentials_file.map(|found| found.value),
        ca_file: ca_file.map(|found| found.value),
    })
}

fn heartbeat(section: &Section<'_>) -> Option<Way> {
    let url_file = section.required("url_file", "\"/etc/lifeboat/secrets/heartbeat.url\"", values::path);
    let every = section.or("every", "10m", |value| {
        let every = values::duration(value)?;
        if every < BEAT_MIN {
            return Err(Complaint::value("the daemon looks once a minute", "write 1m or more"));
        }
        Ok(every)
    });
    Some(Way::Heartbeat { url_file: url_file?.value, every: every?.value })
}

/// Something with an `@`, of one word: the server says the rest.
fn address(value: &Value) -> Parsed<String> {
    let text = value.as_str().ok_or_else(|| wrong_type(value, "an address such as \"li.na@example.com\""))?;
    let is_plain = !text.contains(char::is_whitespace) && text.chars().all(|c| !c.is_control());
    match text.split_once('@') {
        Some((name, host)) if is_plain && !name.is_empty() && !host.is_empty() => Ok(text.to_owned()),
        _ => Err(Complaint::value(format!("`{}` is no address", text.escape_debug()), "write name@host")),
    }
}

/// Names that are used and stand for nothing, and names that are used twice.
fn fits_together(root: &Section<'_>, people: &People) -> bool {
    let ids: BTreeSet<&str> = people.contacts.iter().map(|contact| contact.id.as_str()).collect();
    let vendors: BTreeSet<&str> = people.vendors.iter().map(|vendor| vendor.id.as_str()).collect();
    let roles: BTreeSet<&str> =
        people.contacts.iter().flat_map(|contact| contact.roles.iter().map(String::as_str)).collect();
    let names: BTreeSet<&str> = people.notifiers.iter().map(|one| one.name.as_str()).collect();
    let mut complaints = Vec::new();
    let mut known = |what: &str, name: &str, all: &BTreeSet<&str>| {
        if !all.contains(name) {
            complaints.push(values::unknown_name(what, name, all.iter().copied()));
        }
    };
    for contact in &people.contacts {
        contact.deputy.iter().for_each(|deputy| known("contact", deputy, &ids));
    }
    people.on_call.iter().flat_map(|rota| &rota.people).for_each(|person| known("contact", person, &ids));
    let Responses { minor, serious, critical } = &people.responses;
    for recipient in
        [minor, serious, critical].into_iter().flat_map(|one| one.notify.iter().chain(&one.escalate))
    {
        match recipient {
            Recipient::OnCall | Recipient::Owner => {}
            Recipient::Role(role) => known("contact with the role", role, &roles),
            Recipient::Person(id) => known("contact", id, &ids),
            Recipient::Vendor(id) => known("vendor", id, &vendors),
        }
    }
    for one in &people.notifiers {
        one.otherwise.iter().for_each(|name| known("notifier", name, &names));
    }
    if names.len() < people.notifiers.len() {
        let complaint =
            Complaint::new(Sort::Clash, "two [[notify]] have one name", "give each a `name` of its own");
        complaints.push(complaint);
    }
    let fits = complaints.is_empty();
    complaints.into_iter().for_each(|complaint| root.reader().complain(complaint, None));
    fits
}
