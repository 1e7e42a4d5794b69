//! A crowd on three nodes, against a model.
//!
//! Clients connect, join, leave and vanish at random while nodes are killed,
//! frozen and replaced. In the end a model, which knows only who is connected and
//! what each has joined, says what every member list on every node, every client's
//! own view, and the sum of all webhooks must be.
//!
//! `FANFARE_CROWD` makes it larger: `CLIENTS,SECONDS[,SEED]`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::{RwLock, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::deployment::{Deployment, Node, in_short};
use crate::support::{Client, auth_for, eventually, target};
use crate::webhooks::Receiver;

/// Channels, and who is in them.
type Rooms = BTreeMap<String, BTreeSet<String>>;

/// Tasks that move clients at the same time.
const MOVERS: usize = 8;

/// What happens to a node.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Killed,
    Frozen,
    Drained,
}

/// How large the crowd is.
struct Size {
    clients: usize,
    time: Duration,
    seed: u64,
}

impl Size {
    fn from_environment() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "it is the test's, not the server's"
        )]
        let text = std::env::var("FANFARE_CROWD").unwrap_or_default();
        let mut numbers = text.split(',').filter_map(|word| word.parse().ok());
        Self {
            clients: numbers.next().unwrap_or(40).try_into().unwrap(),
            time: Duration::from_secs(numbers.next().unwrap_or(8)),
            seed: numbers.next().unwrap_or_else(rand::random),
        }
    }

    /// About ten clients each.
    fn rooms(&self) -> usize {
        (self.clients / 10).max(2)
    }
}

/// What clients were told that cannot be, in words.
type Complaints = Arc<Mutex<Vec<String>>>;

/// One client and what it has seen of others. Ends with its connection.
struct Person {
    orders: mpsc::Sender<Order>,
    joined: HashMap<String, String>,
}

enum Order {
    Join {
        room: String,
        user: String,
        done: oneshot::Sender<()>,
    },
    Leave(String),
    Tell(oneshot::Sender<Rooms>),
}

impl Person {
    /// `None` when the node is going away at the moment.
    async fn connect(node: &Node, complaints: &Complaints) -> Option<Self> {
        let address = node.address;
        // Whatever goes wrong with a node that is being killed is no news.
        let connecting = tokio::spawn(async move {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let (mut client, _) = Client::upgrade(stream, &target(), "").await;
            client.establish().await;
            client
        });
        let client = connecting.await.ok()?;
        let (orders, inbox) = mpsc::channel(16);
        tokio::spawn(live(client, inbox, Arc::clone(complaints)));
        Some(Self {
            orders,
            joined: HashMap::new(),
        })
    }

    /// Returns false when the connection has ended.
    async fn join(&mut self, room: &str, user: &str) -> bool {
        let (done, joined) = oneshot::channel();
        let order = Order::Join {
            room: room.to_owned(),
            user: user.to_owned(),
            done,
        };
        if self.orders.send(order).await.is_err() || joined.await.is_err() {
            return false;
        }
        self.joined.insert(room.to_owned(), user.to_owned());
        true
    }

    async fn leave(&mut self, room: &str) -> bool {
        self.joined.remove(room);
        self.orders
            .send(Order::Leave(room.to_owned()))
            .await
            .is_ok()
    }

    /// What this client believes.
    async fn view(&self) -> Option<Rooms> {
        let (sender, view) = oneshot::channel();
        self.orders.send(Order::Tell(sender)).await.ok()?;
        view.await.ok()
    }
}

async fn live(mut client: Client, mut inbox: mpsc::Receiver<Order>, complaints: Complaints) {
    let mut view = Rooms::new();
    let mut joining: HashMap<String, oneshot::Sender<()>> = HashMap::new();
    loop {
        let order = tokio::select! {
            order = inbox.recv() => order,
            frame = client.next_frame() => {
                let Some(frame) = frame else { return };
                let Ok(message) = serde_json::from_slice::<Value>(&frame.payload) else {
                    return;
                };
                if !see(&message, &mut view, &mut joining) {
                    let about = view.get(message["channel"].as_str().unwrap_or_default());
                    complaints.lock().unwrap().push(format!("{message} to one who saw {about:?}"));
                }
                continue;
            }
            // A quiet time is no failure.
            () = tokio::time::sleep(Duration::from_secs(5)) => continue,
        };
        match order {
            None => return,
            Some(Order::Join { room, user, done }) => {
                let data = json!({ "user_id": user }).to_string();
                let auth = auth_for(client.socket_id(), &room, Some(&data));
                client
                    .send(&json!({
                        "event": "pusher:subscribe",
                        "data": {"auth": auth, "channel": room, "channel_data": data}
                    }))
                    .await;
                joining.insert(room, done);
            }
            Some(Order::Leave(room)) => {
                client.unsubscribe(&room).await;
                view.remove(&room);
            }
            Some(Order::Tell(answer)) => drop(answer.send(view.clone())),
        }
    }
}

