//! A fake Kafka cluster in this process: strict about what it takes, and broken on command.
//!
//! It speaks ApiVersions, Metadata, InitProducerId, Produce and SASL over loopback TCP, one thread a connection, and
//! judges batches as Kafka does (`log.rs`; proven by `tests/same_as_kafka.rs`). What Kafka would not notice but a correct
//! producer never does is collected as complaints: a retry with other bytes, a request during a throttle.
//!
//! - [`Fake::start`] with [`Settings`]; [`Fake::addresses`] to connect to.
//! - [`Fake::fault`] queues one [`Fault`]: the first that fits a request strikes.
//! - [`Fake::change`] gives the [`Cluster`]: leaders, topics, producers' state, nodes' metadata.
//! - [`Fake::stop_node`], [`Fake::start_node`]; [`Fake::records`], [`Fake::journal`], [`Fake::complaints`] to judge.
//!
//! It does not replicate: a batch is in the log or not, so acks are settled at once.

mod answers;
mod cluster;
mod connection;
mod log;
mod sasl;

pub use cluster::{Cluster, Hint, Partition, Topic};
pub use connection::{Act, Fault, Rewrite};
pub use log::{Stored, Verdict, error};

use kafka_protocol::messages::ApiKey;
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What a fake is born with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Number of brokers, with ids from 1.
    pub nodes: i32,
    /// Topics and their partitions, led by the nodes in turn.
    pub topics: Vec<(String, i32)>,
    /// Largest batch a topic takes, in bytes.
    pub batch_bytes_max: usize,
    /// Whether Metadata may create topics when asked to.
    pub auto_create: bool,
    /// Names and passwords; with any, every connection must authenticate, by PLAIN or SCRAM.
    pub users: Vec<(String, String)>,
    /// How long an authentication lasts.
    pub session: Option<Duration>,
    /// Versions offered, as (call, lowest, highest).
    pub versions: Vec<(ApiKey, i16, i16)>,
}

impl Default for Settings {
    /// One node without topics, with the versions of Kafka 4.3.
    fn default() -> Settings {
        Settings {
            nodes: 1,
            topics: Vec::new(),
            batch_bytes_max: 1_048_588,
            auto_create: false,
            users: Vec::new(),
            session: None,
            versions: vec![
                (ApiKey::Produce, 0, 13), // Kafka says 0 to please old clients, and refuses what is below 3.
                (ApiKey::Metadata, 0, 13),
                (ApiKey::SaslHandshake, 0, 1),
                (ApiKey::ApiVersions, 0, 4),
                (ApiKey::InitProducerId, 0, 5),
                (ApiKey::SaslAuthenticate, 0, 2),
            ],
        }
    }
}

impl Settings {
    /// The same with one more topic.
    pub fn topic(mut self, name: &str, partitions: i32) -> Settings {
        self.topics.push((name.into(), partitions));
        self
    }

    /// The same with other versions of one call.
    pub fn versions(mut self, key: ApiKey, lowest: i16, highest: i16) -> Settings {
        self.versions.retain(|&(other, _, _)| other != key);
        self.versions.push((key, lowest, highest));
        self
    }
}

/// A request as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The node asked.
    pub node: i32,
    /// The connection, counted from 0 over all nodes.
    pub connection: u64,
    /// The call.
    pub key: ApiKey,
    /// Its version.
    pub version: i16,
    /// Its size without the length.
    pub bytes: usize,
    /// When it had come whole.
    pub at: Instant,
}

/// A running fake. It ends with this value.
#[derive(Debug)]
pub struct Fake {
    shared: Arc<Shared>,
}

/// What all threads see.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    cluster: Cluster,
    nodes: Vec<Node>,
    faults: Vec<Fault>,
    journal: Vec<Request>,
    complaints: Vec<String>,
    connections: u64,
}

