//! What each service wants to be sent, and how it says no.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::notice::Notice;
use crate::base::clock::Timestamp;
use crate::policy::model::HookForm;

/// A request to be made.
pub(super) struct Request {
    /// Goes behind the address: `&sign=...`; or nothing.
    pub(super) query: Vec<(&'static str, String)>,
    /// Names and values.
    pub(super) headers: Vec<(&'static str, String)>,
    /// The body and what it is.
    pub(super) body: String,
}

/// Makes the request of a form. `secret` signs it, or is the routing key of `pagerduty`.
pub(super) fn request(form: HookForm, notice: &Notice, secret: Option<&str>, now: Timestamp) -> Request {
    let seconds = now.unix_ms().div_euclid(1000);
    let text = notice.text();
    let json = |body: Value| Request {
        query: Vec::new(),
        headers: vec![("content-type", "application/json".to_owned())],
        body: body.to_string(),
    };
    match form {
        HookForm::Webhook => {
            let mut request = json(json!(notice));
            if let Some(secret) = secret {
                let signed = sign(secret.as_bytes(), format!("{seconds}.{}", request.body).as_bytes());
                request.headers.push(("x-lifeboat-timestamp", seconds.to_string()));
                request.headers.push(("x-lifeboat-signature", format!("sha256={}", hex::encode(signed))));
            }
            request
        }
        HookForm::Slack => json(json!({ "text": text })),
        HookForm::Dingtalk => {
            let mut request = json(json!({
                "msgtype": "markdown",
                "markdown": { "title": notice.subject(), "text": text.replace('\n', "\n\n") },
            }));
            if let Some(secret) = secret {
                let ms = now.unix_ms();
                let signed = STANDARD.encode(sign(secret.as_bytes(), format!("{ms}\n{secret}").as_bytes()));
                request.query = vec![("timestamp", ms.to_string()), ("sign", signed)];
            }
            request
        }
        HookForm::Wecom => json(json!({ "msgtype": "markdown", "markdown": { "content": text } })),
        HookForm::Feishu => {
            let mut body = json!({ "msg_type": "text", "content": { "text": text } });
            if let Some(secret) = secret {
                let signed = STANDARD.encode(sign(format!("{seconds}\n{secret}").as_bytes(), b""));
                body["timestamp"] = json!(seconds.to_string());
                body["sign"] = json!(signed);
            }
            json(body)
        }
        HookForm::Ntfy => {
            let priority = match notice.severity.as_str() {
                "critical" => "5",
                "serious" => "4",
                _ => "3",
            };
            let mut headers =
                vec![("title", format!("lifeboat: {}", notice.severity)), ("priority", priority.to_owned())];
            if let Some(secret) = secret {
                headers.push(("authorization", format!("Bearer {secret}")));
            }
            Request { query: Vec::new(), headers, body: text }
        }
        HookForm::Pagerduty => json(page(notice, secret)),
    }
}

/// An event of PagerDuty: the incident's id makes all news of it one alert.
fn page(notice: &Notice, routing_key: Option<&str>) -> Value {
    let severity = match notice.severity.as_str() {
        "critical" => "critical",
        "serious" => "error",
        _ => "warning",
    };
    let action = match notice.topic.as_str() {
        "passed" => "resolve",
        "answered" => "acknowledge",
        _ => "trigger",
    };
    json!({
        "routing_key": routing_key.unwrap_or_default(),
        "event_action": action,
        "dedup_key": notice.incident,
        "payload": {
            "summary": notice.subject(), "source": notice.site, "severity": severity,
            "custom_details": notice,
        },
    })
}

/// Services that answer 200 to everything say in the body what they mean.
pub(super) fn refusal(form: HookForm, answer: &str) -> Option<String> {
    let field = match form {
        HookForm::Dingtalk | HookForm::Wecom => "errcode",
        HookForm::Feishu => "code",
        _ => return None,
    };
    let answer: Value = serde_json::from_str(answer).unwrap_or(Value::Null);
    match answer.get(field).and_then(Value::as_i64) {
        Some(0) => None,
        Some(code) => {
            let words =
                answer.get("errmsg").or(answer.get("msg")).and_then(Value::as_str).unwrap_or_default();
            let words: String = words.chars().filter(|c| !c.is_control()).take(200).collect();
            Some(format!("{field} {code} {words}"))
        }
        None => Some(format!("its answer has no {field}")),
    }
}

fn sign(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice() -> Notice {
        Notice {
            version: 1,
            site: "hq".to_owned(),
            at: Timestamp::from_unix_ms(1_700_000_000_000),
            topic: "opened".to_owned(),
            severity: "critical".to_owned(),
            incident: "I-1".to_owned(),
            policy: "web".to_owned(),
            cause: "rpo.exceeded".to_owned(),
            title: "nothing\nusable for 9h".to_owned(),
            people: Vec::new(),
            respond_by: None,
        }
    }

    #[test]
    fn each_form_is_what_its_service_takes() {
        let now = Timestamp::from_unix_ms(1_700_000_000_123);
        let body = |form| -> Value {
            serde_json::from_str(&request(form, &notice(), Some("key"), now).body).expect("JSON")
        };
        assert_eq!(body(HookForm::Webhook)["incident"], "I-1");
        assert!(
            body(HookForm::Slack)["text"]
                .as_str()
                .expect("text")
                .starts_with("[CRITICAL] web: nothing usable")
        );
        assert_eq!(body(HookForm::Dingtalk)["msgtype"], "markdown");
        assert_eq!(body(HookForm::Wecom)["markdown"]["content"], notice().text());
        assert_eq!(body(HookForm::Feishu)["timestamp"], "1700000000");
        let page = body(HookForm::Pagerduty);
        assert_eq!(
            (&page["routing_key"], &page["event_action"], &page["payload"]["severity"]),
            (&json!("key"), &json!("trigger"), &json!("critical"))
        );
        let ntfy = request(HookForm::Ntfy, &notice(), None, now);
        assert!(ntfy.headers.contains(&("priority", "5".to_owned())));
    }

    #[test]
    fn signatures_are_those_of_the_services() {
        // Computed by `printf '1700000000.BODY' | openssl dgst -sha256 -hmac key` and its like.
        let now = Timestamp::from_unix_ms(1_700_000_000_123);
        let signed = request(HookForm::Webhook, &notice(), Some("key"), now);
        let expected = hex::encode(sign(b"key", format!("1700000000.{}", signed.body).as_bytes()));
        assert!(signed.headers.contains(&("x-lifeboat-signature", format!("sha256={expected}"))));
        assert_eq!(
            hex::encode(sign(b"key", b"The quick brown fox jumps over the lazy dog")),
            "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"
        );
        let ding = request(HookForm::Dingtalk, &notice(), Some("key"), now);
        assert_eq!(ding.query[0], ("timestamp", "1700000000123".to_owned()));
    }

    #[test]
    fn a_friendly_status_with_an_unfriendly_body_is_a_refusal() {
        assert_eq!(refusal(HookForm::Dingtalk, "{\"errcode\":0}"), None);
        assert_eq!(
            refusal(HookForm::Dingtalk, "{\"errcode\":310000,\"errmsg\":\"sign not match\"}").as_deref(),
            Some("errcode 310000 sign not match")
        );
        assert!(refusal(HookForm::Feishu, "<html>").is_some());
        assert_eq!(refusal(HookForm::Slack, "whatever"), None);
    }
}
