//! Apache Kafka: real brokers on this machine.
//!
//! They need Java and Kafka's jars, which `.ci/install/kafka` fetches. Nothing is left behind, not even
//! by a test that is killed: each broker has a watcher that ends it when the test's process is gone.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::java;
use crate::process::{Directory, Process, free_ports, wait_for_port};

/// What every cluster is called: clusters of two tests never meet.
const CLUSTER_ID: &str = "cXVpcHUtdGVzdHMtMDAwMA";

/// Brokers that form one cluster, each of them a controller too. Ends with its value.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    _directory: Directory,
}

#[derive(Debug)]
struct Node {
    config: PathBuf,
    port: u16,
    jars: PathBuf,
    process: Option<Process>,
}

/// What a cluster is to be like.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    settings: String,
    listeners: Vec<Listener>,
    users: Vec<String>,
}

#[derive(Clone, Debug)]
struct Listener {
    name: String,
    protocol: String,
    /// Where clients are sent to reach it; `None`: to itself.
    advertised: Option<u16>,
}

impl ClusterOptions {
    /// One more line in every broker's configuration.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        let _infallible = writeln!(self.settings, "{name}={value}");
        self
    }

    /// One more listener, with this protocol. Its port is in [`Cluster::servers_of`].
    #[must_use]
    pub fn listener(mut self, name: &str, protocol: &str) -> Self {
        let (name, protocol) = (name.to_owned(), protocol.to_owned());
        self.listeners.push(Listener { name, protocol, advertised: None });
        self
    }

    /// One more listener, whose clients are sent to that port of this machine: to a proxy.
    #[must_use]
    pub fn listener_behind(mut self, name: &str, port: u16) -> Self {
        let (name, protocol) = (name.to_owned(), "PLAINTEXT".to_owned());
        self.listeners.push(Listener { name, protocol, advertised: Some(port) });
        self
    }

    /// One more user, known by SCRAM with this mechanism.
    #[must_use]
    pub fn user(mut self, mechanism: &str, name: &str, password: &str) -> Self {
        self.users.push(format!("{mechanism}=[name={name},password={password}]"));
        self
    }
}

impl Cluster {
    /// Starts that many brokers; `None`, and a line that says so, where Kafka is not installed.
    ///
    /// # Panics
    ///
    /// Where the brokers do not start, or where they are required (`QUIPU_REQUIRE_SERVICES=1`) and
    /// not installed.
    #[must_use]
    pub fn start(count: u16, options: &ClusterOptions) -> Option<Self> {
        let jars = java::kafka()?;
        let directory = Directory::new();
        let ports: Vec<Vec<u16>> =
            (0..count).map(|_| free_ports(2 + options.listeners.len())).collect();
        let voters: Vec<String> = (1..)
            .zip(&ports)
            .map(|(id, ports)| format!("{id}@127.0.0.1:{}", ports.get(1).copied().unwrap_or(0)))
            .collect();
        let mut nodes = Vec::new();
        for (id, ports) in (1..).zip(&ports) {
            let config = directory.path().join(format!("{id}.properties"));
            let text = properties(directory.path(), id, ports, &voters.join(","), options);
            fs::write(&config, text).expect("the directory is the test's");
            fs::create_dir(config.with_extension("tmp")).expect("the directory is the test's");
            let port = ports.first().copied().unwrap_or(0);
            nodes.push(Node { config, port, jars: jars.clone(), process: None });
        }
        format_all(&nodes, options);
        for node in &mut nodes {
            node.start();
        }
        let cluster = Self { nodes, _directory: directory };
        cluster.wait_for_ports();
        Some(cluster)
    }

    /// Where the brokers are, as a client is told.
    pub fn servers(&self) -> String {
        let all: Vec<String> =
            self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        all.join(",")
    }

    /// Where the first broker's listener of that name is.
    ///
    /// # Panics
    ///
    /// Where there is no such listener.
    pub fn servers_of(&self, listener: &str) -> String {
        let first = self.nodes.first().expect("a cluster has brokers");
        let config = fs::read_to_string(&first.config).expect("it was written");
        let at = format!("{listener}://");
        let (_, behind) = config.split_once(&at).expect("the listener was asked for");
        behind.split([',', '\n']).next().unwrap_or_default().to_owned()
    }

