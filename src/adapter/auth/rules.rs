//! The table of rules: who may subscribe to what.
//!
//! The first rule whose pattern fits a room decides; without one nobody may. A rule
//! has alternatives of which one must hold, an alternative has conditions of which
//! all must hold. Everything is written down as it is looked at, so that
//! `fanfare auth-check` explains exactly what the server does.

use std::fmt;

use fanfare_protocol::ChannelKind;
use serde_json::Value;
use unicode_normalization::UnicodeNormalization as _;

use super::back_end::{BackEnds, Reply};
use super::token::{Person, find, plain};
use crate::config::{AllowConfig, RuleConfig, RuleKind};

/// May `person` subscribe?
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who asks.
    pub person: &'a Person,
    /// The channel, with its prefix.
    pub channel: &'a str,
    /// The room that it stands for.
    pub room: &'a str,
    /// The kind of the channel.
    pub kind: ChannelKind,
    /// The connection.
    pub socket_id: &'a str,
}

/// The answer, and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The answer.
    pub outcome: Outcome,
    /// What was looked at, a line each; it may name the user and their roles.
    pub steps: Vec<String>,
}

/// Whether somebody may subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// They may.
    Allowed,
    /// They may not.
    Refused,
    /// A back end that had to be asked did not answer.
    Unknown,
}

/// The whole table.
#[derive(Debug)]
pub(super) struct Rules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    room: Pattern,
    kind: Option<RuleKind>,
    alternatives: Vec<Vec<Condition>>,
}

/// The segments of a room's pattern.
#[derive(Debug)]
struct Pattern {
    segments: Vec<String>,
    /// Whether `**` stands at the end.
    is_open: bool,
}

#[derive(Debug)]
enum Condition {
    Anyone,
    Roles(Vec<String>),
    Own {
        segment: usize,
    },
    Claim {
        name: String,
        segment: usize,
        is_optional: bool,
    },
    BackEnd {
        url: String,
    },
}

impl Rules {
    pub(super) fn new(rules: &[RuleConfig]) -> Self {
        Self(rules.iter().map(Rule::new).collect())
    }

    pub(super) async fn decide(&self, question: &Question<'_>, back_ends: &BackEnds) -> Decision {
        let mut steps = Vec::new();
        let segments: Vec<&str> = question.room.split(':').collect();
        for (number, rule) in (1..).zip(&self.0) {
            if !rule.fits(question.kind, &segments) {
                continue;
            }
            steps.push(format!("rule {number} ({rule}) fits and decides"));
            let outcome = rule
                .decide(question, &segments, back_ends, &mut steps)
                .await;
            return Decision { outcome, steps };
        }
        steps.push(format!("none of {} rules fits: refused", self.0.len()));
        Decision {
            outcome: Outcome::Refused,
            steps,
        }
    }
}

impl Rule {
    fn new(config: &RuleConfig) -> Self {
        Self {
            room: Pattern::new(&config.room),
            kind: config.kind,
            alternatives: config.allow.iter().map(conditions).collect(),
        }
    }

    fn fits(&self, kind: ChannelKind, segments: &[&str]) -> bool {
        let is_kind = match self.kind {
            None => true,
            Some(RuleKind::Private) => kind == ChannelKind::Private,
            Some(RuleKind::Presence) => kind == ChannelKind::Presence,
        };
        is_kind && self.room.fits(segments)
    }

    async fn decide(
        &self,
        question: &Question<'_>,
        segments: &[&str],
        back_ends: &BackEnds,
        steps: &mut Vec<String>,
    ) -> Outcome {
        let mut outcome = Outcome::Refused;
        for (number, conditions) in (1..).zip(&self.alternatives) {
            let mut all = Outcome::Allowed;
            for condition in conditions {
                let (one, why) = condition.check(question, segments, back_ends).await;
                steps.push(format!("  alternative {number}: {why}"));
                all = one;
                if one != Outcome::Allowed {
                    break;
                }
            }
            match all {
                Outcome::Allowed => return Outcome::Allowed,
                // Another alternative may hold without the back end.
                Outcome::Unknown => outcome = Outcome::Unknown,
                Outcome::Refused => {}
            }
        }
        if self.alternatives.is_empty() {
            steps.push("  it has no alternative: refused".to_owned());
        }
        outcome
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            None => {}
            Some(RuleKind::Private) => f.write_str("private ")?,
            Some(RuleKind::Presence) => f.write_str("presence ")?,
        }
        f.write_str(&self.room.segments.join(":"))?;
        if self.room.is_open {
            f.write_str(":**")?;
        }
        Ok(())
    }
}

