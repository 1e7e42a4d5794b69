//! Webhooks, as a back end receives them: checklist 168 to 180.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfare::config::{AppConfig, Config, WebhookConfig};
use fanfare_protocol::{AppSecret, WebhookEventType, auth};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::support::{ID, KEY, SECRET, TestServer, app, soon};

/// A back end that says exactly what came, byte by byte.
pub(crate) struct Receiver {
    address: SocketAddr,
    requests: mpsc::Receiver<Request>,
    answers: Arc<Mutex<Vec<Reply>>>,
}

/// What the back end does with a request; when nothing is left to do, it
/// answers with 200.
#[derive(Clone, Copy)]
enum Reply {
    Status(u16),
    /// Says nothing, and keeps the connection open.
    Hang,
}

pub(crate) struct Request {
    head: String,
    pub(crate) body: String,
}

impl Request {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        self.json()["events"].as_array().unwrap().clone()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let start = format!("{name}: ");
        self.head
            .split("\r\n")
            .find_map(|line| line.strip_prefix(&start))
            .unwrap_or_else(|| panic!("no header {name} in {}", self.head))
    }
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        Self::replying(&[]).await
    }

    async fn replying(replies: &[Reply]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::channel(4_096);
        let answers = Arc::new(Mutex::new(replies.iter().rev().copied().collect()));
        let replies = Arc::clone(&answers);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, sender.clone(), Arc::clone(&replies)));
            }
        });
        Self {
            address,
            requests,
            answers,
        }
    }

    /// Of which every request hangs.
    async fn dead() -> Self {
        let receiver = Self::start().await;
        *receiver.answers.lock().unwrap() = vec![Reply::Hang; 10_000];
        receiver
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) async fn next(&mut self) -> Request {
        soon("a webhook", self.requests.recv()).await.unwrap()
    }

    /// The next `count` events, in however many requests they come.
    pub(crate) async fn events(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(self.next().await.events());
        }
        assert_eq!(events.len(), count, "{events:?}");
        events
    }
}

