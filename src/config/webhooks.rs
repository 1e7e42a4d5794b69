//! `[webhooks]`: how webhooks are sent, and where they may go.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::seconds;

/// How webhooks are sent, and where they may go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhooksConfig {
    /// Whether URLs at private and loopback addresses are refused. For servers
    /// whose apps belong to others than the operator. Default false.
    pub deny_private_targets: bool,
    /// Seconds that `channel_vacated` and `member_removed` wait for a return, in
    /// which case neither they nor the return are told. Default 3.
    #[serde(with = "seconds")]
    pub hold_back: Duration,
    /// Seconds that an event waits for others to share its request, in apps
    /// with `webhook_batching`. Default 0.1.
    #[serde(with = "seconds")]
    pub batch_window: Duration,
    /// Seconds to find and reach the host of a URL. Default 5.
    #[serde(with = "seconds")]
    pub connect_timeout: Duration,
    /// Seconds for one attempt as a whole. Default 10.
    #[serde(with = "seconds")]
    pub timeout: Duration,
    /// Seconds before the second attempt; each further gap is twice as long.
    /// Default 1.
    #[serde(with = "seconds")]
    pub first_retry: Duration,
    /// Seconds after which a webhook that was not taken is given up. Default
    /// 300: the Python SDK takes nothing that is older.
    #[serde(with = "seconds")]
    pub retry_for: Duration,
}

impl Default for WebhooksConfig {
    fn default() -> Self {
        Self {
            deny_private_targets: false,
            hold_back: Duration::from_secs(3),
            batch_window: Duration::from_millis(100),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
            first_retry: Duration::from_secs(1),
            retry_for: Duration::from_secs(300),
        }
    }
}
