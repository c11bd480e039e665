//! Hostile requests, as tables: what is sent, and what must come back.
//!
//! [`text`] SQL and paths in every text field, names that look like others → [`form`] headers, methods, bodies and numbers that
//! are none → [`proof`] tokens, codes and certificates that prove nothing → [`flood`] too much and too slow.

pub mod flood;
pub mod form;
pub mod frames;
pub mod proof;
pub mod text;

use serde_json::Value;

use crate::https::{Answer, Outcome, Request, Server};

/// What must come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// A problem document with this code.
    Code(&'static str),
    /// A problem document with any code.
    Refused,
    /// The HTTP library answers before any of our code sees a request: 4xx without a document, or a closed connection.
    Unread,
    /// A problem document, or the connection is closed because the rest of what was sent is not read.
    RefusedOrClosed,
    /// It was taken for the text that it is, in a question that changes nothing.
    Text,
}

/// One hostile request.
pub struct Case {
    what: String,
    server: Server,
    bytes: Vec<u8>,
    expect: Expect,
}

impl Case {
    /// A request as bytes.
    pub fn raw(server: &Server, what: impl Into<String>, bytes: impl Into<Vec<u8>>, expect: Expect) -> Case {
        Case { what: what.into(), server: server.clone(), bytes: bytes.into(), expect }
    }

    /// A request that is named by its first line and `why`.
    pub fn of(server: &Server, why: &str, request: &Request, expect: Expect) -> Case {
        let what = format!("{} {:.80} ({why:.60})", request.method, request.path);
        Case::raw(server, what, request.bytes(), expect)
    }

    /// Sends it; gives what is wrong with what came back.
    pub fn fault(&self) -> Option<String> {
        let fault = match self.server.exchange(&self.bytes) {
            Outcome::Answered(answer) => self.judge(&answer).err(),
            Outcome::Closed if matches!(self.expect, Expect::Unread | Expect::RefusedOrClosed) => None,
            Outcome::Closed => Some("closed without an answer".to_string()),
        };
        fault.map(|fault| format!("{}: {fault}", self.what))
    }

    fn judge(&self, answer: &Answer) -> Result<(), String> {
        match self.expect {
            Expect::Code(expected) => match problem(answer)? {
                code if code == expected => Ok(()),
                _ => Err(format!("{expected} was expected: {}", said(answer))),
            },
            Expect::Refused | Expect::RefusedOrClosed => problem(answer).map(drop),
            Expect::Unread if (400..500).contains(&answer.status) && answer.body.is_empty() => Ok(()),
            Expect::Text if answer.status == 200 => check_headers(answer),
            Expect::Unread | Expect::Text => Err(said(answer)),
        }
    }
}

fn said(answer: &Answer) -> String {
    format!("{} {:.300}", answer.status, String::from_utf8_lossy(&answer.body))
}

/// The code of an answer that must be a refusal with all that belongs to one; else what is missing.
pub fn problem(answer: &Answer) -> Result<String, String> {
    let document = answer.json();
    let code = document["code"].as_str().unwrap_or_default().to_string();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let is_said = |part: &str| document[part].as_str().is_some_and(|text| !text.is_empty());
    let is_whole = (400..500).contains(&answer.status)
        && answer.header("content-type") == Some("application/problem+json")
        && document["status"] == answer.status
        && document["type"] == format!("urn:jikai:{code}")
        && !code.is_empty()
        && code.bytes().all(plain)
        && ["title", "detail", "hint"].into_iter().all(is_said);
    if !is_whole {
        return Err(said(answer));
    }
    check_headers(answer).map(|()| code)
}

/// Every answer protects a browser, lets no other origin in, and sets no header that a request could have brought.
fn check_headers(answer: &Answer) -> Result<(), String> {
    for (header, start) in [
        ("strict-transport-security", "max-age=31536000"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("content-security-policy", "default-src"),
        ("cache-control", ""),
    ] {
        let value = answer.header(header).filter(|value| value.starts_with(start));
        value.ok_or_else(|| format!("no {header}: {}", answer.head))?;
    }
    match ["access-control-allow-origin", "x-injected"].into_iter().find(|header| answer.header(header).is_some()) {
        Some(header) => Err(format!("{header}: {}", answer.head)),
        None => Ok(()),
    }
}

/// The places of all texts in a JSON body.
fn texts(body: &Value) -> Vec<String> {
    let mut found = Vec::new();
    gather(body, String::new(), &mut found);
    found
}

fn gather(value: &Value, place: String, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(place),
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(at, value)| gather(value, format!("{place}/{at}"), found));
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| gather(value, format!("{place}/{name}"), found));
        }
        _ => {}
    }
}

/// The body with another value at a place.
fn with(body: &Value, place: &str, value: &Value) -> Value {
    let mut body = body.clone();
    *body.pointer_mut(place).expect("the place was found in this body") = value.clone();
    body
}
