//! An intermediary with an API. There are several and they differ; this is the simplest
//! one that can be asked whether an order was placed, as a template for others:
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /balance` | `{"available": 7}` |
//! | `GET /objects/{number}` | 200, or 404 |
//! | `POST /orders {"cadNumber", "reference", "login", "password"}` | `{"orderNum"}`; the same for the same reference |
//! | `GET /orders?reference=…` | `{"orders": [{"orderNum"}]}` |
//! | `GET /orders/{orderNum}` | `{"status": "pending"\|"ready"\|"refused", "text", "document"}` |
//! | `GET /documents/{document}` | the document |
//!
//! Login and password are those of the account in whose name it orders.

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderName};
use serde_json::{Value, json};

use super::exchange::{Exchange, encoded, plain};
use super::{Access, Draft, EgrnClient, EgrnError, Placed, Progress};
use crate::adapter::order_worker::cadastre::CadastralNumber;
use crate::config::Secret;

#[derive(Debug)]
pub(super) struct Gateway {
    exchange: Exchange,
    token: Secret,
}

impl Gateway {
    pub(super) fn new(exchange: Exchange, token: Secret) -> Self {
        Self { exchange, token }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, EgrnError> {
        self.exchange
            .json(method, path, &self.headers(), body)
            .await
    }

    fn headers(&self) -> [(HeaderName, String); 1] {
        [(AUTHORIZATION, format!("Bearer {}", self.token.reveal()))]
    }
}

fn placed(order: &Value) -> Result<Placed, EgrnError> {
    let order_num = plain(&order["orderNum"])
        .ok_or_else(|| EgrnError::Transient("an order has no number".to_owned()))?;
    Placed::new(order_num)
}

impl EgrnClient for Gateway {
    fn has_documents(&self) -> bool {
        true
    }

    fn balance<'a>(&'a self, _: &'a Access) -> BoxFuture<'a, Result<Option<u32>, EgrnError>> {
        async {
            let answer = self.ask(Method::GET, "/balance", None).await?;
            let available = answer["available"].as_u64();
            Ok(available.map(|available| u32::try_from(available).unwrap_or(u32::MAX)))
        }
        .boxed()
    }

    fn exists<'a>(
        &'a self,
        _: &'a Access,
        number: &'a CadastralNumber,
    ) -> BoxFuture<'a, Result<bool, EgrnError>> {
        async move {
            let path = format!("/objects/{}", encoded(number.as_str()));
            match self.ask(Method::GET, &path, None).await {
                Ok(_) => Ok(true),
                Err(EgrnError::NotFound) => Ok(false),
                Err(error) => Err(error),
            }
        }
        .boxed()
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
        access: &'a Access,
        number: &'a CadastralNumber,
        draft: &'a Draft,
    ) -> BoxFuture<'a, Result<Placed, EgrnError>> {
        async move {
            let body = json!({
                "cadNumber": number.as_str(),
                "reference": draft.0,
                "login": access.login.as_deref().unwrap_or(&access.account),
                "password": access.password.reveal(),
            });
            let answer = self.ask(Method::POST, "/orders", Some(&body)).await?;
            placed(&answer)
        }
        .boxed()
    }

    fn placed<'a>(
        &'a self,
        _: &'a Access,
        draft: &'a Draft,
    ) -> BoxFuture<'a, Result<Option<Placed>, EgrnError>> {
        async move {
            let path = format!("/orders?reference={}", encoded(&draft.0));
            let answer = self.ask(Method::GET, &path, None).await?;
            let orders = answer["orders"].as_array().ok_or_else(|| {
                EgrnError::Unclear("the gateway has no list of orders".to_owned())
            })?;
            match &orders[..] {
                [] => Ok(None),
                [order] => placed(order).map(Some),
                _ => Err(EgrnError::Unclear(
                    "the gateway lists several orders for one reference".to_owned(),
                )),
            }
        }
        .boxed()
    }

    fn status<'a>(
        &'a self,
        _: &'a Access,
        order_num: &'a str,
    ) -> BoxFuture<'a, Result<Progress, EgrnError>> {
        async move {
            let path = format!("/orders/{}", encoded(order_num));
            let answer = self.ask(Method::GET, &path, None).await?;
            let text = plain(&answer["text"]).unwrap_or_default();
            match (answer["status"].as_str(), plain(&answer["document"])) {
                (Some("ready"), Some(document)) => Ok(Progress::Ready(document)),
                (Some("refused"), _) => Ok(Progress::Refused(text)),
                (Some("pending"), _) => Ok(Progress::Pending(text)),
                _ => Err(EgrnError::Transient(format!(
                    "{path} answered without a status"
                ))),
            }
        }
        .boxed()
    }

    fn download<'a>(
        &'a self,
        _: &'a Access,
        document: &'a str,
    ) -> BoxFuture<'a, Result<Bytes, EgrnError>> {
        async move {
            let path = format!("/documents/{}", encoded(document));
            self.exchange
                .bytes(Method::GET, &path, &self.headers(), None)
                .await
        }
        .boxed()
    }
}