/// Those that need no question come first.
fn conditions(config: &AllowConfig) -> Vec<Condition> {
    let mut conditions = Vec::new();
    if config.anyone {
        conditions.push(Condition::Anyone);
    }
    if !config.roles.is_empty() {
        conditions.push(Condition::Roles(config.roles.clone()));
    }
    if let Some(segment) = config.own_segment {
        conditions.push(Condition::Own { segment });
    }
    if let (Some(name), Some(segment)) = (&config.claim, config.claim_segment) {
        conditions.push(Condition::Claim {
            name: name.clone(),
            segment,
            is_optional: config.claim_optional,
        });
    }
    if let Some(url) = &config.url {
        conditions.push(Condition::BackEnd { url: url.clone() });
    }
    conditions
}

impl Pattern {
    fn new(text: &str) -> Self {
        let text: String = text.nfc().collect();
        let mut segments: Vec<String> = text.split(':').map(str::to_owned).collect();
        let is_open = segments.last().is_some_and(|last| last == "**");
        if is_open {
            segments.pop();
        }
        Self { segments, is_open }
    }

    fn fits(&self, segments: &[&str]) -> bool {
        let has_length = if self.is_open {
            segments.len() > self.segments.len()
        } else {
            segments.len() == self.segments.len()
        };
        has_length
            && self
                .segments
                .iter()
                .zip(segments)
                .all(|(pattern, segment)| pattern == "*" || pattern == segment)
    }
}

impl Condition {
    async fn check(
        &self,
        question: &Question<'_>,
        segments: &[&str],
        back_ends: &BackEnds,
    ) -> (Outcome, String) {
        let person = question.person;
        let (holds, why) = match self {
            Self::Anyone => (true, "anyone with a valid token".to_owned()),
            Self::Roles(roles) => {
                let holds = person.roles.iter().any(|role| roles.contains(role));
                (holds, format!("roles {:?} against {roles:?}", person.roles))
            }
            Self::Own { segment } => {
                let wanted = segments.get(*segment).copied().unwrap_or_default();
                let holds = !wanted.is_empty() && person.id == wanted;
                (
                    holds,
                    format!("user id {:?} against segment {wanted:?}", person.id),
                )
            }
            Self::Claim {
                name,
                segment,
                is_optional,
            } => {
                let wanted = segments.get(*segment).copied().unwrap_or_default();
                match find(&person.claims, name) {
                    None | Some(Value::Null) => {
                        (*is_optional, format!("the token has no claim {name:?}"))
                    }
                    Some(value) => {
                        let holds = contains(value, wanted);
                        (holds, format!("claim {name:?} against segment {wanted:?}"))
                    }
                }
            }
            Self::BackEnd { url } => {
                return match back_ends.ask(url, question).await {
                    Reply::Yes => (Outcome::Allowed, format!("{url} allows it")),
                    Reply::No => (Outcome::Refused, format!("{url} refuses it")),
                    Reply::None => (Outcome::Unknown, format!("{url} does not decide")),
                };
            }
        };
        if holds {
            (Outcome::Allowed, format!("{why}: yes"))
        } else {
            (Outcome::Refused, format!("{why}: no"))
        }
    }
}

