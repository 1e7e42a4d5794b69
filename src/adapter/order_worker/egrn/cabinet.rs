//! The cabinet of a person, by what its own pages ask. Nothing of it is documented, and it
//! changes without notice.
//!
//! Signing in needs a browser, a code by SMS, sometimes more: an operator does it and
//! imports the cookies. When they are not good any more, this worker pauses.

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use hyper::Method;
use hyper::header::{COOKIE, HeaderName};
use serde_json::{Value, json};

use super::exchange::{Exchange, encoded, plain};
use super::{Access, Draft, EgrnClient, EgrnError, Placed, Progress};
use crate::adapter::order_worker::cadastre::CadastralNumber;

/// What orders are counted as in the balance.
const SUBSCRIPTION: &str = "egrn_with_docs_1";

/// What a request is called whose document is there.
const READY: &str = "Выполнено";

/// Words in the states of requests that will have none.
const REFUSED: [&str; 3] = ["отказ", "отклон", "отменен"];

/// Requests that are looked through for one that may have been placed.
const LOOKED_THROUGH: u32 = 100;

#[derive(Debug)]
pub(super) struct Cabinet {
    exchange: Exchange,
}

impl Cabinet {
    pub(super) fn new(exchange: Exchange) -> Self {
        Self { exchange }
    }

    async fn ask(
        &self,
        access: &Access,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, EgrnError> {
        let headers = cookies(access)?;
        self.exchange.json(method, path, &headers, body).await
    }

    /// The requests of the account, the newest first.
    async fn requests(
        &self,
        access: &Access,
        filter: &Value,
        most: u32,
    ) -> Result<Vec<Value>, EgrnError> {
        let path = format!("/account-back/applications?page=0&size={most}");
        let answer = self.ask(access, Method::POST, &path, Some(filter)).await?;
        match &answer["content"] {
            Value::Array(requests) => Ok(requests.clone()),
            _ => Err(EgrnError::Transient(format!(
                "{path} answered without a list"
            ))),
        }
    }
}

fn cookies(access: &Access) -> Result<[(HeaderName, String); 1], EgrnError> {
    match &access.cookies {
        Some(cookies) => Ok([(COOKIE, cookies.reveal().to_owned())]),
        None => Err(EgrnError::Auth(format!(
            "no session was imported for {}",
            access.account
        ))),
    }
}

impl EgrnClient for Cabinet {
    fn has_documents(&self) -> bool {
        true
    }

    fn balance<'a>(&'a self, access: &'a Access) -> BoxFuture<'a, Result<Option<u32>, EgrnError>> {
        async move {
            let path = "/account-back/finances/operations/total?tab=egrn_subscription";
            let answer = self.ask(access, Method::GET, path, None).await?;
            let entries = answer.as_array().into_iter().flatten();
            let count = entries
                .filter(|entry| entry["mnemo"] == SUBSCRIPTION)
                .find_map(|entry| entry["count"].as_u64());
            Ok(count.map(|count| u32::try_from(count).unwrap_or(u32::MAX)))
        }
        .boxed()
    }