/// One broker: its place, and what must be closed when it stops.
#[derive(Debug)]
struct Node {
    address: SocketAddr,
    up: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
    streams: Vec<TcpStream>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Fake {
    /// Starts brokers on free ports of 127.0.0.1.
    pub fn start(settings: Settings) -> Fake {
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let listeners: Vec<TcpListener> = (0..settings.nodes).map(|_| listen()).collect();
        let addresses: Vec<SocketAddr> = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
        let cluster = Cluster::new(&settings, &addresses);
        let node = |&address| Node {
            address,
            up: Arc::new(AtomicBool::new(true)),
            listener: None,
            streams: Vec::new(),
        };
        let nodes: Vec<Node> = addresses.iter().map(node).collect();
        let state = State {
            cluster,
            nodes,
            faults: Vec::new(),
            journal: Vec::new(),
            complaints: Vec::new(),
            connections: 0,
        };
        let fake = Fake { shared: Arc::new(Shared { settings, state: Mutex::new(state) }) };
        for (node, listener) in (1..).zip(listeners) {
            fake.listen(node, listener);
        }
        fake
    }

    fn listen(&self, node: i32, listener: TcpListener) {
        let shared = self.shared.clone();
        let up = shared.state().nodes[node as usize - 1].up.clone();
        let thread = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut state = shared.state();
                if !up.load(Ordering::Relaxed) {
                    return;
                }
                let number = state.connections;
                state.connections += 1;
                let _ = stream.set_nodelay(true);
                let streams = &mut state.nodes[node as usize - 1].streams;
                streams.retain(|old| old.peer_addr().is_ok()); // Those that have ended would pile up.
                streams.extend(stream.try_clone());
                drop(state);
                connection::spawn(shared.clone(), node, number, stream);
            }
        });
        self.shared.state().nodes[node as usize - 1].listener = Some(thread);
    }

    /// Where the nodes listen, node 1 first.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.shared.state().nodes.iter().map(|node| node.address).collect()
    }

    /// Queues a fault.
    pub fn fault(&self, fault: Fault) {
        self.shared.state().faults.push(fault);
    }

    /// Faults that have not struck as often as they should.
    pub fn faults_left(&self) -> usize {
        self.shared.state().faults.len()
    }

    /// Looks at the cluster or changes it, between two requests.
    pub fn change<R>(&self, how: impl FnOnce(&mut Cluster) -> R) -> R {
        how(&mut self.shared.state().cluster)
    }

    /// Ends a node as SIGKILL does: its connections are cut, new ones refused. Leaders stay until `change` moves them.
    pub fn stop_node(&self, node: i32) {
        let mut state = self.shared.state();
        state.cluster.set_up(node, false);
        let it = &mut state.nodes[node as usize - 1];
        it.up.store(false, Ordering::Relaxed);
        let Some(listener) = it.listener.take() else { return };
        it.streams.drain(..).for_each(|stream| drop(stream.shutdown(std::net::Shutdown::Both)));
        let address = it.address;
        drop(state);
        let _ = TcpStream::connect(address); // Wakes the listener, which sees that it is over.
        let _ = listener.join();
    }

    /// Starts a stopped node again at its address.
    pub fn start_node(&self, node: i32) {
        let address = self.addresses()[node as usize - 1];
        let patience = Instant::now() + Duration::from_secs(5);
        let listener = loop {
            match TcpListener::bind(address) {
                Ok(listener) => break listener,
                Err(e) => assert!(Instant::now() < patience, "{address} is not free again: {e}"),
            }
            thread::sleep(Duration::from_millis(5));
        };
        let mut state = self.shared.state();
        state.cluster.set_up(node, true);
        state.nodes[node as usize - 1].up = Arc::new(AtomicBool::new(true));
        drop(state);
        self.listen(node, listener);
    }

    /// Cuts every connection of a node, which goes on listening.
    pub fn cut(&self, node: i32) {
        let streams: Vec<TcpStream> =
            self.shared.state().nodes[node as usize - 1].streams.drain(..).collect();
        streams.iter().for_each(|stream| drop(stream.shutdown(std::net::Shutdown::Both)));
    }

    /// The records of a partition, by offset.
    pub fn records(&self, topic: &str, partition: usize) -> Vec<Stored> {
        self.change(|cluster| cluster.topic(topic).partitions[partition].log.records.clone())
    }

    /// Every request so far.
    pub fn journal(&self) -> Vec<Request> {
        self.shared.state().journal.clone()
    }

    /// Connections taken so far.
    pub fn connections(&self) -> u64 {
        self.shared.state().connections
    }

    /// What a correct producer never does. Every test ends by asking that this is empty.
    pub fn complaints(&self) -> Vec<String> {
        self.shared.state().complaints.clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        (1..=self.shared.settings.nodes).for_each(|node| self.stop_node(node));
    }
}
