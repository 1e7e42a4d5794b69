//! Finds a token in a request and says who it was issued to.

use std::collections::HashSet;

use hyper::HeaderMap;
use hyper::header;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::keys::IssuerKeys;
use super::ring;
use crate::config::{AuthConfig, JwtAlgorithm};

/// Bytes of a token. Larger ones do not fit into a header anyway.
const MAX_TOKEN: usize = 16 << 10;

/// Bytes of the id of a user; it stands in channel names.
const MAX_USER_ID: usize = 128;

/// Who a token was issued to.
#[derive(Clone, Debug, PartialEq)]
pub struct Person {
    /// Their id; numbers have become text.
    pub id: String,
    /// What they are.
    pub roles: Vec<String>,
    /// All that the token says.
    pub claims: Map<String, Value>,
    /// When the token stops being accepted, in seconds of Unix time: `exp` and
    /// `auth.leeway`.
    pub valid_until: u64,
}

/// Nobody is known by this token. The texts name no part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The request has none.
    #[error(
        "a token is missing: expected Authorization: Bearer TOKEN, or a cookie that auth.cookies names"
    )]
    Missing,
    /// It is no JWT.
    #[error("the token is not a JWT")]
    Malformed,
    /// It is signed in a way that is not accepted.
    #[error("the token's alg is not one of auth.algorithms")]
    Algorithm,
    /// The issuer has no such key, or cannot be asked.
    #[error("the token is signed with a key that auth.jwks_url does not have")]
    UnknownKey,
    /// It was changed, or somebody else has signed it.
    #[error("the token's signature is wrong")]
    Signature,
    /// Its time is over, or it has none.
    #[error("the token has expired, or has no exp")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet (nbf)")]
    NotYet,
    /// It is for others.
    #[error("the token's iss or aud is not the one of auth.issuer or auth.audience")]
    Foreign,
    /// None of the claims is there, or it cannot be an id.
    #[error("the token has no user id in the claims of auth.user_id_claims")]
    Nobody,
}

/// Checks tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    algorithms: Vec<Algorithm>,
    secret: Option<DecodingKey>,
    keys: Option<IssuerKeys>,
    issuer: Option<String>,
    audience: Option<String>,
    leeway: u64,
    user_id_claims: Vec<String>,
    role_claim: String,
}

impl Tokens {
    pub(super) fn new(config: &AuthConfig) -> Self {
        ring::install();
        Self {
            algorithms: config
                .algorithms
                .iter()
                .map(|algorithm| match algorithm {
                    JwtAlgorithm::Hs256 => Algorithm::HS256,
                    JwtAlgorithm::Rs256 => Algorithm::RS256,
                    JwtAlgorithm::Es256 => Algorithm::ES256,
                })
                .collect(),
            secret: config
                .jwt_secret
                .as_ref()
                .map(|secret| DecodingKey::from_secret(secret.reveal().as_bytes())),
            keys: config.jwks_url.as_deref().map(IssuerKeys::new),
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            leeway: config.leeway.into(),
            user_id_claims: config.user_id_claims.clone(),
            role_claim: config.role_claim.clone(),
        }
    }

    /// The person that `token` was issued to.
    pub(super) async fn person(&self, token: &str) -> Result<Person, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::Malformed);
        }
        let head = decode_header(token).map_err(|error| refusal(error.kind()))?;
        if !self.algorithms.contains(&head.alg) {
            return Err(TokenError::Algorithm);
        }
        let key = match (head.alg, &self.keys) {
            (Algorithm::HS256, _) => self.secret.clone().ok_or(TokenError::Algorithm)?,
            (algorithm, Some(keys)) => keys
                .find(head.kid.as_deref(), algorithm)
                .await
                .ok_or(TokenError::UnknownKey)?,
            (_, None) => return Err(TokenError::Algorithm),
        };
        let decoded = decode::<Map<String, Value>>(token, &key, &self.validation(head.alg))
            .map_err(|error| refusal(error.kind()))?;
        self.read(decoded.claims)
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = self.leeway;
        validation.validate_nbf = true;
        validation.validate_aud = self.audience.is_some();
        let mut required = HashSet::from(["exp".to_owned()]);
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            required.insert("iss".to_owned());
        }
        if let Some(audience) = &self.audience {
            validation.set_audience(&[audience]);
            required.insert("aud".to_owned());
        }
        validation.required_spec_claims = required;
        validation
    }

    fn read(&self, claims: Map<String, Value>) -> Result<Person, TokenError> {
        let id = self
            .user_id_claims
            .iter()
            .find_map(|claim| plain(find(&claims, claim)?))
            .filter(|id| (1..=MAX_USER_ID).contains(&id.len()))
            .ok_or(TokenError::Nobody)?;
        let roles = match find(&claims, &self.role_claim) {
            Some(Value::Array(roles)) => roles.iter().filter_map(plain).collect(),
            Some(role) => plain(role).into_iter().collect(),
            None => Vec::new(),
        };
        let end = claims.get("exp").and_then(Value::as_f64).unwrap_or(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast of a float stays within u64; exp was checked to be a number"
        )]
        let valid_until = (end as u64).saturating_add(self.leeway);
        Ok(Person {
            id,
            roles,
            claims,
            valid_until,
        })
    }
}