    fn exists<'a>(
        &'a self,
        access: &'a Access,
        number: &'a CadastralNumber,
    ) -> BoxFuture<'a, Result<bool, EgrnError>> {
        async move {
            let body = json!({ "filterType": "cadastral", "cadNumbers": [number.as_str()] });
            let path = "/account-back/on/with-addresses";
            let answer = self.ask(access, Method::POST, path, Some(&body)).await?;
            let objects = answer["elements"]
                .as_array()
                .ok_or_else(|| EgrnError::Transient(format!("{path} answered without a list")))?;
            Ok(objects
                .iter()
                .any(|object| object["cadastralNumber"] == number.as_str()))
        }
        .boxed()
    }

    fn prepare<'a>(
        &'a self,
        access: &'a Access,
        number: &'a CadastralNumber,
        reference: &'a str,
    ) -> BoxFuture<'a, Result<Draft, EgrnError>> {
        async move {
            let body = json!({
                "cadastralNumber": number.as_str(),
                "externalReference": reference,
            });
            let path = "/account-request/statement/upload";
            let answer = self.ask(access, Method::POST, path, Some(&body)).await?;
            plain(&answer["superPackageGuid"])
                .map(Draft)
                .ok_or_else(|| EgrnError::Transient(format!("{path} answered without a package")))
        }
        .boxed()
    }

    fn confirm<'a>(
        &'a self,
        access: &'a Access,
        number: &'a CadastralNumber,
        draft: &'a Draft,
    ) -> BoxFuture<'a, Result<Placed, EgrnError>> {
        async move {
            let key = self
                .exchange
                .bytes(
                    Method::GET,
                    "/account-back/access-key/current-user",
                    &cookies(access)?,
                    None,
                )
                .await?;
            let body = json!({
                "superPackageGuid": draft.0,
                "subjectObject": number.as_str(),
                "packageType": SUBSCRIPTION,
                "accessKey": String::from_utf8_lossy(&key).trim().trim_matches('"'),
            });
            let path = "/account-request/statement/finish";
            let answer = self.ask(access, Method::POST, path, Some(&body)).await?;
            // A bare text, or an object around it.
            let order_num = plain(&answer).or_else(|| plain(&answer["requestNumber"]));
            let order_num = order_num
                .ok_or_else(|| EgrnError::Transient(format!("{path} answered without a number")))?;
            Placed::new(order_num)
        }
        .boxed()
    }

    fn placed<'a>(
        &'a self,
        access: &'a Access,
        draft: &'a Draft,
    ) -> BoxFuture<'a, Result<Option<Placed>, EgrnError>> {
        async move {
            let filter = json!({ "superPackageGuid": draft.0 });
            let requests = self.requests(access, &filter, LOOKED_THROUGH).await?;
            // If the list does not tell packages, it may be in it all the same.
            if let Some(request) = requests
                .iter()
                .find(|request| plain(&request["superPackageGuid"]).is_none())
            {
                let number = plain(&request["requestNumber"]).unwrap_or_default();
                return Err(EgrnError::Unclear(format!(
                    "the list of the cabinet does not name the package of request {number}"
                )));
            }
            let found = requests
                .iter()
                .find(|request| plain(&request["superPackageGuid"]).as_ref() == Some(&draft.0));
            let is_all = usize::try_from(LOOKED_THROUGH).is_ok_and(|most| requests.len() < most);
            match found.map(|request| plain(&request["requestNumber"])) {
                Some(Some(number)) => Placed::new(number).map(Some),
                Some(None) => Err(EgrnError::Transient(
                    "the package was placed and has no number yet".to_owned(),
                )),
                None if is_all => Ok(None),
                None => Err(EgrnError::Unclear(
                    "the list of the cabinet is too long".to_owned(),
                )),
            }
        }
        .boxed()
    }

    fn status<'a>(
        &'a self,
        access: &'a Access,
        order_num: &'a str,
    ) -> BoxFuture<'a, Result<Progress, EgrnError>> {
        async move {
            let filter = json!({ "requestNumber": order_num });
            let requests = self.requests(access, &filter, 10).await?;
            let request = requests
                .iter()
                .find(|request| plain(&request["requestNumber"]).as_deref() == Some(order_num))
                .ok_or_else(|| {
                    EgrnError::Transient(format!("request {order_num} is not in the list"))
                })?;
            let said = plain(&request["requestStatus"])
                .or_else(|| plain(&request["statusCode"]))
                .unwrap_or_default();
            if said == READY {
                let document = plain(&request["id"]).ok_or_else(|| {
                    EgrnError::Transient(format!("request {order_num} has no id"))
                })?;
                return Ok(Progress::Ready(document));
            }
            let lower = said.to_lowercase();
            if REFUSED.iter().any(|word| lower.contains(word)) {
                return Ok(Progress::Refused(said));
            }
            Ok(Progress::Pending(said))
        }
        .boxed()
    }

    fn download<'a>(
        &'a self,
        access: &'a Access,
        document: &'a str,
    ) -> BoxFuture<'a, Result<Bytes, EgrnError>> {
        async move {
            let path = format!("/account-back/applications/{}/download", encoded(document));
            self.exchange
                .bytes(Method::GET, &path, &cookies(access)?, None)
                .await
        }
        .boxed()
    }
}
