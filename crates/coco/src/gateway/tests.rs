//! The gateway against nodes made of our own channel: what a tool behind it sees.

use std::io::{Read, Write};
use std::net::TcpStream;

use channel::{Acceptor, Channel, NodeCertificate, network_certificate, node_certificate};
use client::{Entrance, Surface, Trust};
use crypto::{Certificate, Entropy, SigningKey};
use types::{Millis, NetworkId};

use super::{Settings, listen, serve};
use crate::keys::{Kit, now};

const DAY: u64 = 86_400_000;

/// What a node does with what it is asked.
#[derive(Clone, Copy)]
enum Manner {
    /// Gives everything back, byte by byte as it came.
    Echoes,
    /// Ends the connection as soon as it was asked something.
    HangsUp,
    /// Answers once, then ends the connection.
    AnswersOnce,
}

struct Network {
    key: SigningKey,
    certificate: Certificate,
}

impl Network {
    fn new() -> Self {
        let key = SigningKey::generate(&mut Entropy::new(&[1; 32]));
        let (from, to) = (Millis(now().0 - DAY), now().plus(DAY));
        let certificate = network_certificate(&key, "test", from, to, [1; 16]);
        Self { key, certificate }
    }

    /// Starts a node in a thread and gives its address.
    fn node(&self, seed: u8, manner: Manner) -> String {
        let node = SigningKey::generate(&mut Entropy::new(&[seed; 32]));
        let certificate = NodeCertificate {
            network: NetworkId([1; 32]),
            restarts: 0,
            common_name: "vn",
            names: &[],
            evidence: &[],
            endorsements: &[],
            not_before: Millis(now().0 - DAY),
            not_after: now().plus(DAY),
            serial: [seed; 16],
        };
        let leaf = node_certificate(&certificate, node.public(), &self.key, &self.certificate);
        let chain = [leaf.expect("short"), self.certificate.clone()];
        let identity = channel::Identity::new(&node, &chain).expect("own key");
        let acceptor = Acceptor::new(&identity, &[b"coco-kv/1"]);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let acceptor = acceptor.clone();
                std::thread::spawn(move || answer(stream, &acceptor, manner));
            }
        });
        address
    }
}

fn answer(mut stream: TcpStream, acceptor: &Acceptor, manner: Manner) {
    let mut channel = Channel::accept(acceptor);
    let mut buffer = [0; 4096];
    let mut plaintext = Vec::new();
    while let Ok(bytes @ 1..) = stream.read(&mut buffer) {
        if channel.received(&buffer[..bytes], &mut plaintext).is_err() {
            return;
        }
        let asked = !plaintext.is_empty();
        if asked && matches!(manner, Manner::HangsUp) {
            return;
        }
        if asked {
            channel.send(&plaintext).expect("open");
        }
        plaintext.clear();
        if stream.write_all(&channel.drain()).is_err() {
            return;
        }
        if asked && matches!(manner, Manner::AnswersOnce) {
            return;
        }
    }
}

/// Runs a gateway to `nodes` for the length of a test and gives its address.
async fn gateway(network: &Network, nodes: Vec<String>) -> std::net::SocketAddr {
    let kit = Kit::make("tailspin", &mut Entropy::new(&[9; 32]), now());
    let trust = Trust::pinned(network.certificate.clone());
    let entrance = Entrance::new(&kit.identity, trust, &Surface::Application("kv".into()));
    let entrance = entrance.expect("own key");
    let listener = listen("127.0.0.1:0".parse().expect("an address"))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(serve(
        listener,
        Settings {
            entrance,
            nodes,
            protocol: "kv".into(),
            who: None,
        },
    ));
    address
}

/// Sends `request` on one connection and reads as many bytes, or to the end.
async fn ask(address: std::net::SocketAddr, request: Vec<u8>) -> Vec<u8> {
    tokio::task::spawn_blocking(move || {
        let mut local = TcpStream::connect(address).expect("the gateway is there");
        let mut reader = local.try_clone().expect("descriptors");
        let wanted = request.len();
        let writer = std::thread::spawn(move || local.write_all(&request).map(|()| local));
        let mut answer = Vec::new();
        let mut buffer = [0; 65536];
        while answer.len() < wanted {
            match reader.read(&mut buffer) {
                Ok(bytes @ 1..) => answer.extend_from_slice(&buffer[..bytes]),
                _ => break,
            }
        }
        drop(writer.join());
        answer
    })
    .await
    .expect("no panic")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_bytes_than_all_buffers_hold_go_both_ways_at_once() {
    let network = Network::new();
    let address = gateway(&network, vec![network.node(2, Manner::Echoes)]).await;
    let request: Vec<u8> = (0..20_000_000u32).map(|n| (n / 7) as u8).collect();
    assert!(ask(address, request.clone()).await == request);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_node_did_not_answer_is_asked_of_another_if_that_is_harmless() {
    let network = Network::new();
    let nodes = vec![
        network.node(3, Manner::HangsUp),
        network.node(4, Manner::Echoes),
    ];
    let address = gateway(&network, nodes).await;
    for _ in 0..8 {
        assert_eq!(
            ask(address, b"GET / and more".to_vec()).await,
            b"GET / and more"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_might_happen_twice_is_not_asked_twice_and_the_tool_is_told() {
    let network = Network::new();
    let nodes = vec![network.node(5, Manner::HangsUp)];
    let address = gateway(&network, nodes).await;
    let answer = ask(address, vec![b'P'; 2000]).await;
    let text = String::from_utf8_lossy(&answer);
    assert!(
        text.starts_with("HTTP/1.1 502 ") && text.contains("ended the connection"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_arrives_whole_before_the_end_of_its_node() {
    let network = Network::new();
    let address = gateway(&network, vec![network.node(6, Manner::AnswersOnce)]).await;
    for _ in 0..8 {
        assert_eq!(ask(address, vec![b'x'; 1000]).await, vec![b'x'; 1000]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_named_with_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound");
    let failure = listen(address).await.expect_err("taken");
    assert!(
        failure.text.contains(&address.port().to_string()),
        "{failure}"
    );
    assert!(failure.text.contains("--rpc-port"), "{failure}");
}
