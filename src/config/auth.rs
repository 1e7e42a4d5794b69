//! `[auth]`: who may subscribe to what, for front ends whose people have JWTs.

use std::time::Duration;

use hyper::Uri;
use serde::{Deserialize, Serialize};

use super::app::{EXPECTED_ORIGIN, is_origin};
use super::{ConfigError, Secret, seconds};

/// Rules that are looked at for each request.
const MAX_RULES: usize = 200;

/// What a key that names a URL must be, for error messages.
const EXPECTED_URL: &str = "http://HOST/PATH or https://HOST/PATH";

/// The endpoints that sign subscriptions for whoever has a JWT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// Whether `/pusher/auth` and `/pusher/user-auth` answer. Default false.
    pub enabled: bool,
    /// The id of the app whose secret signs. Default: the first of `[[apps]]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// What HS256 tokens are signed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt_secret: Option<Secret>,
    /// Signatures that are accepted. Default HS256 alone.
    pub algorithms: Vec<JwtAlgorithm>,
    /// Where the public keys of RS256 and ES256 are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// What `iss` of a token must be. Default: anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// What `aud` of a token must contain. Default: anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Seconds that clocks may differ by. Default 30.
    pub leeway: u32,
    /// Whether a connection is closed with 4009 when the first of the tokens that it
    /// was authorised with would not be accepted any more. Default false.
    pub disconnect_on_expiry: bool,
    /// Cookies that may hold the token when there is no `Authorization`, the most
    /// trusted first. Default: none.
    pub cookies: Vec<String>,
    /// Claims that may hold the id of the user, the first that is there counts.
    pub user_id_claims: Vec<String>,
    /// The claim with the role, or with a list of roles. Default `role`.
    pub role_claim: String,
    /// Claims that other members of a presence channel see. Default name and role.
    pub info_claims: Vec<String>,
    /// Origins of pages that may ask, beside the server's own. `*`: all, but then
    /// without cookies. Default: none.
    pub allowed_origins: Vec<String>,
    /// Requests of one address within a minute. Default 600.
    pub requests_per_minute: u32,
    /// Seconds for the answer of a back end that a rule asks. Default 5.
    #[serde(with = "seconds")]
    pub back_end_timeout: Duration,
    /// Seconds that its answer is remembered. Default 10.
    #[serde(with = "seconds")]
    pub back_end_cache: Duration,
    /// Who may subscribe to what; the first rule that fits a room decides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleConfig>,
}

/// How a JWT is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum JwtAlgorithm {
    /// With a secret that the issuer and we share.
    Hs256,
    /// With a private RSA key of the issuer.
    Rs256,
    /// With a private key on the curve P-256.
    Es256,
}

/// Who may subscribe to the rooms of one pattern.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// Segments with `:` between them; `*` stands for one of any content, `**` at
    /// the end for any number.
    pub room: String,
    /// Only for this kind of channel. Default: both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<RuleKind>,
    /// One of these must hold; none: nobody may.
    #[serde(default)]
    pub allow: Vec<AllowConfig>,
}

/// The kind of channel that a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// `private-`.
    Private,
    /// `presence-`.
    Presence,
}

/// Conditions that must hold together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AllowConfig {
    /// Whoever has a valid token.
    pub anyone: bool,
    /// Whoever has one of these roles.
    pub roles: Vec<String>,
    /// The user whose id is this segment of the room, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_segment: Option<usize>,
    /// The claim that must be or contain the segment `claim_segment`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// See `claim`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim_segment: Option<usize>,
    /// Whether a token without the claim will do.
    pub claim_optional: bool,
    /// A back end that is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Default for AuthConfig {
    fn default() -> Self {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Self {
            enabled: false,
            app: None,
            jwt_secret: None,
            algorithms: vec![JwtAlgorithm::Hs256],
            jwks_url: None,
            issuer: None,
            audience: None,
            leeway: 30,
            disconnect_on_expiry: false,
            cookies: Vec::new(),
            user_id_claims: texts(&["sub", "userId"]),
            role_claim: "role".to_owned(),
            info_claims: texts(&["name", "role"]),
            allowed_origins: Vec::new(),
            requests_per_minute: 600,
            back_end_timeout: Duration::from_secs(5),
            back_end_cache: Duration::from_secs(10),
            rules: Vec::new(),
        }
    }
}

impl RuleConfig {
    /// Those who fulfil one of `allow` may subscribe to `room`.
    #[must_use]
    pub fn new(room: &str, allow: Vec<AllowConfig>) -> Self {
        Self {
            room: room.to_owned(),
            kind: None,
            allow,
        }
    }