    /// What Apache Kafka's own client, which has nothing of ours, sees of a topic, committed: each
    /// message's key and the id of its `CloudEvent`, each partition's in their order.
    ///
    /// # Panics
    ///
    /// Where the client fails.
    pub fn judge(&self, topic: &str) -> Vec<(String, String)> {
        let jars = java::kafka().expect("the brokers run with them");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("java/Judge.java");
        let mut program = java::program(&jars, &source);
        let output = program.args([&self.servers(), topic]).output().unwrap();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complained}");
        let lines = String::from_utf8(output.stdout).unwrap();
        let words = lines.lines().map(|line| line.split_once('\t').unwrap());
        words.map(|(key, id)| (key.to_owned(), id.to_owned())).collect()
    }

    /// Kills a broker: no goodbye, as when the power goes.
    ///
    /// # Panics
    ///
    /// Where there is no such broker, or it does not run.
    pub fn kill(&mut self, index: usize) {
        let node = self.nodes.get_mut(index).expect("there is such a broker");
        drop(node.process.take().expect("it runs"));
    }

    /// Starts a broker that was killed, and waits until it takes connections.
    ///
    /// # Panics
    ///
    /// Where there is no such broker, or it does not start.
    pub fn restart(&mut self, index: usize) {
        self.nodes.get_mut(index).expect("there is such a broker").start();
        self.wait_for_ports();
    }

    /// Stops a broker's clock: it holds its connections and does not answer.
    ///
    /// # Panics
    ///
    /// Where there is no such broker, or it does not run.
    pub fn pause(&self, index: usize) {
        self.signal(index, "-STOP");
    }

    /// Lets a paused broker go on.
    ///
    /// # Panics
    ///
    /// Where there is no such broker, or it does not run.
    pub fn resume(&self, index: usize) {
        self.signal(index, "-CONT");
    }

    fn signal(&self, index: usize, signal: &str) {
        let node = self.nodes.get(index).expect("there is such a broker");
        node.process.as_ref().expect("it runs").signal(signal);
    }

    fn wait_for_ports(&self) {
        for node in self.nodes.iter().filter(|node| node.process.is_some()) {
            wait_for_port(node.port);
        }
    }
}

impl Node {
    fn start(&mut self) {
        let mut java = Command::new("java");
        java.args(["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg(format!("-Djava.io.tmpdir={}", self.config.with_extension("tmp").display()))
            .arg("-cp")
            .arg(self.jars.join("*"))
            .arg("kafka.Kafka")
            .arg(&self.config);
        self.process = Some(Process::start(&java));
    }
}

fn properties(
    directory: &Path,
    id: usize,
    ports: &[u16],
    voters: &str,
    options: &ClusterOptions,
) -> String {
    let port = |index: usize| ports.get(index).copied().unwrap_or(0);
    let mut listeners = vec![format!("PLAINTEXT://127.0.0.1:{}", port(0))];
    let mut advertised = listeners.clone();
    let mut protocols = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned();
    for (index, listener) in (2..).zip(&options.listeners) {
        let Listener { name, protocol, .. } = listener;
        let at = listener.advertised.unwrap_or(port(index));
        listeners.push(format!("{name}://127.0.0.1:{}", port(index)));
        advertised.push(format!("{name}://127.0.0.1:{at}"));
        let _infallible = write!(protocols, ",{name}:{protocol}");
    }
    let brokers = voters.split(',').count();
    let (replicas, quorum) = if brokers < 3 { (1, 1) } else { (3, 2) };
    format!(
        "process.roles=broker,controller\n\
         node.id={id}\n\
         controller.quorum.voters={voters}\n\
         listeners={all},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners={advertised}\n\
         controller.listener.names=CONTROLLER\n\
         inter.broker.listener.name=PLAINTEXT\n\
         listener.security.protocol.map={protocols}\n\
         log.dirs={directory}/{id}\n\
         default.replication.factor={replicas}\n\
         min.insync.replicas={quorum}\n\
         num.partitions=4\n\
         offsets.topic.replication.factor={replicas}\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor={replicas}\n\
         transaction.state.log.min.isr={quorum}\n\
         transaction.state.log.num.partitions=4\n\
         share.coordinator.state.topic.replication.factor={replicas}\n\
         share.coordinator.state.topic.min.isr={quorum}\n\
         group.initial.rebalance.delay.ms=0\n\
         auto.create.topics.enable=false\n\
         {settings}",
        all = listeners.join(","),
        advertised = advertised.join(","),
        controller = port(1),
        directory = directory.display(),
        settings = options.settings,
    )
}

/// Prepares the brokers' directories, side by side.
fn format_all(nodes: &[Node], options: &ClusterOptions) {
    let mut formats = Vec::new();
    for node in nodes {
        let mut format = Command::new("java");
        format.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
        format.arg(node.jars.join("*")).args([
            "kafka.tools.StorageTool",
            "format",
            "-t",
            CLUSTER_ID,
            "-c",
        ]);
        format.arg(&node.config);
        for user in &options.users {
            format.args(["--add-scram", user]);
        }
        format.stdout(Stdio::null()).stderr(Stdio::null());
        formats.push(format.spawn().expect("there is Java"));
    }
    for mut format in formats {
        let status = format.wait().expect("it was started");
        assert!(status.success(), "Kafka's directory could not be prepared");
    }
}
