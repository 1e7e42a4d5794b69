//! Which path is answered by whom.

use hyper::Method;

use super::error::AdminError;
use super::{
    Admin, Call, accounts, apps, channels, connections, decode, deliveries, events, feed, keys,
    nodes, openapi, session, statistics, webhooks,
};
use crate::http::Answer;

/// Something that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    ListApps,
    CreateApp,
    ShowApp,
    UpdateApp,
    DeleteApp,
    ListKeys,
    CreateKey,
    DeleteKey,
    ListWebhooks,
    CreateWebhook,
    ReplaceWebhook,
    DeleteWebhook,
    TestWebhook,
    ListDeliveries,
    ShowDelivery,
    Redeliver,
    TotalStatistics,
    AppStatistics,
    ListConnections,
    ShowConnection,
    CloseConnection,
    CloseUser,
    ListChannels,
    ShowChannel,
    ListPast,
    Publish,
    TotalFeed,
    AppFeed,
    ListNodes,
    ShowSession,
    SignIn,
    SignOut,
    Begin,
    ChangePassword,
    ListAccounts,
    CreateAccount,
    ChangeAccount,
    DeleteAccount,
    ListAudit,
    Document,
}

impl Operation {
    /// Whether it is for people who have not signed in.
    pub(super) fn is_for_everybody(self) -> bool {
        matches!(self, Self::ShowSession | Self::SignIn | Self::Begin)
    }

    /// Whether it is for people who may change nothing, except of themselves.
    pub(super) fn is_for_viewers(self) -> bool {
        let is_about_oneself = matches!(self, Self::SignOut | Self::ChangePassword);
        let is_look = ROUTES
            .iter()
            .any(|(method, _, operation)| *operation == self && *method == Method::GET);
        is_look || is_about_oneself || self.is_for_everybody()
    }
}

/// Every route, below the root of the API.
const ROUTES: [(Method, &str, Operation); 40] = {
    use Operation as O;
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    const PUT: Method = Method::PUT;
    const PATCH: Method = Method::PATCH;
    const DELETE: Method = Method::DELETE;
    [
        (GET, "/apps", O::ListApps),
        (POST, "/apps", O::CreateApp),
        (GET, "/apps/{app}", O::ShowApp),
        (PATCH, "/apps/{app}", O::UpdateApp),
        (DELETE, "/apps/{app}", O::DeleteApp),
        (GET, "/apps/{app}/keys", O::ListKeys),
        (POST, "/apps/{app}/keys", O::CreateKey),
        (DELETE, "/apps/{app}/keys/{key}", O::DeleteKey),
        (GET, "/apps/{app}/webhooks", O::ListWebhooks),
        (POST, "/apps/{app}/webhooks", O::CreateWebhook),
        (PUT, "/apps/{app}/webhooks/{webhook}", O::ReplaceWebhook),
        (DELETE, "/apps/{app}/webhooks/{webhook}", O::DeleteWebhook),
        (POST, "/apps/{app}/webhooks/{webhook}/test", O::TestWebhook),
        (GET, "/apps/{app}/deliveries", O::ListDeliveries),
        (GET, "/apps/{app}/deliveries/{delivery}", O::ShowDelivery),
        (
            POST,
            "/apps/{app}/deliveries/{delivery}/redeliver",
            O::Redeliver,
        ),
        (GET, "/statistics", O::TotalStatistics),
        (GET, "/apps/{app}/statistics", O::AppStatistics),
        (GET, "/apps/{app}/connections", O::ListConnections),
        (GET, "/connections/{socket}", O::ShowConnection),
        (DELETE, "/connections/{socket}", O::CloseConnection),
        (DELETE, "/apps/{app}/users/{user}/connections", O::CloseUser),
        (GET, "/apps/{app}/channels", O::ListChannels),
        (GET, "/apps/{app}/channels/{channel}", O::ShowChannel),
        (GET, "/apps/{app}/channels/{channel}/events", O::ListPast),
        (POST, "/apps/{app}/events", O::Publish),
        (GET, "/feed", O::TotalFeed),
        (GET, "/apps/{app}/feed", O::AppFeed),
        (GET, "/nodes", O::ListNodes),
        (GET, "/session", O::ShowSession),
        (POST, "/session", O::SignIn),
        (DELETE, "/session", O::SignOut),
        (POST, "/session/first", O::Begin),
        (PUT, "/session/password", O::ChangePassword),
        (GET, "/accounts", O::ListAccounts),
        (POST, "/accounts", O::CreateAccount),
        (PATCH, "/accounts/{account}", O::ChangeAccount),
        (DELETE, "/accounts/{account}", O::DeleteAccount),
        (GET, "/audit", O::ListAudit),
        (GET, "/openapi.json", O::Document),
    ]
};

