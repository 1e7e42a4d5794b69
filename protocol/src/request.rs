//! Signatures of HTTP API requests (section 17.1), both sides of them.
//!
//! A request is verified in two steps, because the app has to be looked up in
//! between: [`SignedQuery::parse`] reads the query, [`SignedQuery::verify`]
//! checks it with the secret of its key.

use std::borrow::Cow;

use md5::{Digest, Md5};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use subtle::ConstantTimeEq;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::app::{AppKey, AppSecret};
use crate::auth::{hex, is_signed, sign};

/// A request this far from the server's clock, in seconds, is refused.
const TIMESTAMP_WINDOW: u64 = 600;

/// Parameters that the query of an SDK has, and some of its own.
const USUAL_PARAMETERS: usize = 8;

/// The most parameters of one query.
const MAX_PARAMETERS: usize = 128;

/// Why a request is not accepted. The texts are those of the hosted API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The query names a parameter twice that is no array. Status 400.
    #[error("Duplicate parameter: {0}")]
    DuplicateParameter(String),
    /// More parameters than any client sends. Status 400.
    #[error("Too many parameters: the limit is {MAX_PARAMETERS}")]
    TooManyParameters,
    /// A parameter that every request needs is missing. Status 401.
    #[error("Missing parameter: {0}")]
    MissingParameter(&'static str),
    /// The key is none of the app's. Status 401.
    #[error("Unknown auth_key")]
    UnknownKey,
    /// `auth_version` is missing. Status 401.
    #[error("Version required")]
    VersionRequired,
    /// `auth_version` is not 1.0. Status 401.
    #[error("Version not supported")]
    VersionNotSupported,
    /// `auth_timestamp` is missing or no number. Status 401.
    #[error("Timestamp required")]
    TimestampRequired,
    /// The clocks differ too much, or the request is a replay. Status 401.
    #[error("Timestamp expired: Given timestamp ({given}) not within 600s of server time ({now})")]
    TimestampExpired {
        /// The time of the request.
        given: String,
        /// The time of the server.
        now: String,
    },
    /// The signature does not fit. Repeats what had to be signed, never the
    /// signature that would have been right. Status 401.
    #[error(
        "Invalid signature: you should have sent HmacSHA256Hex({signed:?}, your_secret_key), but you sent {sent:?}"
    )]
    InvalidSignature {
        /// The text that had to be signed.
        signed: String,
        /// What came instead.
        sent: String,
    },
    /// `body_md5` is missing or does not fit the body. Status 401.
    #[error("Invalid body_md5")]
    InvalidBodyMd5,
}

impl RequestError {
    /// Whether the request is malformed (400) rather than not authentic (401).
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        matches!(self, Self::DuplicateParameter(_) | Self::TooManyParameters)
    }
}

/// A parameter as it stands in the query and as it reads when decoded.
#[derive(Clone, Debug)]
struct Parameter<'a> {
    raw_name: &'a str,
    raw_value: &'a str,
    name: Cow<'a, str>,
    value: Cow<'a, str>,
}

/// The query of a signed request.
#[derive(Clone, Debug, Default)]
pub struct SignedQuery<'a> {
    parameters: Vec<Parameter<'a>>,
}

/// How a value of the query reads in the text that was signed. SDKs differ in
/// what they escape before and after signing (section 17.1, step 6).
#[derive(Clone, Copy)]
enum Reading {
    Decoded,
    PlusKept,
    Raw,
}