/// A claim by its name, or by a path with dots such as `realm_access.roles`.
pub(super) fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    find(claims.get(first)?.as_object()?, rest)
}

/// Text, or the digits of a whole number.
pub(super) fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

fn refusal(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => TokenError::Algorithm,
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::NotYet,
        ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience => TokenError::Foreign,
        ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim) => {
            match claim.as_str() {
                "exp" => TokenError::Expired,
                "nbf" => TokenError::NotYet,
                _ => TokenError::Foreign,
            }
        }
        _ => TokenError::Malformed,
    }
}

/// The token of `Authorization: Bearer`. Another scheme may be there as well, for a
/// proxy on the way.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(header::AUTHORIZATION)
        .iter()
        .filter_map(|line| line.to_str().ok()?.split_once(' '))
        .find(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim().to_owned())
}

/// The token of a request: of `Authorization`, else of the first cookie of `cookies`
/// that has one. A query is never looked at: it ends up in logs.
pub(super) fn of_request(headers: &HeaderMap, cookies: &[String]) -> Result<String, TokenError> {
    if let Some(token) = bearer(headers) {
        return Ok(token);
    }
    let sent: Vec<(&str, &str)> = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .collect();
    cookies
        .iter()
        .flat_map(|wanted| sent.iter().filter(move |(name, _)| name == wanted))
        .filter_map(|(_, value)| {
            percent_decode_str(value.trim_matches('"'))
                .decode_utf8()
                .ok()
        })
        .find(|token| token.split('.').count() == 3)
        .map(std::borrow::Cow::into_owned)
        .ok_or(TokenError::Missing)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use serde_json::json;

    use super::*;

    /// HMAC-SHA256 over `HEAD.CLAIMS`, as RFC 7515, appendix A.1 has it.
    fn hs256(head: &Value, claims: &Value, secret: &str) -> String {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
        let text = format!(
            "{}.{}",
            BASE64.encode(head.to_string()),
            BASE64.encode(claims.to_string())
        );
        let key = ::ring::hmac::Key::new(::ring::hmac::HMAC_SHA256, secret.as_bytes());
        let signature = ::ring::hmac::sign(&key, text.as_bytes());
        format!("{text}.{}", BASE64.encode(signature))
    }

    fn config() -> AuthConfig {
        AuthConfig {
            jwt_secret: Some("a secret of 32 bytes, or nearly..".into()),
            ..AuthConfig::default()
        }
    }

    fn now() -> u64 {
        jsonwebtoken::get_current_timestamp()
    }

    async fn refused(config: &AuthConfig, head: Value, claims: Value) -> TokenError {
        let token = hs256(&head, &claims, "a secret of 32 bytes, or nearly..");
        Tokens::new(config).person(&token).await.unwrap_err()
    }

    fn head() -> Value {
        json!({"alg": "HS256", "typ": "JWT"})
    }

    #[tokio::test]
    async fn ids_and_roles_are_found_where_they_are_configured() {
        let mut config = config();
        let secret = "a secret of 32 bytes, or nearly..";
        for (claims, id, roles) in [
            (json!({"sub": 7, "role": "director"}), "7", vec!["director"]),
            (json!({"userId": "u-1", "phone": "x"}), "u-1", vec![]),
            (
                json!({"sub": "a", "userId": "b", "role": ["x", 1]}),
                "a",
                vec!["x", "1"],
            ),
        ] {
            let mut claims = claims;
            claims["exp"] = json!(now() + 60);
            let token = hs256(&head(), &claims, secret);

            let person = Tokens::new(&config).person(&token).await.unwrap();

            assert_eq!(
                (person.id.as_str(), person.roles),
                (id, roles.iter().map(|role| (*role).to_owned()).collect())
            );
        }
        config.role_claim = "realm_access.roles".to_owned();
        let claims = json!({"sub": "a", "exp": now() + 60, "realm_access": {"roles": ["cook"]}});
        let token = hs256(&head(), &claims, secret);
        let person = Tokens::new(&config).person(&token).await.unwrap();
        assert_eq!(person.roles, ["cook"]);
    }

    #[tokio::test]
    async fn a_token_that_is_not_valid_names_nobody() {
        let good = json!({"sub": "a", "exp": now() + 60});
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            claims
        };
        for (head, claims, error) in [
            (head(), json!({"sub": "a"}), TokenError::Expired),
            (head(), with("exp", json!(now() - 31)), TokenError::Expired),
            (head(), with("exp", json!("tomorrow")), TokenError::Expired),
            (head(), with("nbf", json!(now() + 90)), TokenError::NotYet),
            (head(), with("nbf", json!("soon")), TokenError::NotYet),
            (head(), with("sub", json!("")), TokenError::Nobody),
            (head(), with("sub", json!(1.5)), TokenError::Nobody),
            (
                head(),
                with("sub", json!("x".repeat(129))),
                TokenError::Nobody,
            ),
            (json!({"alg": "none"}), good.clone(), TokenError::Malformed),
            (json!({"alg": "HS384"}), good.clone(), TokenError::Algorithm),
            (json!({"alg": "RS256"}), good.clone(), TokenError::Algorithm),
        ] {
            let text = format!("{head} {claims}");
            assert_eq!(refused(&config(), head, claims).await, error, "{text}");
        }
        let tokens = Tokens::new(&config());
        let forged = hs256(&head(), &good, "another secret");
        assert_eq!(tokens.person(&forged).await, Err(TokenError::Signature));
        for garbage in ["", "a.b", "a.b.c", "....", &"x".repeat(20_000)] {
            assert_eq!(tokens.person(garbage).await, Err(TokenError::Malformed));
        }
    }

    #[tokio::test]
    async fn an_issuer_that_is_asked_for_must_be_there() {
        let config = AuthConfig {
            issuer: Some("us".to_owned()),
            audience: Some("pages".to_owned()),
            ..config()
        };
        let exp = now() + 60;
        for claims in [
            json!({"sub": "a", "exp": exp}),
            json!({"sub": "a", "exp": exp, "iss": "us"}),
            json!({"sub": "a", "exp": exp, "iss": "them", "aud": "pages"}),
            json!({"sub": "a", "exp": exp, "iss": 7, "aud": "pages"}),
            json!({"sub": "a", "exp": exp, "iss": "us", "aud": ["others"]}),
        ] {
            let text = claims.to_string();
            assert_eq!(
                refused(&config, head(), claims).await,
                TokenError::Foreign,
                "{text}"
            );
        }
        let claims = json!({"sub": "a", "exp": exp, "iss": "us", "aud": ["others", "pages"]});
        let token = hs256(&head(), &claims, "a secret of 32 bytes, or nearly..");
        assert!(Tokens::new(&config).person(&token).await.is_ok());
    }

    #[test]
    fn the_header_goes_before_cookies_and_these_have_an_order() {
        let cookies = ["first".to_owned(), "second".to_owned()];
        let headers = |lines: &[(header::HeaderName, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(name, HeaderValue::from_static(value));
            }
            of_request(&headers, &cookies)
        };
        let cookie = |text| (header::COOKIE, text);
        let bearer = |text| (header::AUTHORIZATION, text);

        assert_eq!(headers(&[]), Err(TokenError::Missing));
        assert_eq!(headers(&[cookie("other=a.b.c")]), Err(TokenError::Missing));
        assert_eq!(
            headers(&[bearer("Basic x"), cookie("first=a.b.c")]).unwrap(),
            "a.b.c"
        );
        assert_eq!(
            headers(&[bearer("bearer x.y.z"), cookie("first=a.b.c")]).unwrap(),
            "x.y.z"
        );
        assert_eq!(
            headers(&[cookie("second=2.2.2; first=1.1.1")]).unwrap(),
            "1.1.1"
        );
        assert_eq!(
            headers(&[cookie("first=deleted; second=2%2E2.2")]).unwrap(),
            "2.2.2"
        );
    }
}
