//! Endpoints: systems outside the network that a protocol's code may call, and what it may say there.
//!
//! Source: Coco 2017, "Non-deterministic transactions": "access to external systems" from within the
//! enclave. Whatever a contract sends outside leaves the network's confidentiality, so nothing is allowed
//! that members did not vote: which server (known by its key, or by an authority), for which contracts,
//! which methods and paths, how much, and how long they wait.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use types::Digest;
use types::limits::{EXTERNAL_REPLY_BYTES_MAX, EXTERNAL_REQUEST_BYTES_MAX};

use crate::{valid_address, valid_name};

/// Endpoints of one protocol.
const ENDPOINTS_MAX: usize = 32;
/// Keys of one endpoint: the present one, the next one, and those of a few machines behind one name.
const KEYS_MAX: usize = 8;
const PATHS_MAX: usize = 32;
const PATH_BYTES_MAX: usize = 512;
/// Longest path and query.
const TARGET_BYTES_MAX: usize = 2048;
const CALLERS_MAX: usize = 256;
/// A client waits for no longer, and a reply that comes later is of another time.
const TIME_MAX_MS: u64 = 60_000;
const CALLS_MAX: u64 = 64;

/// A server outside, and what may be asked of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// How contracts name it.
    #[n(0)]
    pub name: String,
    /// `host:port`, where every node that may lead reaches it.
    #[n(1)]
    pub address: String,
    /// SHA-256 of the server's public key (SubjectPublicKeyInfo): one of these.
    #[n(2)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Digest>,
    /// Instead of keys: the certificate of the authority that certifies the server's name.
    #[n(3)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<tee::Root>,
    #[n(4)]
    pub methods: BTreeSet<Method>,
    /// What paths begin with, whole segments: `/rates` allows `/rates`, `/rates/eur` and `/rates?day=1`,
    /// not `/rates2`.
    #[n(5)]
    pub paths: Vec<String>,
    /// On whose behalf: what the protocol names its code by, `0x` and hexadecimal. In Ethereum the
    /// contracts' addresses.
    #[n(6)]
    pub callers: BTreeSet<String>,
    /// All parts of a request together.
    #[n(7)]
    pub request_bytes_max: u32,
    /// A reply with its head.
    #[n(8)]
    pub reply_bytes_max: u32,
    /// From the call to the last byte of the reply, whatever it waits for.
    #[n(9)]
    pub time_max_ms: u32,
    /// Calls that may be under way at once; others wait for their turn.
    #[n(10)]
    pub calls_max: u32,
}

/// Methods that can be allowed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Encode, Decode,
)]
#[serde(rename_all = "UPPERCASE")]
#[cbor(index_only)]
pub enum Method {
    #[n(0)]
    Get,
    #[n(1)]
    Head,
    #[n(2)]
    Post,
    #[n(3)]
    Put,
    #[n(4)]
    Patch,
    #[n(5)]
    Delete,
}

impl Method {
    /// As in a request.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// What somebody wants to ask of an endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub caller: &'a [u8],
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// All parts together.
    pub bytes: usize,
}

/// Why a call may not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Disallowed {
    #[error("it is not for this caller")]
    Caller,
    #[error("not by this method")]
    Method,
    #[error("not at this path")]
    Path,
    #[error("the request is too long")]
    TooLong,
}

impl Endpoint {
    /// Whether this may be asked.
    ///
    /// # Errors
    /// [`Disallowed`].
    pub fn allows(&self, asked: Asked<'_>) -> Result<(), Disallowed> {
        let caller = format!("0x{}", hex::encode(asked.caller));
        if !self.callers.contains(&caller) {
            return Err(Disallowed::Caller);
        }
        if !self.methods.iter().any(|m| m.name() == asked.method) {
            return Err(Disallowed::Method);
        }
        if !self.allows_target(asked.target) {
            return Err(Disallowed::Path);
        }
        if asked.bytes > self.request_bytes_max as usize {
            // u32 fits usize here
            return Err(Disallowed::TooLong);
        }
        Ok(())
    }

    fn allows_target(&self, target: &str) -> bool {
        if target.len() > TARGET_BYTES_MAX || !target.bytes().all(is_target_byte) {
            return false;
        }
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        is_plain_path(path) && self.paths.iter().any(|prefix| begins_with(path, prefix))
    }