impl<'a> SignedQuery<'a> {
    /// Splits `query`, the part of the request line behind `?`.
    ///
    /// # Errors
    /// A parameter that is no array stands there twice.
    pub fn parse(query: &'a str) -> Result<Self, RequestError> {
        let mut parameters: Vec<Parameter<'a>> = Vec::with_capacity(USUAL_PARAMETERS);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (raw_name, raw_value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = form_decode(raw_name);
            let is_array = name.ends_with("[]");
            // Names are signed in lower case, so these two are one name as well.
            let stands_already = |other: &Parameter<'_>| other.name.eq_ignore_ascii_case(&name);
            if !is_array && parameters.iter().any(stands_already) {
                return Err(RequestError::DuplicateParameter(crate::error::echo(&name)));
            }
            if parameters.len() == MAX_PARAMETERS {
                return Err(RequestError::TooManyParameters);
            }
            parameters.push(Parameter {
                raw_name,
                raw_value,
                name,
                value: form_decode(raw_value),
            });
        }
        Ok(Self { parameters })
    }

    /// The decoded value of the parameter `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|parameter| parameter.name.eq_ignore_ascii_case(name))
            .map(|parameter| parameter.value.as_ref())
    }

    /// The decoded values of an array such as `channels[]`.
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.parameters
            .iter()
            .filter(move |parameter| parameter.name.eq_ignore_ascii_case(name))
            .map(|parameter| parameter.value.as_ref())
    }

    /// The key whose secret [`Self::verify`] needs.
    ///
    /// # Errors
    /// There is no `auth_key`.
    pub fn auth_key(&self) -> Result<AppKey, RequestError> {
        self.get("auth_key")
            .map(AppKey::new)
            .ok_or(RequestError::MissingParameter("auth_key"))
    }

    /// Checks version, timestamp, signature and body, in this order.
    ///
    /// # Errors
    /// As for [`Self::verify_head`] and [`Self::verify_body`].
    pub fn verify(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
        secret: &AppSecret,
        now: u64,
    ) -> Result<(), RequestError> {
        self.verify_head(method, path, secret, now)?;
        self.verify_body(body)
    }

    /// Checks version, timestamp and signature, in this order: all that can be
    /// known before the body has arrived.
    ///
    /// `path` is that of the request line, not decoded; `now` is in Unix seconds.
    ///
    /// # Errors
    /// What does not hold, with the text to answer.
    pub fn verify_head(
        &self,
        method: &str,
        path: &str,
        secret: &AppSecret,
        now: u64,
    ) -> Result<(), RequestError> {
        match self.get("auth_version") {
            None => return Err(RequestError::VersionRequired),
            Some("1.0") => {}
            Some(_) => return Err(RequestError::VersionNotSupported),
        }
        self.check_timestamp(now)?;
        self.check_signature(method, path, secret)
    }

    /// Checks that the body is the one that was signed.
    ///
    /// # Errors
    /// It is another one.
    pub fn verify_body(&self, body: &[u8]) -> Result<(), RequestError> {
        let fits = match self.get("body_md5") {
            None => body.is_empty(),
            Some(sent) => body_md5(body).as_bytes().ct_eq(sent.as_bytes()).into(),
        };
        if fits {
            Ok(())
        } else {
            Err(RequestError::InvalidBodyMd5)
        }
    }

    fn check_timestamp(&self, now: u64) -> Result<(), RequestError> {
        let given: u64 = self
            .get("auth_timestamp")
            .and_then(|text| text.parse().ok())
            .ok_or(RequestError::TimestampRequired)?;
        if given.abs_diff(now) >= TIMESTAMP_WINDOW {
            return Err(RequestError::TimestampExpired {
                given: iso_8601(given),
                now: iso_8601(now),
            });
        }
        Ok(())
    }

    fn check_signature(
        &self,
        method: &str,
        path: &str,
        secret: &AppSecret,
    ) -> Result<(), RequestError> {
        let sent = self
            .get("auth_signature")
            .ok_or(RequestError::MissingParameter("auth_signature"))?;
        let decoded_path = percent_decode_str(path).decode_utf8_lossy();
        let other_path = (decoded_path != path).then_some(decoded_path.as_ref());
        // Nearly always the first of them fits.
        for reading in [Reading::Decoded, Reading::PlusKept, Reading::Raw] {
            for path in std::iter::once(path).chain(other_path) {
                if is_signed(secret, &self.string_to_sign(method, path, reading), sent) {
                    return Ok(());
                }
            }
        }
        Err(RequestError::InvalidSignature {
            signed: self.string_to_sign(method, path, Reading::Decoded),
            sent: crate::error::echo(sent),
        })
    }

    fn string_to_sign(&self, method: &str, path: &str, reading: Reading) -> String {
        let mut pairs: Vec<Pair<'_>> = Vec::with_capacity(self.parameters.len());
        for parameter in &self.parameters {
            if parameter.name.eq_ignore_ascii_case("auth_signature") {
                continue;
            }
            let (name, value) = match reading {
                Reading::Decoded => (
                    Cow::Borrowed(&*parameter.name),
                    Cow::Borrowed(&*parameter.value),
                ),
                Reading::PlusKept => (
                    percent_decode_str(parameter.raw_name).decode_utf8_lossy(),
                    percent_decode_str(parameter.raw_value).decode_utf8_lossy(),
                ),
                Reading::Raw => (
                    Cow::Borrowed(parameter.raw_name),
                    Cow::Borrowed(parameter.raw_value),
                ),
            };
            pairs.push((lowercase(name), value));
        }
        // Stable: the elements of an array stay in the order of the request.
        pairs.sort_by(|one, other| one.0.cmp(&other.0));
        string_to_sign(method, path, &pairs)
    }
}