/// Whether a claim is `wanted`, or a list with it.
fn contains(value: &Value, wanted: &str) -> bool {
    match value {
        Value::Array(values) => values.iter().any(|value| contains(value, wanted)),
        value => {
            plain(value).is_some_and(|text| !wanted.is_empty() && text.nfc().eq(wanted.chars()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn rule(room: &str, allow: Vec<AllowConfig>) -> RuleConfig {
        RuleConfig::new(room, allow)
    }

    fn roles(roles: &[&str]) -> AllowConfig {
        AllowConfig {
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            ..AllowConfig::default()
        }
    }

    fn person(id: &str, role: &str, claims: Value) -> Person {
        Person {
            id: id.to_owned(),
            roles: vec![role.to_owned()],
            claims: claims.as_object().unwrap().clone(),
            valid_until: u64::MAX,
        }
    }

    async fn outcome(rules: &[RuleConfig], person: &Person, channel: &str) -> Outcome {
        let back_ends = BackEnds::new(Duration::from_secs(1), Duration::from_secs(1));
        let room = super::super::room::of_channel(channel).unwrap();
        let question = Question {
            person,
            channel,
            room: &room,
            kind: if channel.starts_with("presence-") {
                ChannelKind::Presence
            } else {
                ChannelKind::Private
            },
            socket_id: "1.1",
        };
        Rules::new(rules)
            .decide(&question, &back_ends)
            .await
            .outcome
    }

    #[tokio::test]
    async fn the_first_rule_that_fits_decides_and_none_refuses() {
        let rules = [
            rule("order:secret", vec![]),
            rule("order:*", vec![roles(&["cook"])]),
            rule("log:**", vec![roles(&["cook"])]),
        ];
        let cook = person("1", "cook", json!({}));
        for (channel, expected) in [
            ("private-order;7", Outcome::Allowed),
            ("private-order;=", Outcome::Allowed),
            ("private-order;secret", Outcome::Refused),
            ("private-order", Outcome::Refused),
            ("private-order;7;8", Outcome::Refused),
            ("private-log;a;b;c", Outcome::Allowed),
            ("private-log", Outcome::Refused),
            ("private-other", Outcome::Refused),
        ] {
            assert_eq!(outcome(&rules, &cook, channel).await, expected, "{channel}");
        }
        let guest = person("1", "guest", json!({}));
        assert_eq!(
            outcome(&rules, &guest, "private-order;7").await,
            Outcome::Refused
        );
    }

    #[tokio::test]
    async fn conditions_of_one_alternative_hold_together() {
        let cities = AllowConfig {
            claim: Some("cities".to_owned()),
            claim_segment: Some(1),
            claim_optional: true,
            ..roles(&["master"])
        };
        let own = AllowConfig {
            own_segment: Some(1),
            ..AllowConfig::default()
        };
        let rules = [
            rule("city:*", vec![cities]),
            rule("operator:*", vec![own, roles(&["director"])]),
        ];
        let saratov = "private-city;=0KHQsNGA0LDRgtC-0LI";
        for (claims, expected) in [
            (json!({}), Outcome::Allowed),
            (json!({"cities": null}), Outcome::Allowed),
            (json!({"cities": ["Саратов", "Пенза"]}), Outcome::Allowed),
            (json!({"cities": "Саратов"}), Outcome::Allowed),
            (json!({"cities": ["Пенза"]}), Outcome::Refused),
            (json!({"cities": []}), Outcome::Refused),
            (json!({"cities": {"Саратов": true}}), Outcome::Refused),
        ] {
            let text = claims.to_string();
            let master = person("1", "master", claims.clone());
            assert_eq!(outcome(&rules, &master, saratov).await, expected, "{text}");
            let other = person("1", "guest", claims);
            assert_eq!(outcome(&rules, &other, saratov).await, Outcome::Refused);
        }
        for (id, role, channel, expected) in [
            ("1", "operator", "private-operator;1", Outcome::Allowed),
            ("1", "operator", "private-operator;2", Outcome::Refused),
            ("1", "director", "private-operator;2", Outcome::Allowed),
            ("1", "operator", "private-operator;=", Outcome::Refused),
        ] {
            let who = person(id, role, json!({}));
            assert_eq!(outcome(&rules, &who, channel).await, expected, "{channel}");
        }
    }

    #[tokio::test]
    async fn a_rule_may_be_for_one_kind_of_channel() {
        let anyone = AllowConfig {
            anyone: true,
            ..AllowConfig::default()
        };
        let rules = [RuleConfig {
            kind: Some(RuleKind::Presence),
            ..rule("online", vec![anyone])
        }];
        let who = person("1", "any", json!({}));

        assert_eq!(
            outcome(&rules, &who, "presence-online").await,
            Outcome::Allowed
        );
        assert_eq!(
            outcome(&rules, &who, "private-online").await,
            Outcome::Refused
        );
    }
}
