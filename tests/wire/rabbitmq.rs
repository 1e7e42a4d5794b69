//! A RabbitMQ node of its own, which the tests of this binary share: it needs seconds
//! to start. Each test has a virtual host. Whoever kills it has one alone.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::backing::free_port;
use crate::support::HttpClient;

/// Where Debian and its kin have the programs. The ones on the path change the user.
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";

/// Time for a node to start on a busy machine.
const START: Duration = Duration::from_secs(120);

/// The node that tests share, while there is one.
static SHARED: Mutex<Option<RabbitMq>> = Mutex::const_new(None);

/// A number for each virtual host of this process.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A node on free ports of loopback, with its files in a directory of its own.
pub(crate) struct RabbitMq {
    directory: TempDir,
    pub(crate) port: u16,
    management_port: u16,
    distribution_port: u16,
    epmd_port: u16,
    /// The script below, whose input we hold.
    running: Option<Child>,
}

/// Starts the node and ends it, as a crash would, when its input says so; or when
/// that ends because the test has, in whatever way. Then the files go as well.
const KEEPER: &str = r#"
trap '' INT
"$1" </dev/null & server=$!
read -r keep
kill -9 "$(cat "$RABBITMQ_PID_FILE")" "$server" 2>/dev/null
# It refuses as long as it believes that the node is there.
for _ in 1 2 3 4 5 6 7 8 9 10; do
    epmd -port "$ERL_EPMD_PORT" -kill >/dev/null 2>&1 && break
    sleep 0.2
done
[ -n "$keep" ] || rm -rf "$2"
"#;

/// A virtual host of the shared node.
pub(crate) struct Vhost {
    pub(crate) name: String,
    pub(crate) port: u16,
    management_port: u16,
}

impl Vhost {
    /// With nothing in it.
    pub(crate) async fn new() -> Self {
        let (port, management_port) = {
            let mut shared = SHARED.lock().await;
            if shared.is_none() {
                *shared = Some(RabbitMq::start().await);
            }
            let node = shared.as_ref().unwrap();
            (node.port, node.management_port)
        };
        let name = format!("test-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let vhost = Self {
            name,
            port,
            management_port,
        };
        let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
        let name = &vhost.name;
        vhost
            .manage("PUT", &format!("vhosts/{name}"), &json!({}))
            .await;
        vhost
            .manage("PUT", &format!("permissions/{name}/guest"), &all)
            .await;
        vhost
    }

    pub(crate) fn url(&self) -> String {
        self.url_of("guest", "guest")
    }

    pub(crate) fn url_of(&self, user: &str, password: &str) -> String {
        format!(
            "amqp://{user}:{password}@127.0.0.1:{}/{}",
            self.port, self.name
        )
    }

