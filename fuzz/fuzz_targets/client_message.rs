//! Messages of clients: read or refused, never a panic.
#![no_main]

use fanfare_protocol::raw::{RawRequest, channel_of};
use fanfare_protocol::{ChannelData, ClientMessage, Limits, UserData};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let limits = Limits::default();
    match ClientMessage::parse(text) {
        Ok(ClientMessage::ClientEvent(event)) => assert!(event.event.starts_with("client-")),
        Ok(ClientMessage::Subscribe(wish)) => {
            if let Some(data) = wish.channel_data {
                let _ = ChannelData::parse(&data, &limits);
            }
        }
        Ok(ClientMessage::SignIn(wish)) => {
            if let Some(data) = wish.user_data {
                let _ = UserData::parse(&data, &limits);
            }
        }
        Ok(_) | Err(_) => {}
    }
    // The dialect of the plain WebSocket.
    if let Some(RawRequest::Subscribe(names)) = RawRequest::parse(text) {
        for name in names {
            assert!(channel_of(&name).len() <= name.len());
        }
    }
    // What stands inside other messages is reached directly as well.
    if let Ok(data) = ChannelData::parse(text, &limits) {
        let id = data.user_id.as_str();
        assert!(!id.is_empty() && id.chars().count() <= limits.presence_user_id_length);
    }
    if let Ok(data) = UserData::parse(text, &limits) {
        assert!(!data.id.as_str().is_empty());
        assert!(data.watchlist.len() <= limits.watchlist_ids);
    }
});
