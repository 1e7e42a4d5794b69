//! `POST /apps/APP/users/USER/terminate_connections` (section 17.8).

use fanfare_protocol::UserId;
use percent_encoding::percent_decode_str;

use super::Api;
use super::authentication::Authenticated;
use super::error::ApiError;

impl Api {
    pub(super) fn terminate(
        &self,
        request: &Authenticated<'_>,
        user: &str,
    ) -> Result<String, ApiError> {
        let decoded = percent_decode_str(user).decode_utf8_lossy();
        self.hub.terminate(&request.app, &UserId::new(&decoded));
        Ok("{}".to_owned())
    }
}
