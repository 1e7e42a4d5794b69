//! The queue of the order worker, where Redis is not one server that is always there. What
//! npm's `bull` sees of it is shown in tests/sdk/order_worker_queue.test.mjs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfare::adapter::order_worker::bull::{
    BullQueue, Failure, Handler, Job, JobContext, JobQueue, NewJob, Place, QueueError, QueueTimes,
    Worker, WorkerSettings,
};
use fanfare::engine::{Deployment, RedisCommands, RedisSettings};
use prometheus::Registry;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::redis::Redis;
use crate::redis_kinds::cluster;
use crate::support::eventually;

fn queue(deployment: Deployment, port: u16, prefix: &str) -> BullQueue {
    let settings = RedisSettings {
        deployment,
        hosts: vec![("127.0.0.1".to_owned(), port)],
        is_tls: false,
        username: None,
        password: None,
        database: 0,
        prefix: prefix.to_owned(),
        node_timeout: Duration::from_secs(30),
        hold_back: Duration::ZERO,
    };
    BullQueue::new(
        RedisCommands::new(settings),
        "orders",
        QueueTimes::default(),
    )
}

async fn add(queue: &BullQueue, id: &str, delay: Duration) -> Result<String, QueueError> {
    queue
        .add(&NewJob {
            id: Some(id),
            name: "process-order",
            data: &json!({"orderId": 7}),
            delay,
            attempts: 3,
            backoff: Duration::from_secs(2),
        })
        .await
}

/// Remembers what it did.
#[derive(Default)]
struct Notebook {
    done: Mutex<Vec<String>>,
}

impl Handler for Notebook {
    async fn handle(&self, job: &Job, context: JobContext<'_>) -> Result<Value, Failure> {
        context.progress(50).await;
        self.done.lock().unwrap().push(job.id.clone());
        Ok(json!({"done": true}))
    }

    async fn failed(&self, _: &Job, _: &str, _: bool) {}

    fn idle(&self) {}
}

#[tokio::test]
async fn bull_contract_cluster() {
    let servers = cluster().await;
    // Slots of all three servers.
    for prefix in ["{a}", "{b}", "{c}", "{d}", "{e}"] {
        let queue = queue(Deployment::Cluster, servers[0].port(), prefix);
        add(&queue, "one", Duration::ZERO).await.unwrap();
        add(&queue, "two", Duration::ZERO).await.unwrap();
        add(&queue, "one", Duration::ZERO).await.unwrap();
        add(&queue, "later", Duration::from_millis(1))
            .await
            .unwrap();
        assert_eq!(queue.counts().await.unwrap().waiting, 2);

        let waited = queue.wait().await.unwrap();
        let one = queue.take(waited.as_deref()).await.unwrap().unwrap();
        let two = queue.take(None).await.unwrap().unwrap();
        assert_eq!((one.id.as_str(), two.id.as_str()), ("one", "two"));
        assert_eq!(one.data, json!({"orderId": 7}));
        assert!(queue.renew(&one).await.unwrap());
        queue.progress("one", &json!(50)).await.unwrap();
        queue.log("one", "ж".repeat(5_000).as_str()).await.unwrap();
        queue.complete(&one, &json!(1)).await.unwrap();
        let again = queue.complete(&one, &json!(1)).await;
        assert!(matches!(again, Err(QueueError::Lost { .. })));
        queue.put_back(&two, Place::First, None).await.unwrap();
        eventually("the delayed job", async || {
            queue.promote().await.unwrap() == 1
        })
        .await;

        queue.pause().await.unwrap();
        assert!(queue.take(None).await.unwrap().is_none());
        queue.resume().await.unwrap();
        let next = queue.take(None).await.unwrap().unwrap();
        assert_eq!(next.id, "two");
        assert!(queue.recover().await.unwrap().returned.is_empty());
    }
}

#[tokio::test]
async fn a_worker_goes_on_when_redis_is_back() {
    let mut redis = Redis::start().await;
    let worker_queue = Arc::new(queue(Deployment::Single, redis.port(), "bull"));
    let handler = Arc::new(Notebook::default());
    let settings = WorkerSettings {
        grace: Duration::from_secs(5),
    };
    let worker = Worker::new(
        worker_queue,
        Arc::clone(&handler),
        settings,
        &Registry::new(),
    );
    let worker = worker.unwrap();
    let producer = queue(Deployment::Single, redis.port(), "bull");
    let stop = CancellationToken::new();
    let running = {
        let stop = stop.clone();
        tokio::spawn(async move { worker.run(&stop).await })
    };
    let is_done = async |id: &str| handler.done.lock().unwrap().iter().any(|done| done == id);
    add(&producer, "before", Duration::ZERO).await.unwrap();
    eventually("the first job", async || is_done("before").await).await;

    redis.stop();
    eventually("the outage", async || producer.counts().await.is_err()).await;
    redis.resume().await;

    eventually("a job to be added", async || {
        add(&producer, "after", Duration::ZERO).await.is_ok()
    })
    .await;
    eventually("the second job", async || is_done("after").await).await;
    let last = async || {
        producer
            .counts()
            .await
            .is_ok_and(|counts| counts.active == 0)
    };
    eventually("the end of the second job", last).await;
    stop.cancel();
    running.await.unwrap();
    assert_eq!(*handler.done.lock().unwrap(), ["before", "after"]);
}
