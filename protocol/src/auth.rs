//! Signatures of subscriptions, sign-ins and webhooks (sections 13 and 14).
//!
//! What was received is signed byte for byte: SDKs serialise JSON differently,
//! so nothing here is ever parsed and written again.

use subtle::ConstantTimeEq;

use crate::app::AppSecret;
use crate::socket_id::SocketId;

/// Signs a subscription: `SOCKET:CHANNEL`, with `:CHANNEL_DATA` when there is any.
#[must_use]
pub fn sign_channel(
    secret: &AppSecret,
    socket_id: SocketId,
    channel: &str,
    channel_data: Option<&str>,
) -> String {
    sign(secret, &channel_text(socket_id, channel, channel_data))
}

/// The text that a subscription has to sign.
#[must_use]
pub fn channel_text(socket_id: SocketId, channel: &str, channel_data: Option<&str>) -> String {
    match channel_data {
        Some(channel_data) => format!("{socket_id}:{channel}:{channel_data}"),
        None => format!("{socket_id}:{channel}"),
    }
}

/// Signs a sign-in: `SOCKET::user::USER_DATA`.
#[must_use]
pub fn sign_user(secret: &AppSecret, socket_id: SocketId, user_data: &str) -> String {
    sign(secret, &user_text(socket_id, user_data))
}

/// The text that a sign-in has to sign.
#[must_use]
pub fn user_text(socket_id: SocketId, user_data: &str) -> String {
    format!("{socket_id}::user::{user_data}")
}

/// Signs `text`, a channel's or a user's, so that it holds until `until`, in seconds of
/// Unix time: `SIGNATURE:UNTIL`, which stands behind the key as a signature does.
///
/// Only for signatures of this server: Pusher knows none that end.
#[must_use]
pub fn sign_until(secret: &AppSecret, text: &str, until: u64) -> String {
    let signature = sign(secret, &ending_text(text, until));
    format!("{signature}:{until}")
}

/// The text that is signed instead of `text` when it holds until `until`. Other texts
/// begin with a digit: so nobody can take the end away and have a signature that fits.
#[must_use]
pub fn ending_text(text: &str, until: u64) -> String {
    format!("until:{until}:{text}")
}

/// Cuts what [`sign_until`] makes into the signature and its end. `None` when there is
/// no end, or it is no number.
#[must_use]
pub fn split_until(signature: &str) -> Option<(&str, u64)> {
    let (signature, until) = signature.split_once(':')?;
    Some((signature, until.parse().ok()?))
}

/// Signs the exact bytes of a webhook's body, for `X-Pusher-Signature`.
#[must_use]
pub fn sign_webhook(secret: &AppSecret, body: &[u8]) -> String {
    hex(&secret.mac(&[body]))
}

/// HMAC-SHA256 of `text` in lower-case hex.
#[must_use]
pub fn sign(secret: &AppSecret, text: &str) -> String {
    hex(&secret.mac(&[text.as_bytes()]))
}

/// Compares in constant time whether `signature` signs `text`.
#[must_use]
pub fn is_signed(secret: &AppSecret, text: &str, signature: &str) -> bool {
    sign(secret, text)
        .as_bytes()
        .ct_eq(signature.as_bytes())
        .into()
}

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Bytes in lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(HEX_DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(HEX_DIGITS[usize::from(byte & 0x0f)]));
    }
    text
}
