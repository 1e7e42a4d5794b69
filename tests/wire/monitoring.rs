//! What docs/monitoring shows: each figure in it is one that a server has.

use std::collections::BTreeSet;
use std::time::Duration;

use fanfare::config::{StoreConfig, WebhookConfig};
use fanfare_protocol::WebhookEventType;
use serde_json::{Value, json};

use crate::redis::Redis;
use crate::support::{TestServer, soon};
use crate::webhooks::Receiver;

const DASHBOARD: &str = include_str!("../../docs/monitoring/dashboard.json");
const ALERTS: &str = include_str!("../../docs/monitoring/alerts.yml");
const DOCUMENT: &str = include_str!("../../docs/monitoring.md");

/// The names of figures in a text. Parts of a histogram go by its name.
fn names(text: &str) -> BTreeSet<String> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| word.starts_with("fanfare_") || word.starts_with("process_"))
        .map(|word| {
            let is_histogram = word.contains("_duration_seconds");
            let whole = is_histogram
                .then(|| word.find("_duration_seconds"))
                .flatten();
            whole.map_or(word, |end| &word[..end + "_duration_seconds".len()])
        })
        .map(str::to_owned)
        .collect()
}

/// Everything that can be counted has happened on it once.
async fn figures() -> String {
    let redis = Redis::start().await;
    let mut receiver = Receiver::start().await;
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/fanfare.db", directory.path().display());
    let server = TestServer::with(|config| {
        config.engine.url = Some(redis.url().as_str().into());
        config.store = StoreConfig {
            url: Some(url.as_str().into()),
            ..StoreConfig::default()
        };
        let app = &mut config.apps[0];
        app.limits.messages_per_day = Some(1_000);
        let webhook = WebhookConfig::new(&receiver.url(), &[WebhookEventType::ChannelOccupied]);
        app.webhooks.push(webhook);
    })
    .await;
    let mut client = server.subscriber("news").await;
    server.trigger("news", "tick", "1").await;
    client.next().await;
    server.open("/app/nobody?protocol=7").await.closed().await;
    assert_eq!(server.http("GET", "/apps/1/channels", "").await.status, 404);
    receiver.next().await;
    soon("the outcome of the webhook", async {
        loop {
            let figures = server.ops("/metrics").await.body;
            let counted = "fanfare_webhooks_total{app_id=\"app-id\",outcome=\"delivered\"} 1";
            if figures.contains(counted) {
                return figures;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

#[tokio::test]
async fn every_figure_of_the_dashboard_the_alerts_and_the_document_exists() {
    let figures = figures().await;
    let existing: BTreeSet<&str> = figures
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .collect();

    for (file, text) in [
        ("dashboard.json", DASHBOARD),
        ("alerts.yml", ALERTS),
        ("monitoring.md", DOCUMENT),
    ] {
        let named = names(text);
        assert!(named.len() > 10, "{file}");
        for name in &named {
            assert!(
                existing.contains(name.as_str()),
                "{name} in {file}: {existing:?}"
            );
        }
    }
    let documented = names(DOCUMENT);
    for name in existing.iter().filter(|name| name.starts_with("fanfare_")) {
        assert!(
            documented.contains(*name),
            "{name} is not in docs/monitoring.md"
        );
    }
    // Quantiles come from buckets, and buckets are there.
    for histogram in ["publish", "api_request", "webhook"] {
        let count = format!("fanfare_{histogram}_duration_seconds_count");
        let counts: u64 = figures
            .lines()
            .filter(|line| line.starts_with(&count))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum();
        assert!(counts >= 1, "{histogram}: {figures}");
    }
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();

    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 10);
    for (position, panel) in panels.iter().enumerate() {
        assert_eq!(panel["id"], position + 1);
        assert!(panel["title"].is_string() && panel["description"].is_string());
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty());
        for target in targets {
            assert!(target["expr"].as_str().unwrap().contains("$instance"));
        }
    }
    assert_eq!(dashboard["uid"], json!("fanfare"));
}