    /// Its name or address without the port, as TLS and HTTP want it.
    pub fn host(&self) -> &str {
        let host = self.address.rsplit_once(':').map_or("", |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// What is wrong with it: the field, and what to do.
    pub(crate) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let mut say = |field, text: &str| problems.push((field, text.to_owned()));
        if !valid_name(&self.name) {
            say(
                "name",
                "is not a name; use 1 to 64 lower-case letters, digits, '-' and '.'",
            );
        }
        if !valid_address(&self.address) {
            say(
                "address",
                "is not an address; give `host:port`, and an IPv6 address in brackets",
            );
        }
        match (self.keys.is_empty(), &self.authority) {
            (true, None) => say(
                "keys",
                "nothing says who the server is; give the SHA-256 of its public key, or the certificate of its authority",
            ),
            (false, Some(_)) => say(
                "authority",
                "is given beside keys; say in one way who the server is",
            ),
            (true, Some(root)) if !root.is_authority() => say(
                "authority",
                "is not the certificate of an authority; give a root or intermediate certificate, or the server's keys",
            ),
            _ => {}
        }
        if self.keys.len() > KEYS_MAX {
            say("keys", "are too many; give 8 at most");
        }
        if self.methods.is_empty() {
            say("methods", "nothing is allowed; name at least one");
        }
        if self.paths.is_empty() || self.paths.len() > PATHS_MAX {
            say("paths", "are none or too many; give 1 to 32");
        }
        let is_path = |path: &String| {
            path.len() <= PATH_BYTES_MAX
                && path.bytes().all(is_target_byte)
                && !path.contains('?')
                && is_plain_path(path)
        };
        if !self.paths.iter().all(is_path) {
            say(
                "paths",
                "one is no path: it begins with '/', has no empty, '.' or '..' segment, no query, and encodes none of '.', '/' and '\\'",
            );
        }
        if self.callers.is_empty() || self.callers.len() > CALLERS_MAX {
            say(
                "callers",
                "are none or too many; name 1 to 256 contracts that may call",
            );
        }
        let is_caller = |caller: &String| {
            caller.strip_prefix("0x").is_some_and(|digits| {
                (2..=64).contains(&digits.len())
                    && digits.len() % 2 == 0
                    && digits
                        .bytes()
                        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            })
        };
        if !self.callers.iter().all(is_caller) {
            say(
                "callers",
                "one is no caller: write `0x` and lower-case hexadecimal digits",
            );
        }
        let mut range = |field, value: u32, most: u64| {
            if value == 0 || u64::from(value) > most {
                let text = format!("{value} is out of range; give a number from 1 to {most}");
                problems.push((field, text));
            }
        };
        range(
            "request_bytes_max",
            self.request_bytes_max,
            EXTERNAL_REQUEST_BYTES_MAX as u64,
        );
        range(
            "reply_bytes_max",
            self.reply_bytes_max,
            EXTERNAL_REPLY_BYTES_MAX as u64,
        );
        range("time_max_ms", self.time_max_ms, TIME_MAX_MS);
        range("calls_max", self.calls_max, CALLS_MAX);
        problems
    }

    /// In one line, for whoever votes.
    pub(crate) fn line(&self) -> String {
        let words = |words: Vec<&str>| words.join(" ");
        let trust = match &self.authority {
            Some(root) => format!("authority {}", crypto::sha256(&root.0)),
            None => {
                let keys: Vec<_> = self.keys.iter().map(ToString::to_string).collect();
                format!("keys {}", keys.join(" "))
            }
        };
        format!(
            "{}, {trust}, {} {} for {}, at most {} bytes out and {} in, {} ms, {} at once",
            self.address,
            words(self.methods.iter().map(|m| m.name()).collect()),
            words(self.paths.iter().map(String::as_str).collect()),
            words(self.callers.iter().map(String::as_str).collect()),
            self.request_bytes_max,
            self.reply_bytes_max,
            self.time_max_ms,
            self.calls_max
        )
    }
}

/// All endpoints of a protocol: what is wrong with them.
pub(crate) fn problems(endpoints: &[Endpoint]) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    if endpoints.len() > ENDPOINTS_MAX {
        let text = format!(
            "{} are listed; at most {ENDPOINTS_MAX} are supported",
            endpoints.len()
        );
        problems.push(("endpoints".into(), text));
    }
    let mut names = BTreeSet::new();
    for endpoint in endpoints {
        let key = format!("endpoints.{}", endpoint.name);
        for (field, text) in endpoint.problems() {
            problems.push((format!("{key}.{field}"), text));
        }
        if !names.insert(&endpoint.name) {
            problems.push((key, "is listed twice; give each a name of its own".into()));
        }
    }
    problems
}

/// RFC 3986: what may stand in a path or a query, and nothing that two servers read differently.
fn is_target_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%/?".contains(&byte)
}

/// A path whose segments every server takes for what they look like.
fn is_plain_path(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    let lower = rest.to_ascii_lowercase();
    let hidden = ["%2e", "%2f", "%5c", "%25", "%00"];
    if hidden.iter().any(|code| lower.contains(code)) {
        return false;
    }
    // Each '%' begins two hexadecimal digits.
    let mut codes = rest.split('%').skip(1);
    let is_code = |code: &str| {
        code.as_bytes()
            .get(..2)
            .is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    };
    if !codes.all(is_code) {
        return false;
    }
    let segments: Vec<&str> = rest.split('/').collect();
    let last = segments.len() - 1;
    segments.iter().enumerate().all(|(place, segment)| {
        !matches!(*segment, "." | "..") && (!segment.is_empty() || place == last)
    })
}