async fn serve(
    mut stream: TcpStream,
    requests: mpsc::Sender<Request>,
    replies: Arc<Mutex<Vec<Reply>>>,
) {
    let mut received = Vec::new();
    loop {
        let Some(request) = read_request(&mut stream, &mut received).await else {
            return;
        };
        let reply = replies.lock().unwrap().pop().unwrap_or(Reply::Status(200));
        requests.send(request).await.unwrap();
        match reply {
            Reply::Status(status) => {
                let answer = format!(
                    "HTTP/1.1 {status} Whatever\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
                );
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            Reply::Hang => {
                // Until the other side has had enough.
                let _ = stream.read_to_end(&mut received).await;
                return;
            }
        }
    }
}

/// `None` at the end of the stream.
async fn read_request(stream: &mut TcpStream, received: &mut Vec<u8>) -> Option<Request> {
    loop {
        let text = String::from_utf8_lossy(received).into_owned();
        if let Some((head, rest)) = text.split_once("\r\n\r\n") {
            let length = head
                .split("\r\n")
                .find_map(|line| line.strip_prefix("Content-Length: "))
                .map_or(0, |length| length.parse::<usize>().unwrap());
            if rest.len() >= length {
                let request = Request {
                    head: head.to_owned(),
                    body: rest[..length].to_owned(),
                };
                received.drain(..head.len() + 4 + length);
                return Some(request);
            }
        }
        if stream.read_buf(received).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

/// A hook for all types of events.
fn hook(receiver: &Receiver) -> WebhookConfig {
    WebhookConfig::new(&receiver.url(), &WebhookEventType::ALL)
}

/// With fast retries, and one webhook.
async fn server(hook: WebhookConfig, change: impl FnOnce(&mut Config)) -> TestServer {
    TestServer::with(|config| {
        config.webhooks.hold_back = Duration::from_millis(50);
        config.webhooks.batch_window = Duration::from_millis(1);
        config.webhooks.first_retry = Duration::from_millis(20);
        config.apps[0].webhooks.push(hook);
        change(config);
    })
    .await
}

fn event(name: &str, channel: &str) -> Value {
    json!({"name": name, "channel": channel})
}

/// The value of a metric line.
async fn metric(server: &TestServer, line: &str) -> Option<u64> {
    let text = server.ops("/metrics").await.body;
    let value = text
        .lines()
        .find_map(|found| found.strip_prefix(line)?.strip_prefix(' '))?;
    Some(value.parse().unwrap())
}

/// Waits until a metric line has this value.
async fn metric_reaches(server: &TestServer, line: &str, value: u64) {
    soon(line, async {
        while metric(server, line).await != Some(value) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

fn outcome(name: &str) -> String {
    format!(r#"fanfare_webhooks_total{{app_id="{ID}",outcome="{name}"}}"#)
}

/// 168.
#[tokio::test]
async fn the_exact_body_is_signed_and_headers_have_their_capitals() {
    let mut receiver = Receiver::start().await;
    let mut hook = hook(&receiver);
    hook.headers
        .insert("x-my-token".to_owned(), "precious".into());
    let server = server(hook, |_| {}).await;

    let _client = server.subscriber("news").await;

    let request = receiver.next().await;
    assert!(request.head.starts_with("POST /hook HTTP/1.1\r\n"));
    assert_eq!(request.header("Content-Type"), "application/json");
    assert_eq!(request.header("X-Pusher-Key"), KEY);
    assert_eq!(request.header("X-My-Token"), "precious");
    assert_eq!(request.header("Host"), receiver.address.to_string());
    assert_eq!(
        request.header("X-Pusher-Signature"),
        auth::sign_webhook(&AppSecret::new(SECRET), request.body.as_bytes())
    );
    assert!(request.json()["time_ms"].is_u64());
    assert!(request.body.starts_with(r#"{"time_ms":"#));
}

/// 169 and 170.
#[tokio::test]
async fn only_the_first_comes_and_the_last_goes() {
    let mut receiver = Receiver::start().await;
    let server = server(hook(&receiver), |_| {}).await;

    let mut first = server.subscriber("news").await;
    assert_eq!(
        receiver.events(1).await,
        [event("channel_occupied", "news")]
    );
    let mut second = server.subscriber("news").await;
    first.unsubscribe("news").await;
    first.receives_nothing_before_pong().await;
    second.unsubscribe("news").await;

    assert_eq!(receiver.events(1).await, [event("channel_vacated", "news")]);
}

/// 170 and 171: the marker at the end is the next that is told.
#[tokio::test]
async fn who_returns_in_time_was_never_gone() {
    let mut receiver = Receiver::start().await;
    let server = server(hook(&receiver), |config| {
        config.webhooks.hold_back = Duration::from_secs(600);
    })
    .await;
    let mut client = server.connect().await;
    client.join("presence-room", r#"{"user_id":"u1"}"#).await;
    receiver.events(2).await;

    client.unsubscribe("presence-room").await;
    client.join("presence-room", r#"{"user_id":"u1"}"#).await;
    client.subscribe("marker").await;

    assert_eq!(
        receiver.events(1).await,
        [event("channel_occupied", "marker")]
    );
}

/// 171 and 172.
#[tokio::test]
async fn a_channel_is_occupied_before_members_come_and_vacated_after_they_went() {
    let mut receiver = Receiver::start().await;
    let server = server(hook(&receiver), |_| {}).await;
    let member = |name: &str| json!({"name": name, "channel": "presence-room", "user_id": "7"});

    let mut first = server.connect().await;
    first.join("presence-room", r#"{"user_id":7}"#).await;
    assert_eq!(
        receiver.events(2).await,
        [
            event("channel_occupied", "presence-room"),
            member("member_added")
        ]
    );
    // The same user once more is no news.
    let mut second = server.connect().await;
    second.join("presence-room", r#"{"user_id":7}"#).await;
    first.unsubscribe("presence-room").await;
    first.receives_nothing_before_pong().await;
    second.unsubscribe("presence-room").await;

    assert_eq!(
        receiver.events(2).await,
        [
            member("member_removed"),
            event("channel_vacated", "presence-room")
        ]
    );
}

/// 173.
#[tokio::test]
async fn client_events_are_told_with_texts_only() {
    let mut receiver = Receiver::start().await;
    let hook = WebhookConfig::new(&receiver.url(), &[WebhookEventType::ClientEvent]);
    let server = server(hook, |_| {}).await;
    let mut client = server.connect().await;
    client.subscribe_private("private-orders").await;
    client.join("presence-room", r#"{"user_id":"u1"}"#).await;

    for channel in ["private-orders", "presence-room"] {
        client
            .send(&json!({"event": "client-bump", "channel": channel, "data": {"order": 7}}))
            .await;
    }

    let socket_id = client.socket_id();
    assert_eq!(
        receiver.events(2).await,
        [
            json!({"name": "client_event", "channel": "private-orders", "event": "client-bump",
                "data": "{\"order\":7}", "socket_id": socket_id}),
            json!({"name": "client_event", "channel": "presence-room", "event": "client-bump",
                "data": "{\"order\":7}", "socket_id": socket_id, "user_id": "u1"}),
        ]
    );
}

/// 174.
#[tokio::test]
async fn cache_misses_and_counts_are_told() {
    let mut receiver = Receiver::start().await;
    let types = [
        WebhookEventType::CacheMiss,
        WebhookEventType::SubscriptionCount,
    ];
    let hook = WebhookConfig::new(&receiver.url(), &types);
    let server = server(hook, |config| config.apps[0].subscription_count = true).await;

    let mut client = server.connect().await;
    client
        .send(&json!({"event": "pusher:subscribe", "data": {"channel": "cache-menu"}}))
        .await;

    assert_eq!(
        receiver.events(2).await,
        [
            event("cache_miss", "cache-menu"),
            json!({"name": "subscription_count", "channel": "cache-menu", "subscription_count": 1}),
        ]
    );
}

/// 175.
#[tokio::test]
async fn each_url_hears_of_its_types_and_channels() {
    let mut vacated = Receiver::start().await;
    let mut kitchens = Receiver::start().await;
    let mut hook = WebhookConfig::new(&kitchens.url(), &[WebhookEventType::ChannelOccupied]);
    hook.channel_prefix = Some("kitchen-".to_owned());
    hook.channel_suffix = Some("-eu".to_owned());
    hook.channel_pattern = Some("^kitchen-[0-9]+-".to_owned());
    let server = server(hook, |config| {
        config.apps[0].webhooks.push(WebhookConfig::new(
            &vacated.url(),
            &[WebhookEventType::ChannelVacated],
        ));
    })
    .await;

    let mut client = server.connect().await;
    for channel in ["kitchen-7-us", "kitchen-x-eu", "bar-7-eu", "kitchen-7-eu"] {
        client.subscribe(channel).await;
    }
    client.unsubscribe("bar-7-eu").await;

    assert_eq!(
        kitchens.events(1).await,
        [event("channel_occupied", "kitchen-7-eu")]
    );
    assert_eq!(
        vacated.events(1).await,
        [event("channel_vacated", "bar-7-eu")]
    );
}

/// 176.
#[tokio::test]
async fn events_share_a_request_if_the_app_wants_it() {
    let mut receiver = Receiver::start().await;
    let server = server(hook(&receiver), |config| {
        config.webhooks.batch_window = Duration::from_secs(2);
    })
    .await;
    let mut client = server.connect().await;
    for channel in ["a", "b", "c"] {
        client.subscribe(channel).await;
    }
    assert_eq!(receiver.next().await.events().len(), 3);

    let mut receiver = Receiver::start().await;
    let server = self::server(hook(&receiver), |config| {
        config.apps[0].webhook_batching = false;
    })
    .await;
    let mut client = server.connect().await;
    for channel in ["a", "b", "c"] {
        client.subscribe(channel).await;
    }
    for channel in ["a", "b", "c"] {
        let events = receiver.next().await.events();
        assert_eq!(events, [event("channel_occupied", channel)]);
    }
}

/// 177 and 178, with a redirect that nobody follows.
#[tokio::test]
async fn what_is_not_taken_is_sent_again_unchanged() {
    let replies = [
        Reply::Status(500),
        Reply::Status(302),
        Reply::Hang,
        Reply::Status(204),
    ];
    let mut receiver = Receiver::replying(&replies).await;
    let server = server(hook(&receiver), |config| {
        config.webhooks.timeout = Duration::from_millis(300);
    })
    .await;

    let _client = server.subscriber("news").await;

    let first = receiver.next().await;
    for _ in 1..replies.len() {
        let again = receiver.next().await;
        assert!(again.head.starts_with("POST /hook "));
        assert_eq!(again.body, first.body);
        assert_eq!(
            again.header("X-Pusher-Signature"),
            first.header("X-Pusher-Signature")
        );
    }
    metric_reaches(&server, &outcome("delivered"), 1).await;
    assert_eq!(metric(&server, &outcome("retried")).await, Some(3));
}

/// 177: the times at which attempts arrive follow the schedule.
#[tokio::test]
async fn what_is_never_taken_is_given_up_after_its_time() {
    let mut receiver = Receiver::replying(&[Reply::Status(500); 50]).await;
    let server = server(hook(&receiver), |config| {
        config.webhooks.retry_for = Duration::from_millis(400);
    })
    .await;

    let _client = server.subscriber("news").await;
    metric_reaches(&server, &outcome("given_up"), 1).await;

    // 20, 40, 80, 160 ms: the next one would be too late.
    let mut attempts = 0;
    while receiver.requests.try_recv().is_ok() {
        attempts += 1;
    }
    assert!((2..=5).contains(&attempts), "{attempts}");
    assert_eq!(
        metric(&server, &outcome("retried")).await,
        Some(attempts - 1)
    );
}

#[tokio::test]
async fn later_events_do_not_wait_for_one_that_is_refused() {
    let mut receiver = Receiver::replying(&[Reply::Status(400)]).await;
    let server = server(hook(&receiver), |config| {
        config.webhooks.first_retry = Duration::from_secs(3_600);
        config.webhooks.retry_for = Duration::from_secs(86_400);
    })
    .await;

    let mut client = server.connect().await;
    client.subscribe("poison").await;
    assert_eq!(
        receiver.events(1).await,
        [event("channel_occupied", "poison")]
    );
    client.subscribe("news").await;

    assert_eq!(
        receiver.events(1).await,
        [event("channel_occupied", "news")]
    );
}

/// 179.
#[tokio::test]
async fn encrypted_channels_have_requests_of_their_own() {
    let mut receiver = Receiver::start().await;
    let server = server(hook(&receiver), |config| {
        config.webhooks.batch_window = Duration::from_secs(1);
    })
    .await;
    let mut client = server.connect().await;
    client.subscribe("a").await;
    client.subscribe_private("private-encrypted-b").await;
    client.subscribe("c").await;

    let mut requests = Vec::new();
    while requests.iter().map(Vec::len).sum::<usize>() < 3 {
        requests.push(receiver.next().await.events());
    }
    for events in requests {
        let encrypted = events
            .iter()
            .filter(|event| event["channel"] == "private-encrypted-b")
            .count();
        assert!(encrypted == 0 || encrypted == events.len(), "{events:?}");
    }
}

/// 180: every dead URL has a request under way that never ends, and the living
/// one is served meanwhile.
#[tokio::test]
async fn a_thousand_dead_urls_delay_nobody() {
    const DEAD_APPS: usize = 1_000;
    let mut dead = Receiver::dead().await;
    let mut alive = Receiver::start().await;
    let server = server(hook(&alive), |config| {
        config.webhooks.timeout = Duration::from_secs(3_600);
        for number in 0..DEAD_APPS {
            let name = format!("dead-{number}");
            config.apps.push(AppConfig {
                webhooks: vec![hook(&dead)],
                ..app(&name, &name, "secret")
            });
        }
    })
    .await;

    let mut clients = Vec::new();
    for number in 0..DEAD_APPS {
        let target = format!("/app/dead-{number}?protocol=7");
        let mut client = server.connect_to(&target).await;
        client.subscribe("news").await;
        clients.push(client);
    }
    let mut requests_of = HashMap::new();
    for _ in 0..DEAD_APPS {
        let request = dead.next().await;
        *requests_of
            .entry(request.header("X-Pusher-Key").to_owned())
            .or_insert(0) += 1;
    }
    assert_eq!(requests_of.len(), DEAD_APPS);

    let _client = server.subscriber("news").await;
    assert_eq!(alive.events(1).await[0], event("channel_occupied", "news"));
}

#[tokio::test]
async fn private_addresses_are_refused_where_the_operator_says_so() {
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let mut receiver = Receiver::start().await;
        let url = format!("http://{host}:{}/hook", receiver.address.port());
        let hook = WebhookConfig::new(&url, &WebhookEventType::ALL);
        let server = server(hook, |config| config.webhooks.deny_private_targets = true).await;

        let _client = server.subscriber("news").await;

        metric_reaches(&server, &outcome("refused"), 1).await;
        assert!(receiver.requests.try_recv().is_err(), "{host}");
    }
}

#[tokio::test]
async fn cloud_metadata_is_always_refused() {
    let url = "http://169.254.169.254/latest/meta-data";
    let hook = WebhookConfig::new(url, &WebhookEventType::ALL);
    let server = server(hook, |_| {}).await;

    let _client = server.subscriber("news").await;

    metric_reaches(&server, &outcome("refused"), 1).await;
}

#[tokio::test]
async fn the_last_that_is_told_is_that_all_are_gone() {
    let mut receiver = Receiver::start().await;
    let mut server = server(hook(&receiver), |config| {
        config.webhooks.hold_back = Duration::from_secs(600);
        config.server.shutdown_grace = Duration::from_millis(10);
    })
    .await;
    let client = server.subscriber("news").await;
    receiver.events(1).await;

    server.stop();
    drop(client);
    server.ended().await;

    assert_eq!(receiver.events(1).await, [event("channel_vacated", "news")]);
}