    /// A request to the API of the management plugin, which must succeed.
    pub(crate) async fn manage(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, body) = manage(self.management_port, method, path, body).await;
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {body}"
        );
        body
    }

    /// The names of the queues of this virtual host.
    pub(crate) async fn queues(&self) -> Vec<String> {
        let path = format!("queues/{}?columns=name", self.name);
        let queues = self.manage("GET", &path, &Value::Null).await;
        let mut names: Vec<String> = queues
            .as_array()
            .unwrap()
            .iter()
            .map(|queue| queue["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    /// The routing keys that are bound to the exchange of the chat.
    pub(crate) async fn bindings(&self) -> Vec<String> {
        let path = format!("exchanges/{}/chat3_updates/bindings/source", self.name);
        let bindings = self.manage("GET", &path, &Value::Null).await;
        let mut keys: Vec<String> = bindings
            .as_array()
            .unwrap()
            .iter()
            .map(|binding| binding["routing_key"].as_str().unwrap().to_owned())
            .collect();
        keys.sort();
        keys
    }
}

/// Status and body of an answer of the management plugin.
async fn manage(port: u16, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await else {
        return (0, Value::Null);
    };
    let headers = [
        ("Host", "127.0.0.1"),
        ("Content-Type", "application/json"),
        // guest:guest
        ("Authorization", "Basic Z3Vlc3Q6Z3Vlc3Q="),
    ];
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let answer = HttpClient::new(stream)
        .await
        .send_with(method, &format!("/api/{path}"), &headers, &body)
        .await;
    let body = serde_json::from_str(&answer.body).unwrap_or_default();
    (answer.status, body)
}

impl RabbitMq {
    pub(crate) async fn start() -> Self {
        let mut node = Self::prepare();
        node.resume().await;
        node
    }

    /// With its directory and its ports; nothing runs yet.
    pub(crate) fn prepare() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (port, management_port) = (free_port(), free_port());
        let path = directory.path();
        for folder in ["mnesia", "log", "home"] {
            std::fs::create_dir(path.join(folder)).unwrap();
        }
        let settings = [
            format!("listeners.tcp.1 = 127.0.0.1:{port}"),
            "management.tcp.ip = 127.0.0.1".to_owned(),
            format!("management.tcp.port = {management_port}"),
            "log.console = true".to_owned(),
            "log.file = false".to_owned(),
            "vm_memory_high_watermark.absolute = 512MiB".to_owned(),
            "disk_free_limit.absolute = 50MB".to_owned(),
        ];
        std::fs::write(path.join("rabbitmq.conf"), settings.join("\n") + "\n").unwrap();
        std::fs::write(path.join("enabled_plugins"), "[rabbitmq_management].").unwrap();
        Self {
            port,
            management_port,
            distribution_port: free_port(),
            epmd_port: free_port(),
            directory,
            running: None,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/", self.port)
    }

    /// Starts the node, with what it has kept, and waits until it answers.
    pub(crate) async fn resume(&mut self) {
        let path = self.directory.path();
        let at = |file: &str| path.join(file);
        let log = std::fs::File::create(at("console")).unwrap();
        let child = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(find("rabbitmq-server"))
            .arg(path)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("LANG", "C.UTF-8")
            .env("HOME", at("home"))
            .env(
                "RABBITMQ_NODENAME",
                format!("fanfare{}@localhost", self.port),
            )
            .env("RABBITMQ_MNESIA_BASE", at("mnesia"))
            .env("RABBITMQ_LOG_BASE", at("log"))
            .env("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("enabled_plugins"))
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_PID_FILE", at("pid"))
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1}",
            )
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.running = Some(child);
        let port = self.management_port;
        let started = async || {
            let (status, _) = manage(port, "GET", "overview", &Value::Null).await;
            status == 200
        };
        let came = tokio::time::timeout(START, async {
            while !started().await {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        if came.await.is_err() {
            let said = std::fs::read_to_string(at("console")).unwrap_or_default();
            panic!("RabbitMQ does not start; tests/run installs it. It says:\n{said}");
        }
    }

    /// Ends the node as a crash would; its files stay.
    pub(crate) fn kill(&mut self) {
        if let Some(mut keeper) = self.running.take() {
            let mut input = keeper.stdin.take().unwrap();
            input.write_all(b"keep\n").unwrap();
            keeper.wait().unwrap();
        }
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What speaks for the chat: declares its exchange and publishes.
pub(crate) struct Publisher {
    _connection: Connection,
    pub(crate) channel: Channel,
}

impl Publisher {
    pub(crate) async fn new(url: &str) -> Self {
        let connection = Connection::connect(&vhost_of(url), ConnectionProperties::default())
            .await
            .unwrap();
        let channel = connection.create_channel().await.unwrap();
        Self {
            _connection: connection,
            channel,
        }
    }

    /// As the chat does it.
    pub(crate) async fn declare_exchange(&self) {
        let options = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        self.channel
            .exchange_declare(
                "chat3_updates".into(),
                ExchangeKind::Topic,
                options,
                FieldTable::default(),
            )
            .await
            .unwrap();
    }

    pub(crate) async fn publish(&self, key: &str, body: &[u8]) {
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(2);
        self.channel
            .basic_publish(
                "chat3_updates".into(),
                key.into(),
                BasicPublishOptions::default(),
                body,
                properties,
            )
            .await
            .unwrap()
            .await
            .unwrap();
    }

    /// The next message of a queue.
    pub(crate) async fn take(&self, queue: &str) -> String {
        let options = BasicGetOptions { no_ack: true };
        let message = self.channel.basic_get(queue.into(), options).await.unwrap();
        let message = message.unwrap_or_else(|| panic!("nothing in {queue}"));
        String::from_utf8(message.delivery.data).unwrap()
    }

    /// A durable queue, bound if an exchange is named.
    pub(crate) async fn queue(&self, name: &str, exchange: Option<&str>) {
        let options = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        self.channel
            .queue_declare(name.into(), options, FieldTable::default())
            .await
            .unwrap();
        if let Some(exchange) = exchange {
            self.channel
                .queue_bind(
                    name.into(),
                    exchange.into(),
                    "#".into(),
                    QueueBindOptions::default(),
                    FieldTable::default(),
                )
                .await
                .unwrap();
        }
    }
}

/// The client library takes a path of `/` alone for a virtual host without a name.
fn vhost_of(url: &str) -> String {
    match url.strip_suffix('/') {
        Some(rest) => format!("{rest}/%2f"),
        None => url.to_owned(),
    }
}

fn find(name: &str) -> PathBuf {
    let path = Path::new(PROGRAMS).join(name);
    if path.exists() {
        path
    } else {
        PathBuf::from(name)
    }
}
