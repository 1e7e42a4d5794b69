//! Nobody is asked: every order succeeds after a while. What the service began with.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};

use super::{Access, Draft, EgrnClient, EgrnError, Placed, Progress};
use crate::adapter::order_worker::bull::unix_ms;
use crate::adapter::order_worker::cadastre::CadastralNumber;

/// Characters at the end of a number.
const SUFFIX: usize = 6;

#[derive(Debug)]
pub(super) struct Stub {
    time: Duration,
}

impl Stub {
    pub(super) fn new(time: Duration) -> Self {
        Self { time }
    }
}

impl EgrnClient for Stub {
    fn has_documents(&self) -> bool {
        false
    }

    fn balance<'a>(&'a self, _: &'a Access) -> BoxFuture<'a, Result<Option<u32>, EgrnError>> {
        async { Ok(None) }.boxed()
    }

    fn exists<'a>(
        &'a self,
        _: &'a Access,
        _: &'a CadastralNumber,
    ) -> BoxFuture<'a, Result<bool, EgrnError>> {
        async { Ok(true) }.boxed()
    }

    fn prepare<'a>(
        &'a self,
        _: &'a Access,
        _: &'a CadastralNumber,
        reference: &'a str,
    ) -> BoxFuture<'a, Result<Draft, EgrnError>> {
        async { Ok(Draft(reference.to_owned())) }.boxed()
    }

    fn confirm<'a>(
        &'a self,
        _: &'a Access,
        _: &'a CadastralNumber,
        _: &'a Draft,
    ) -> BoxFuture<'a, Result<Placed, EgrnError>> {
        async {
            tokio::time::sleep(self.time).await;
            let suffix: String = (0..SUFFIX)
                .map(|_| char::from(b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789"[rand::random_range(0..32)]))
                .collect();
            Ok(Placed {
                order_num: format!("RR-{}-{suffix}", unix_ms()),
            })
        }
        .boxed()
    }

    fn placed<'a>(
        &'a self,
        _: &'a Access,
        _: &'a Draft,
    ) -> BoxFuture<'a, Result<Option<Placed>, EgrnError>> {
        async { Ok(None) }.boxed()
    }

    fn status<'a>(
        &'a self,
        _: &'a Access,
        order_num: &'a str,
    ) -> BoxFuture<'a, Result<Progress, EgrnError>> {
        async { Ok(Progress::Ready(order_num.to_owned())) }.boxed()
    }

    fn download<'a>(
        &'a self,
        _: &'a Access,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Bytes, EgrnError>> {
        async { Err(EgrnError::Transient("the stub has no documents".to_owned())) }.boxed()
    }
}
