//! Channel names: what is accepted has the characters and the length of section 1.
#![no_main]

use fanfare_protocol::{ChannelKind, ChannelName, Limits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let limits = Limits::default();
    let Ok(name) = ChannelName::parse(text, &limits) else {
        return;
    };
    assert_eq!(name.as_str(), text);
    let rest = match text.strip_prefix("#server-to-user-") {
        Some(user) => {
            assert_eq!(name.kind(), ChannelKind::ServerToUser);
            assert!(text.len() <= 200);
            user
        }
        None => {
            assert!(text.len() <= limits.channel_name_length);
            text
        }
    };
    assert!(!rest.is_empty());
    assert!(
        rest.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-=@,.;".contains(&byte))
    );
    let is_signed = text.starts_with("private-") || text.starts_with("presence-");
    assert_eq!(name.needs_signature(), is_signed);
});
