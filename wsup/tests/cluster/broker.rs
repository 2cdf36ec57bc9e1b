//! Three nodes of nats-server with JetStream, on loopback.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::jetstream::stream::{Config, Info};
use async_nats::jetstream::{self, Context};
use rand::RngExt;

use crate::folder::Folder;
use crate::patience::until;

/// The stream of the publications.
pub(crate) const STREAM: &str = "FEED";

/// A running cluster.
pub(crate) struct Broker {
    nodes: Vec<Node>,
    pub(crate) jetstream: Context,
    _folder: Folder,
}

struct Node {
    port: u16,
    config: PathBuf,
    log: PathBuf,
    process: Option<Child>,
}

impl Broker {
    /// Starts the nodes, and creates the stream, kept by all three.
    pub(crate) async fn start() -> Broker {
        let folder = Folder::new("broker");
        let ports = free_ports(6);
        let (clients, routes) = ports.split_at(3);
        let mut nodes: Vec<Node> =
            (0..3).map(|at| Node::new(at, clients[at], routes, &folder)).collect();
        nodes.iter_mut().for_each(Node::start);
        let urls: Vec<String> = clients.iter().map(|it| format!("nats://127.0.0.1:{it}")).collect();
        let client = async_nats::ConnectOptions::new()
            .retry_on_initial_connect()
            .max_reconnects(None)
            .reconnect_delay_callback(|_| Duration::from_millis(100))
            .request_timeout(Some(Duration::from_secs(2)))
            .connect(urls)
            .await
            .unwrap();
        let jetstream = jetstream::new(client);
        let mut broker = Broker { nodes, jetstream, _folder: folder };
        broker.create().await;
        broker
    }

    /// Creates the stream, once the nodes have found each other.
    async fn create(&mut self) {
        let config = Config {
            name: STREAM.to_owned(),
            subjects: vec!["feed.*".to_owned()],
            num_replicas: 3,
            duplicate_window: Duration::from_secs(600),
            allow_direct: true,
            ..Config::default()
        };
        until("the broker to create a stream", async || {
            self.are_running();
            self.jetstream.create_stream(config.clone()).await.is_ok()
        })
        .await;
    }

    /// Returns the port of each node.
    pub(crate) fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|it| it.port).collect()
    }

    /// Kills the node that leads the stream, and returns it.
    pub(crate) async fn kill_leader(&mut self) -> usize {
        let leader = self.info().await.expect("the stream").cluster.and_then(|it| it.leader);
        let leader = leader.expect("a leader").trim_start_matches('n').parse().unwrap();
        let node: &mut Node = &mut self.nodes[leader];
        let mut process = node.process.take().expect("a process");
        process.kill().unwrap();
        process.wait().unwrap();
        leader
    }

    /// Starts a node again, and waits until it has all that it missed.
    pub(crate) async fn restart(&mut self, node: usize) {
        self.nodes[node].start();
        until("every node to be current", async || {
            let Some(cluster) = self.info().await.and_then(|it| it.cluster) else { return false };
            let is_current = |it: &jetstream::stream::PeerInfo| it.current && !it.offline;
            cluster.leader.is_some() && cluster.replicas.iter().all(is_current)
        })
        .await;
    }

    /// Returns the last sequence of the stream, if it answers.
    pub(crate) async fn last_sequence(&self) -> Option<u64> {
        Some(self.info().await?.state.last_sequence)
    }

    /// Returns what the stream says of itself.
    async fn info(&self) -> Option<Info> {
        Some(self.jetstream.get_stream(STREAM).await.ok()?.cached_info().clone())
    }

    /// Fails if a node has ended that was not killed.
    fn are_running(&mut self) {
        for node in &mut self.nodes {
            if let Some(Ok(Some(status))) = node.process.as_mut().map(Child::try_wait) {
                panic!("nats-server: {status}\n{}", std::fs::read_to_string(&node.log).unwrap());
            }
        }
    }
}

impl Node {
    /// Writes the configuration of a node.
    fn new(at: usize, port: u16, routes: &[u16], folder: &Folder) -> Node {
        let here = folder.path(&format!("n{at}"));
        std::fs::create_dir_all(&here).unwrap();
        let others = (0..routes.len()).filter(|&it| it != at);
        let others: Vec<String> =
            others.map(|it| format!("\"nats://127.0.0.1:{}\"", routes[it])).collect();
        let config = format!(
            r#"
server_name: n{at}
listen: "127.0.0.1:{port}"
jetstream {{ store_dir: "{}", max_file_store: 2GB, max_memory_store: 64MB }}
cluster {{ name: feeds, listen: "127.0.0.1:{}", no_advertise: true, routes: [{}] }}
"#,
            here.display(),
            routes[at],
            others.join(", ")
        );
        let path = here.join("nats.conf");
        std::fs::write(&path, config).unwrap();
        Node { port, config: path, log: here.join("log"), process: None }
    }

    fn start(&mut self) {
        let binary = std::env::var_os("NATS_SERVER").unwrap_or_else(|| "nats-server".into());
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let process = Command::new(&binary)
            .arg("-c")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|err| panic!("{}: {err}", binary.display()));
        self.process = Some(process);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Returns free ports, below those that the system gives to outgoing connections: a node that is started again needs
/// its own.
fn free_ports(count: usize) -> Vec<u16> {
    let mut rng = rand::rng();
    let mut held: Vec<TcpListener> = Vec::new();
    while held.len() < count {
        held.extend(TcpListener::bind(("127.0.0.1", rng.random_range(12_000..32_000))));
    }
    held.iter().map(|it| it.local_addr().unwrap().port()).collect()
}