/// Whole segments of the path.
fn begins_with(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint {
            name: "rates".into(),
            address: "rates.example:443".into(),
            keys: vec![Digest([1; 32])],
            authority: None,
            methods: [Method::Get, Method::Post].into(),
            paths: vec!["/v1/rates".into(), "/open/".into()],
            callers: [format!("0x{}", "c0".repeat(20))].into(),
            request_bytes_max: 1000,
            reply_bytes_max: 1000,
            time_max_ms: 1000,
            calls_max: 1,
        }
    }

    fn asked(method: &'static str, target: &str) -> Result<(), Disallowed> {
        endpoint().allows(Asked {
            caller: &[0xc0; 20],
            method,
            target,
            bytes: 1000,
        })
    }

    #[test]
    fn paths_are_allowed_by_whole_segments() {
        for good in [
            "/v1/rates",
            "/v1/rates/",
            "/v1/rates/eur",
            "/v1/rates?day=1/../2",
            "/v1/rates/a%20b?x=%2e",
            "/open/",
            "/open/x",
        ] {
            assert_eq!(asked("GET", good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "v1/rates",
            "/v1/rates2",
            "/v1",
            "/open",
            "/v1/rates/../admin",
            "/v1/rates/./x",
            "/v1/rates//x",
            "//v1/rates",
            "/v1/rates/%2e%2e/admin",
            "/v1/rates/%2E%2e/admin",
            "/v1/rates/..%2fadmin",
            "/v1/rates/%5c..",
            "/v1/rates/%252e",
            "/v1/rates/%",
            "/v1/rates/%4",
            "/v1/rates/%zz",
            "/v1/rates x",
            "/v1/rates\r\nx: y",
            "/v1/rates#x",
            "/v1/rates\\x",
            "/v1/rates/\u{e4}",
            "http://other/v1/rates",
        ] {
            assert_eq!(asked("GET", bad), Err(Disallowed::Path), "{bad}");
        }
        let long = format!("/v1/rates/{}", "a".repeat(3000));
        assert_eq!(asked("GET", &long), Err(Disallowed::Path));
    }

    #[test]
    fn callers_methods_and_sizes_are_allowed_one_by_one() {
        for bad in ["PUT", "get", "GET ", ""] {
            assert_eq!(asked(bad, "/v1/rates"), Err(Disallowed::Method));
        }
        let by = |caller: &[u8], bytes| {
            endpoint().allows(Asked {
                caller,
                method: "GET",
                target: "/v1/rates",
                bytes,
            })
        };
        assert_eq!(by(&[0xc0; 20], 1000), Ok(()));
        assert_eq!(by(&[0xc0; 20], 1001), Err(Disallowed::TooLong));
        for other in [&[0xc1; 20][..], &[0xc0; 19], &[]] {
            assert_eq!(by(other, 1), Err(Disallowed::Caller));
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        assert_eq!(endpoint().problems(), []);
        let bad = |change: fn(&mut Endpoint)| {
            let mut endpoint = endpoint();
            change(&mut endpoint);
            let fields: Vec<_> = endpoint.problems().into_iter().map(|(f, _)| f).collect();
            fields.join(" ")
        };
        assert_eq!(bad(|e| e.name = "Rates".into()), "name");
        assert_eq!(bad(|e| e.address = "rates.example".into()), "address");
        assert_eq!(bad(|e| e.keys.clear()), "keys");
        assert_eq!(bad(|e| e.authority = Some(tee::Root(vec![1]))), "authority");
        let only = |e: &mut Endpoint| {
            e.keys.clear();
            e.authority = Some(tee::Root(vec![1]));
        };
        assert_eq!(bad(only), "authority");
        assert_eq!(bad(|e| e.methods.clear()), "methods");
        assert_eq!(bad(|e| e.paths = vec!["/a?b".into()]), "paths");
        assert_eq!(bad(|e| e.paths = vec!["/a/../b".into()]), "paths");
        assert_eq!(bad(|e| e.paths.clear()), "paths");
        assert_eq!(bad(|e| e.callers.clear()), "callers");
        assert_eq!(bad(|e| e.callers = ["0xC0".into()].into()), "callers");
        assert_eq!(bad(|e| e.request_bytes_max = 1 << 20), "request_bytes_max");
        assert_eq!(bad(|e| e.reply_bytes_max = 0), "reply_bytes_max");
        assert_eq!(bad(|e| e.time_max_ms = 60_001), "time_max_ms");
        assert_eq!(bad(|e| e.calls_max = 0), "calls_max");
    }
}