    fn check(&self, key: &str) -> Result<(), ConfigError> {
        let segments: Vec<&str> = self.room.split(':').collect();
        let is_pattern = !self.room.is_empty()
            && segments.iter().enumerate().all(|(position, segment)| {
                !segment.contains('*')
                    || *segment == "*"
                    || (*segment == "**" && position + 1 == segments.len())
            });
        if !is_pattern {
            return Err(ConfigError::bad_value(
                &format!("{key}.room"),
                &self.room,
                "segments with : between them, such as operator:*; * stands for one segment, ** at the end for any number",
                None,
            ));
        }
        for (index, allow) in self.allow.iter().enumerate() {
            allow.check(&format!("{key}.allow[{index}]"), segments.len())?;
        }
        Ok(())
    }
}

impl AllowConfig {
    fn check(&self, key: &str, segments: usize) -> Result<(), ConfigError> {
        if self.claim.is_some() != self.claim_segment.is_some() {
            return Err(ConfigError::missing(
                format!("{key}.claim_segment"),
                "claim and claim_segment together",
            ));
        }
        let has_condition = self.anyone
            || !self.roles.is_empty()
            || self.own_segment.is_some()
            || self.claim.is_some()
            || self.url.is_some();
        if !has_condition {
            return Err(ConfigError::missing(
                key.to_owned(),
                "anyone = true, roles, own_segment, claim or url: without a condition it would hold of everybody",
            ));
        }
        for (name, segment) in [
            ("own_segment", self.own_segment),
            ("claim_segment", self.claim_segment),
        ] {
            if let Some(segment) = segment
                && segment >= segments
            {
                return Err(ConfigError::bad_value(
                    &format!("{key}.{name}"),
                    &segment.to_string(),
                    &format!(
                        "the number of a segment of room, from 0 to {}",
                        segments - 1
                    ),
                    None,
                ));
            }
        }
        check_url(&format!("{key}.url"), self.url.as_deref())
    }
}

impl AuthConfig {
    /// `is_needed`: whether another part of the server needs it on.
    pub(super) fn check(&self, is_needed: bool) -> Result<(), ConfigError> {
        check_url("auth.jwks_url", self.jwks_url.as_deref())?;
        if self.rules.len() > MAX_RULES {
            return Err(ConfigError::bad_value(
                "auth.rules",
                &format!("{} rules", self.rules.len()),
                &format!("at most {MAX_RULES}"),
                None,
            ));
        }
        for (index, rule) in self.rules.iter().enumerate() {
            rule.check(&format!("auth.rules[{index}]"))?;
        }
        if self.requests_per_minute == 0 {
            return Err(ConfigError::bad_value(
                "auth.requests_per_minute",
                "0",
                "a number above 0",
                None,
            ));
        }
        if !self.enabled && !is_needed {
            return Ok(());
        }
        let unusable = |origin: &&String| *origin != "*" && !is_origin(origin);
        if let Some(origin) = self.allowed_origins.iter().find(unusable) {
            return Err(ConfigError::bad_value(
                "auth.allowed_origins",
                origin,
                &format!("`*`, or {EXPECTED_ORIGIN}"),
                None,
            ));
        }
        let has = |wanted: &[JwtAlgorithm]| self.algorithms.iter().any(|one| wanted.contains(one));
        if self.algorithms.is_empty() || self.user_id_claims.is_empty() {
            let key = if self.algorithms.is_empty() {
                "auth.algorithms"
            } else {
                "auth.user_id_claims"
            };
            return Err(ConfigError::bad_value(key, "[]", "at least one", None));
        }
        let secret = self.jwt_secret.as_ref().map_or("", Secret::reveal);
        if has(&[JwtAlgorithm::Hs256]) && secret.is_empty() {
            return Err(ConfigError::missing(
                "auth.jwt_secret".to_owned(),
                "the secret that your tokens are signed with; set JWT_SECRET, or auth.algorithms and auth.jwks_url for RS256 and ES256",
            ));
        }
        if has(&[JwtAlgorithm::Rs256, JwtAlgorithm::Es256]) && self.jwks_url.is_none() {
            return Err(ConfigError::missing(
                "auth.jwks_url".to_owned(),
                "the address of the public keys of RS256 and ES256, such as https://ISSUER/.well-known/jwks.json",
            ));
        }
        Ok(())
    }
}

pub(super) fn check_url(key: &str, url: Option<&str>) -> Result<(), ConfigError> {
    let Some(url) = url else {
        return Ok(());
    };
    let is_url = url.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
    });
    if is_url {
        Ok(())
    } else {
        Err(ConfigError::bad_value(key, url, EXPECTED_URL, None))
    }
}