/// Name and value of a parameter.
type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The text in lower case, which a name nearly always has already.
fn lowercase(text: Cow<'_, str>) -> Cow<'_, str> {
    let is_lowercase = text
        .bytes()
        .all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    if is_lowercase {
        text
    } else {
        Cow::Owned(text.to_lowercase())
    }
}

fn string_to_sign(method: &str, path: &str, pairs: &[Pair<'_>]) -> String {
    let parameters: usize = pairs
        .iter()
        .map(|(name, value)| name.len() + value.len() + 2)
        .sum();
    let mut text = String::with_capacity(method.len() + path.len() + parameters + 2);
    text.push_str(method);
    text.push('\n');
    text.push_str(path);
    text.push('\n');
    for (index, (name, value)) in pairs.iter().enumerate() {
        if index > 0 {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        text.push_str(value);
    }
    text
}

/// MD5 of the exact bytes of a body in hex, as `body_md5` carries it.
#[must_use]
pub fn body_md5(body: &[u8]) -> String {
    hex(&Md5::digest(body))
}

/// Signs a request as a back end does, and returns the query to send.
///
/// `parameters` are the request's own, not escaped; `now` is in Unix seconds.
#[must_use]
pub fn sign_request(
    method: &str,
    path: &str,
    parameters: &[(&str, &str)],
    body: &[u8],
    key: &AppKey,
    secret: &AppSecret,
    now: u64,
) -> String {
    let mut pairs: Vec<Pair<'_>> = parameters
        .iter()
        .map(|(name, value)| (lowercase(Cow::Borrowed(*name)), Cow::Borrowed(*value)))
        .collect();
    pairs.push(("auth_key".into(), Cow::Borrowed(key.as_str())));
    pairs.push(("auth_timestamp".into(), Cow::Owned(now.to_string())));
    pairs.push(("auth_version".into(), Cow::Borrowed("1.0")));
    if !body.is_empty() {
        pairs.push(("body_md5".into(), Cow::Owned(body_md5(body))));
    }
    pairs.sort_by(|one, other| one.0.cmp(&other.0));
    let signature = sign(secret, &string_to_sign(method, path, &pairs));
    pairs.push(("auth_signature".into(), Cow::Owned(signature)));
    pairs
        .iter()
        .map(|(name, value)| format!("{}={}", form_encode(name), form_encode(value)))
        .collect::<Vec<_>>()
        .join("&")
}

/// Characters that stand for themselves in a query (RFC 3986, 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

fn form_encode(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, UNRESERVED)
}

fn form_decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

fn iso_8601(unix_seconds: u64) -> String {
    i64::try_from(unix_seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| unix_seconds.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_353_088_179;

    fn secret() -> AppSecret {
        AppSecret::new("7ad3773142a6692b25b8")
    }

    fn signed(method: &str, path: &str, parameters: &[(&str, &str)], body: &[u8]) -> String {
        let key = AppKey::new("278d425bdf160c739803");
        sign_request(method, path, parameters, body, &key, &secret(), NOW)
    }

    fn verify_at(query: &str, body: &[u8], now: u64) -> Result<(), RequestError> {
        SignedQuery::parse(query)?.verify("POST", "/apps/3/events", body, &secret(), now)
    }

    #[test]
    fn what_is_signed_here_verifies_here() {
        let query = signed("POST", "/apps/3/events", &[("info", "a b+c,d%")], b"{}");

        assert_eq!(verify_at(&query, b"{}", NOW), Ok(()));
    }

    /// Checklist 135.
    #[test]
    fn the_timestamp_may_be_599_seconds_away() {
        let query = signed("POST", "/apps/3/events", &[], b"");

        assert_eq!(verify_at(&query, b"", NOW + 599), Ok(()));
        assert_eq!(verify_at(&query, b"", NOW - 599), Ok(()));
        let expired = verify_at(&query, b"", NOW + 600).unwrap_err().to_string();
        assert_eq!(
            expired,
            "Timestamp expired: Given timestamp (2012-11-16T17:49:39Z) not within 600s of server time (2012-11-16T17:59:39Z)"
        );
    }

    /// Checklist 136: version before timestamp before signature before body.
    #[test]
    fn the_first_thing_that_is_wrong_is_told() {
        let query = signed("POST", "/apps/3/events", &[], b"{}");
        for (query, expected) in [
            ("auth_timestamp=1".to_owned(), "Version required"),
            ("auth_version=2.0".to_owned(), "Version not supported"),
            ("auth_version=1.0".to_owned(), "Timestamp required"),
            (
                format!("auth_version=1.0&auth_timestamp={NOW}"),
                "Missing parameter: auth_signature",
            ),
            (query, "Invalid body_md5"),
        ] {
            let error = verify_at(&query, b"{ }", NOW).unwrap_err();

            assert_eq!(error.to_string(), expected, "{query}");
        }
        let no_key = SignedQuery::parse("").unwrap().auth_key().unwrap_err();
        assert_eq!(no_key.to_string(), "Missing parameter: auth_key");
    }

    /// Checklist 137, 138 and 142.
    #[test]
    fn a_refusal_never_tells_the_right_signature() {
        let query = signed("POST", "/apps/3/events", &[], b"");
        let right = query.split("auth_signature=").nth(1).unwrap().to_owned();
        let forged = query.replace(&right, "00");

        let error = verify_at(&forged, b"", NOW).unwrap_err().to_string();

        assert!(error.starts_with(r#"Invalid signature: you should have sent HmacSHA256Hex("POST\n/apps/3/events\nauth_key="#));
        assert!(!error.contains(&right));
        assert_eq!(
            verify_at(&query, b"{}", NOW),
            Err(RequestError::InvalidBodyMd5)
        );
    }

    #[test]
    fn a_parameter_stands_once_unless_it_is_an_array() {
        assert_eq!(
            SignedQuery::parse("a=1&a=2").unwrap_err(),
            RequestError::DuplicateParameter("a".to_owned())
        );
        assert_eq!(
            SignedQuery::parse("auth_key=1&Auth_Key=2").unwrap_err(),
            RequestError::DuplicateParameter("Auth_Key".to_owned())
        );
        let query = SignedQuery::parse("channels[]=a&channels[]=b").unwrap();
        assert_eq!(query.get_all("channels[]").collect::<Vec<_>>(), ["a", "b"]);
    }
}