/// Returns false for a message that does not fit what was seen before.
fn see(
    message: &Value,
    view: &mut Rooms,
    joining: &mut HashMap<String, oneshot::Sender<()>>,
) -> bool {
    let Some(room) = message["channel"].as_str() else {
        return false;
    };
    let data: Value = serde_json::from_str(message["data"].as_str().unwrap()).unwrap();
    let user = || data["user_id"].as_str().unwrap().to_owned();
    match message["event"].as_str().unwrap() {
        "pusher_internal:subscription_succeeded" => {
            let ids = data["presence"]["ids"].as_array().unwrap().iter();
            let ids: BTreeSet<String> = ids.map(|id| id.as_str().unwrap().to_owned()).collect();
            view.insert(room.to_owned(), ids);
            joining
                .remove(room)
                .is_some_and(|done| done.send(()).is_ok())
        }
        // What was on its way when the client left means nothing to it.
        "pusher_internal:member_added" => {
            view.get_mut(room).is_none_or(|users| users.insert(user()))
        }
        "pusher_internal:member_removed" => {
            view.get_mut(room).is_none_or(|users| users.remove(&user()))
        }
        _ => false,
    }
}

/// Comings less goings, as the back end was told: of channels, and of members.
type Sums = Arc<Mutex<BTreeMap<String, i32>>>;

/// Adds up what the back end is told. Requests of two nodes may overtake one
/// another, so that only sums mean something.
async fn add_up(mut back_end: Receiver, sums: Sums) {
    loop {
        let Some(request) = back_end.requests.recv().await else {
            return;
        };
        let mut sums = sums.lock().unwrap();
        for event in request.events() {
            let told = in_short(&event);
            let (kind, what) = told.split_once(' ').unwrap();
            let change = match kind {
                "occupied" | "added" => 1,
                "vacated" | "removed" => -1,
                other => panic!("{other}"),
            };
            *sums.entry(what.to_owned()).or_default() += change;
        }
    }
}

/// What they must be.
fn sums_of(rooms: &Rooms) -> BTreeMap<String, i32> {
    let mut sums = BTreeMap::new();
    for (room, users) in rooms {
        sums.insert(room.clone(), 1);
        for user in users {
            sums.insert(format!("{room} {user}"), 1);
        }
    }
    sums
}

/// The member lists that a node answers with.
async fn lists(node: &Node) -> Rooms {
    let mut rooms = Rooms::new();
    let channels = node
        .get("/channels", &[("filter_by_prefix", "presence-")])
        .await;
    for room in channels["channels"].as_object().unwrap().keys() {
        let users = node.get(&format!("/channels/{room}/users"), &[]).await;
        let users = users["users"].as_array().unwrap().iter();
        let users = users.map(|user| user["id"].as_str().unwrap().to_owned());
        rooms.insert(room.clone(), users.collect());
    }
    rooms
}

/// Those of the sums that are not zero.
fn told(sums: &Sums) -> BTreeMap<String, i32> {
    let mut told = sums.lock().unwrap().clone();
    told.retain(|_, sum| *sum != 0);
    told
}

type Nodes = Arc<Vec<RwLock<Node>>>;

