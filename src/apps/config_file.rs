//! The apps of the configuration: fixed from start to end.

use std::collections::HashMap;
use std::sync::Arc;

use fanfare_protocol::{AppId, AppKey};
use futures_util::future::{BoxFuture, FutureExt, ready};

use super::{App, AppStore, AppStoreError};

/// An [`AppStore`] that never changes and never fails.
#[derive(Debug)]
pub struct ConfigFileApps {
    by_id: HashMap<AppId, Arc<App>>,
    by_key: HashMap<AppKey, Arc<App>>,
}

impl ConfigFileApps {
    /// Takes apps whose ids and keys the configuration has found to be unique.
    #[must_use]
    pub fn new(apps: Vec<App>) -> Self {
        let mut by_id = HashMap::new();
        let mut by_key = HashMap::new();
        for app in apps.into_iter().map(Arc::new) {
            for pair in &app.keys {
                by_key.insert(pair.key.clone(), Arc::clone(&app));
            }
            by_id.insert(app.id.clone(), app);
        }
        Self { by_id, by_key }
    }

    /// Whether one of them has this id.
    #[must_use]
    pub fn has(&self, id: &AppId) -> bool {
        self.by_id.contains_key(id)
    }
}

impl AppStore for ConfigFileApps {
    fn by_key<'a>(
        &'a self,
        key: &'a AppKey,
    ) -> BoxFuture<'a, Result<Option<Arc<App>>, AppStoreError>> {
        ready(Ok(self.by_key.get(key).cloned())).boxed()
    }

    fn by_id<'a>(
        &'a self,
        id: &'a AppId,
    ) -> BoxFuture<'a, Result<Option<Arc<App>>, AppStoreError>> {
        ready(Ok(self.by_id.get(id).cloned())).boxed()
    }
}
