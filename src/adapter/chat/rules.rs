//! Who may be in which room of the chat: its table of rules.

use crate::config::{AllowConfig, AuthConfig, ChatConfig, RuleConfig};

/// Adds what the chat needs behind the operator's own rules, which decide first.
#[must_use]
pub fn extend(auth: &AuthConfig, chat: &ChatConfig) -> AuthConfig {
    let mut auth = auth.clone();
    auth.app = auth.app.or_else(|| chat.app.clone());
    let own = AllowConfig {
        own_segment: Some(1),
        ..AllowConfig::default()
    };
    let anyone = AllowConfig {
        anyone: true,
        ..AllowConfig::default()
    };
    // Without somebody to ask nobody is a member.
    let members = chat.membership_url.iter().map(|url| AllowConfig {
        url: Some(url.clone()),
        ..AllowConfig::default()
    });
    auth.rules.extend([
        RuleConfig::new("user:*", vec![own]),
        RuleConfig::new("dialog:*", members.collect()),
        RuleConfig::new("chat3-online", vec![anyone]),
    ]);
    auth
}
