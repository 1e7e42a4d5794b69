//! Who may be in which room of the call centre: its table of rules.

use crate::config::{AllowConfig, AuthConfig, RoomsConfig, RuleConfig};

/// Cookies in which the call centre's pages may have the token, the most trusted
/// first.
const COOKIES: [&str; 6] = [
    "access_token_callcentre",
    "access_token_core",
    "access_token_new",
    "access_token_masters",
    "access_token",
    "__Host-access_token",
];

const OPERATORS: [&str; 3] = ["operator", "callcentre_operator", "director"];
const STAFF: [&str; 4] = ["operator", "callcentre_operator", "director", "master"];
const DIRECTOR: [&str; 1] = ["director"];

/// Adds what the call centre needs behind the operator's own rules, which decide
/// first.
#[must_use]
pub fn extend(auth: &AuthConfig, rooms: &RoomsConfig) -> AuthConfig {
    let mut auth = auth.clone();
    if auth.cookies.is_empty() {
        auth.cookies = COOKIES.map(str::to_owned).to_vec();
    }
    auth.app = auth.app.or_else(|| rooms.app.clone());
    let rules = table(rooms.check_cities, &auth.role_claim);
    auth.rules.extend(rules);
    auth
}

fn table(check_cities: bool, role_claim: &str) -> Vec<RuleConfig> {
    let own_or_director = || vec![own(), roles(&DIRECTOR)];
    let city = AllowConfig {
        claim: check_cities.then(|| "cities".to_owned()),
        claim_segment: check_cities.then_some(1),
        claim_optional: true,
        ..roles(&STAFF)
    };
    // The rooms of a role, each for those who have it.
    let role = AllowConfig {
        claim: Some(role_claim.to_owned()),
        claim_segment: Some(1),
        ..AllowConfig::default()
    };
    vec![
        RuleConfig::new("operators", vec![roles(&OPERATORS)]),
        RuleConfig::new("directors", vec![roles(&DIRECTOR)]),
        RuleConfig::new("city:*", vec![city]),
        RuleConfig::new("operator:*", own_or_director()),
        RuleConfig::new("order:*", vec![roles(&STAFF)]),
        RuleConfig::new("master:*", own_or_director()),
        RuleConfig::new("user:*", own_or_director()),
        RuleConfig::new("all", vec![anyone()]),
        RuleConfig::new("online", vec![anyone()]),
        RuleConfig::new("role:*", vec![role]),
    ]
}

fn roles(roles: &[&str]) -> AllowConfig {
    AllowConfig {
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        ..AllowConfig::default()
    }
}

fn own() -> AllowConfig {
    AllowConfig {
        own_segment: Some(1),
        ..AllowConfig::default()
    }
}

fn anyone() -> AllowConfig {
    AllowConfig {
        anyone: true,
        ..AllowConfig::default()
    }
}