/// Moves some clients about until the time is over, and returns them.
async fn move_about(
    nodes: Nodes,
    complaints: Complaints,
    gate: Arc<RwLock<()>>,
    size: Arc<Size>,
    mover: usize,
    end: Instant,
) -> Vec<Person> {
    let mut random = SmallRng::seed_from_u64(size.seed.wrapping_add(mover as u64));
    let mut people: Vec<Person> = Vec::new();
    while Instant::now() < end {
        let _open = gate.read().await;
        let room = format!("presence-{}", random.random_range(0..size.rooms()));
        // The same user may be there more than once, through any mover.
        let user = random.random_range(0..size.clients / 2).to_string();
        if people.len() < size.clients / MOVERS {
            let node = nodes[random.random_range(0..nodes.len())].read().await;
            people.extend(Person::connect(&node, &complaints).await);
            continue;
        }
        let place = random.random_range(0..people.len());
        let person = &mut people[place];
        let is_alive = match random.random_range(0..10) {
            0 => false,
            1..=3 if person.joined.contains_key(&room) => person.leave(&room).await,
            _ if person.joined.contains_key(&room) => true,
            _ => person.join(&room, &user).await,
        };
        if !is_alive {
            people.swap_remove(place);
        }
    }
    people
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_end_everybody_agrees_on_who_is_there() {
    let size = Arc::new(Size::from_environment());
    eprintln!("seed {}", size.seed);
    let mut deployment = Deployment::start().await;
    let sums = Sums::default();
    tokio::spawn(add_up(deployment.take_back_end(), Arc::clone(&sums)));
    let mut started = Vec::new();
    for _ in 0..3 {
        started.push(RwLock::new(deployment.node().await));
    }
    let nodes: Nodes = Arc::new(started);
    let gate = Arc::new(RwLock::new(()));
    let complaints = Complaints::default();
    let end = Instant::now() + size.time;
    let mut movers = JoinSet::new();
    for mover in 0..MOVERS {
        let (nodes, gate, size) = (Arc::clone(&nodes), Arc::clone(&gate), Arc::clone(&size));
        let complaints = Arc::clone(&complaints);
        movers.spawn(move_about(nodes, complaints, gate, size, mover, end));
    }

    let mut random = SmallRng::seed_from_u64(size.seed);
    for fate in [Fate::Killed, Fate::Frozen, Fate::Drained]
        .into_iter()
        .cycle()
    {
        tokio::time::sleep(size.time / 8).await;
        if Instant::now() >= end {
            break;
        }
        let place = random.random_range(0..nodes.len());
        match fate {
            Fate::Killed => {
                // What a node has not sent yet dies with it, so nothing is under
                // way at that moment.
                let quiet = gate.write().await;
                let others = nodes[(place + 1) % nodes.len()].read().await;
                eventually("the back end to be told", async || {
                    told(&sums) == sums_of(&lists(&others).await)
                })
                .await;
                drop(others);
                let mut node = nodes[place].write().await;
                node.kill().await;
                drop(quiet);
                *node = deployment.node().await;
            }
            Fate::Frozen => {
                nodes[place].read().await.signal("STOP").await;
                tokio::time::sleep(Duration::from_millis(3_200)).await;
                nodes[place].read().await.signal("CONT").await;
            }
            Fate::Drained => {
                let mut node = nodes[place].write().await;
                node.signal("TERM").await;
                node.ended().await;
                *node = deployment.node().await;
            }
        }
    }
    let people: Vec<Person> = movers.join_all().await.into_iter().flatten().collect();

    let mut model = Rooms::new();
    let mut there = Vec::new();
    for person in people {
        // One whose node has gone may not know it yet.
        if person.view().await.is_none() {
            continue;
        }
        for (room, user) in &person.joined {
            model.entry(room.clone()).or_default().insert(user.clone());
        }
        there.push(person);
    }
    assert!(model.len() > 1, "{model:?}");
    for node in nodes.iter() {
        let node = node.read().await;
        agrees("the lists of a node", &model, async || lists(&node).await).await;
    }
    for person in &there {
        let mut expected = model.clone();
        expected.retain(|room, _| person.joined.contains_key(room));
        agrees("the view of a client", &expected, async || {
            person.view().await.unwrap()
        })
        .await;
    }
    agrees("the back end", &sums_of(&model), async || told(&sums)).await;
    assert_eq!(*complaints.lock().unwrap(), [""; 0]);
}

/// Waits until both are the same, and shows how they differ when they never are.
async fn agrees<T: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: &T,
    mut actual: impl AsyncFnMut() -> T,
) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let actual = actual().await;
        if actual == *expected {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{what}:\n{actual:?}\nthe model:\n{expected:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