/// What `method` of `path` asks for, and what stands where the pattern has names.
pub(super) fn find(method: &Method, path: &str) -> Result<(Operation, Vec<String>), AdminError> {
    let mut allowed = Vec::new();
    for (known, pattern, operation) in ROUTES {
        let Some(parameters) = matches(pattern, path) else {
            continue;
        };
        if known == *method {
            return Ok((operation, parameters));
        }
        allowed.push(known);
    }
    if allowed.is_empty() {
        let error = AdminError::not_found("unknown_path", "there is nothing at this path");
        return Err(error.expected("a path of /admin/v1/openapi.json"));
    }
    Err(AdminError::wrong_method(&allowed))
}

fn matches(pattern: &str, path: &str) -> Option<Vec<String>> {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    let mut parameters = Vec::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(parameters),
            (Some(name), Some(segment)) if name.starts_with('{') && !segment.is_empty() => {
                parameters.push(decode(segment));
            }
            (Some(name), Some(segment)) if name == segment => {}
            _ => return None,
        }
    }
}

/// Does what is asked for.
pub(super) async fn run(
    operation: Operation,
    admin: &Admin,
    call: &Call<'_>,
) -> Result<Answer, AdminError> {
    match operation {
        Operation::ListApps => apps::list(admin, call).await,
        Operation::CreateApp => apps::create(admin, call).await,
        Operation::ShowApp => apps::show(admin, call).await,
        Operation::UpdateApp => apps::update(admin, call).await,
        Operation::DeleteApp => apps::delete(admin, call).await,
        Operation::ListKeys => keys::list(admin, call).await,
        Operation::CreateKey => keys::create(admin, call).await,
        Operation::DeleteKey => keys::delete(admin, call).await,
        Operation::ListWebhooks => webhooks::list(admin, call).await,
        Operation::CreateWebhook => webhooks::create(admin, call).await,
        Operation::ReplaceWebhook => webhooks::replace(admin, call).await,
        Operation::DeleteWebhook => webhooks::delete(admin, call).await,
        Operation::TestWebhook => webhooks::test(admin, call).await,
        Operation::ListDeliveries => deliveries::list(admin, call).await,
        Operation::ShowDelivery => deliveries::show(admin, call).await,
        Operation::Redeliver => deliveries::redeliver(admin, call).await,
        Operation::TotalStatistics => statistics::total(admin, call).await,
        Operation::AppStatistics => statistics::of_app(admin, call).await,
        Operation::ListConnections => connections::list(admin, call).await,
        Operation::ShowConnection => connections::show(admin, call).await,
        Operation::CloseConnection => connections::close(admin, call).await,
        Operation::CloseUser => connections::close_user(admin, call).await,
        Operation::ListChannels => channels::list(admin, call).await,
        Operation::ShowChannel => channels::show(admin, call).await,
        Operation::ListPast => channels::past(admin, call).await,
        Operation::Publish => events::publish(admin, call).await,
        Operation::TotalFeed => feed::total(admin, call).await,
        Operation::AppFeed => feed::of_app(admin, call).await,
        Operation::ListNodes => nodes::list(admin, call).await,
        Operation::ShowSession => session::show(admin, call).await,
        Operation::SignIn => session::sign_in(admin, call).await,
        Operation::SignOut => session::sign_out(admin, call).await,
        Operation::Begin => session::begin(admin, call).await,
        Operation::ChangePassword => session::change_password(admin, call).await,
        Operation::ListAccounts => accounts::list(admin, call).await,
        Operation::CreateAccount => accounts::create(admin, call).await,
        Operation::ChangeAccount => accounts::change(admin, call).await,
        Operation::DeleteAccount => accounts::delete(admin, call).await,
        Operation::ListAudit => accounts::audit(admin, call).await,
        Operation::Document => openapi::document(admin, call).await,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;
    use utoipa::OpenApi;

    use super::super::ROOT;
    use super::*;

    #[test]
    fn the_document_has_exactly_the_routes() {
        let document: Value = serde_json::to_value(openapi::Document::openapi()).unwrap();

        let documented: BTreeSet<String> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| {
                let methods = item.as_object().unwrap().keys();
                methods.map(move |method| format!("{} {path}", method.to_uppercase()))
            })
            .collect();
        let routed: BTreeSet<String> = ROUTES
            .iter()
            .map(|(method, pattern, _)| format!("{method} {ROOT}{pattern}"))
            .collect();

        assert_eq!(documented, routed);
        assert_eq!(routed.len(), ROUTES.len());
    }

    #[test]
    fn paths_are_matched_as_a_whole_and_decoded() {
        let found = find(&Method::GET, "/apps/1/channels/%23a%2Fb").unwrap();
        let expected = vec!["1".to_owned(), "#a/b".to_owned()];
        assert_eq!(found, (Operation::ShowChannel, expected));
        for path in [
            "",
            "/",
            "/apps/",
            "/apps//keys",
            "/apps/1/",
            "/apps/1/keys/a/b",
        ] {
            assert!(find(&Method::GET, path).is_err(), "{path}");
        }
        assert!(find(&Method::PUT, "/apps").is_err());
    }
}
