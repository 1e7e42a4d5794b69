//! Finds out whose request it is, and whether it may be believed (17.1).

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use fanfare_protocol::AppId;
use fanfare_protocol::request::{RequestError, SignedQuery};
use hyper::http::request::Parts;
use percent_encoding::percent_decode_str;

use super::error::ApiError;
use super::{Api, SignedPath};
use crate::apps::App;

/// A request of an app's back end.
#[derive(Debug)]
pub(super) struct Authenticated<'a> {
    pub(super) app: Arc<App>,
    pub(super) query: SignedQuery<'a>,
}

impl Api {
    /// Decides by the head alone, so that nobody can make the server keep a body
    /// who has not signed for it.
    pub(super) async fn authenticate<'a>(
        &self,
        app_id: Option<&str>,
        head: &'a Parts,
    ) -> Result<Authenticated<'a>, ApiError> {
        let query = SignedQuery::parse(head.uri.query().unwrap_or_default())?;
        let app = match app_id {
            Some(id) => {
                let id = AppId::new(&percent_decode_str(id).decode_utf8_lossy());
                self.apps.by_id(&id).await?.ok_or(ApiError::UnknownApp)?
            }
            None => self
                .apps
                .by_key(&query.auth_key()?)
                .await?
                .ok_or(RequestError::UnknownKey)?,
        };
        let key = query.auth_key()?;
        let secret = app
            .secret_of(key.as_str())
            .ok_or(RequestError::UnknownKey)?;
        let verify =
            |path: &str| query.verify_head(head.method.as_str(), path, secret, unix_seconds());
        let verified = verify(head.uri.path());
        // SDKs that know of the prefix sign it; others sign what a proxy put it
        // in front of.
        match (verified, head.extensions.get::<SignedPath>()) {
            (Err(_), Some(SignedPath(path))) => verify(path)?,
            (verified, _) => verified?,
        }
        Ok(Authenticated { app, query })
    }
}

impl Authenticated<'_> {
    /// Decides whether the app may have its wish, now that the body is there.
    pub(super) fn check(&self, body: &[u8]) -> Result<(), ApiError> {
        self.query.verify_body(body)?;
        // Only its own back end is told that an app is disabled.
        if !self.app.enabled {
            return Err(ApiError::AppDisabled);
        }
        Ok(())
    }
}

fn unix_seconds() -> u64 {
    // A clock before 1970 makes every request look expired, as it should.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
