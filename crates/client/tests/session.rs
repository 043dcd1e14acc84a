//! A client and nodes that are made of our own channel and HTTP, over real sockets.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use channel::{Acceptor, Channel, NodeCertificate, network_certificate, node_certificate};
use client::{Entrance, Http, Identity, Problem, Retry, Surface, Trust};
use crypto::{Certificate, CertificateRequest, Entropy, SigningKey, issue};
use governance::Constitution;
use http1::{Options, Persistence, Received, Server, encode_response};
use tee::Purpose;
use tee::software::{Statement, sign};
use types::{Millis, NetworkId};

const DAY: u64 = 86_400_000;

fn now() -> Millis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    Millis(since.as_millis() as u64)
}

fn key(seed: u8) -> SigningKey {
    SigningKey::generate(&mut Entropy::new(&[seed; 32]))
}

fn self_signed(name: &str, seed: u8) -> (SigningKey, Certificate) {
    let key = key(seed);
    let request = CertificateRequest {
        common_name: name,
        dns_names: vec![],
        not_before: Millis(now().0 - DAY),
        not_after: now().plus(DAY),
        authority: true,
        extensions: vec![],
        serial: [seed; 16],
    };
    let certificate = issue(key.public(), &request, &key, None);
    (key, certificate)
}

fn ada() -> Identity {
    let (key, certificate) = self_signed("ada", 1);
    Identity {
        key,
        chain: vec![certificate],
    }
}

/// The network identity of a seed.
fn network(seed: u8) -> (SigningKey, Certificate) {
    let key = key(seed);
    let (from, to) = (Millis(now().0 - DAY), now().plus(DAY));
    let certificate = network_certificate(&key, "test", from, to, [seed; 16]);
    (key, certificate)
}

/// A constitution that endorses the measurement 7 7 7 ... on platforms certified by seed 20.
fn constitution() -> Constitution {
    let text = format!(
        r#"
        network = "test"
        genesis_time_ms = 1000
        [[actors]]
        name = "ada"
        roles = ["member"]
        certificates = ["""{}"""]
        [[nodes]]
        owner = "ada"
        address = "127.0.0.1:7000"
        [code]
        images = [{{ name = "manager", version = "1", platform = "software", measurement = "{}" }}]
        [tee]
        strength_min = "software"
        evidence_age_max_ms = 1000
        accepted = [{{ platform = "software", roots = ["{}"] }}]
        "#,
        ada().chain[0].to_pem(),
        hex::encode([7; 48]),
        hex::encode(self_signed("platform root", 20).1.der()),
    );
    Constitution::from_toml(&text).expect("valid")
}

/// What a node does after the handshake.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Answers,
    HangsUp,
}

struct Vn {
    address: String,
    served: Arc<AtomicUsize>,
}

/// Starts a node of the network `seed` whose image has the measurement of so many equal bytes. Its
/// evidence is an hour old.
fn vn(seed: u8, network_id: NetworkId, measurement: u8, manner: Manner) -> Vn {
    let node = key(seed.wrapping_add(100));
    let (network_key, network) = network(seed);
    let report = tee::report_data(
        &network_id,
        Purpose::Certificate,
        &node.public().fingerprint(),
        &[],
    );
    let (platform, root) = self_signed("platform root", 20);
    let statement = Statement {
        measurement: [measurement; 48],
        report_data: report,
        launch_data: vec![],
        instance: [1; 16],
        svn: 1,
        time: Millis(now().0 - DAY / 24),
        missing: vec![],
        shared_user: false,
    };
    let evidence = sign(&platform, &[root], &statement);
    let certificate = NodeCertificate {
        network: network_id,
        restarts: 0,
        common_name: "vn",
        names: &[],
        evidence: &evidence,
        endorsements: &[],
        not_before: Millis(now().0 - DAY),
        not_after: now().plus(DAY),
        serial: [1; 16],
    };
    let leaf =
        node_certificate(&certificate, node.public(), &network_key, &network).expect("short");
    let identity = channel::Identity::new(&node, &[leaf, network]).expect("own");
    let acceptor = Acceptor::new(&identity, &[channel::ADMINISTRATIVE, b"coco-kv/1"]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let served = Arc::new(AtomicUsize::new(0));
    let count = served.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            serve(stream, &acceptor, manner, &count);
        }
    });
    Vn { address, served }
}

fn serve(mut stream: TcpStream, acceptor: &Acceptor, manner: Manner, served: &AtomicUsize) {
    let mut channel = Channel::accept(acceptor);
    let mut http = Server::new(Options::application());
    let mut buffer = [0; 4096];
    let mut plaintext = Vec::new();
    while let Ok(bytes @ 1..) = stream.read(&mut buffer) {
        let broken = channel.received(&buffer[..bytes], &mut plaintext).is_err();
        http.receive(&plaintext);
        plaintext.clear();
        while let Ok(Some(Received::Request(request))) = http.next() {
            if manner == Manner::HangsUp {
                return;
            }
            served.fetch_add(1, Ordering::SeqCst);
            let mut out = BytesMut::new();
            let body = request.target.as_bytes();
            encode_response(
                200,
                &[("a", "b")],
                body,
                &request.method,
                Persistence::KeepAlive,
                &mut out,
            );
            channel.send(&out).expect("open");
        }
        if stream.write_all(&channel.drain()).is_err() || broken {
            return;
        }
    }
}

fn open(trust: Trust, addresses: &[&Vn]) -> Result<Http, Problem> {
    let surface = Surface::Application("kv".into());
    let entrance = Entrance::new(&ada(), trust, &surface).expect("own key");
    Http::open(
        entrance,
        addresses.iter().map(|vn| vn.address.clone()).collect(),
    )
}

fn get(http: &mut Http, target: &str) -> Result<Vec<u8>, Problem> {
    Ok(http
        .request("GET", target, &[], &[], Retry::Idempotent)?
        .body
        .to_vec())
}

#[test]
fn an_endorsed_node_of_the_pinned_network_is_talked_to() {
    let mut constitution = constitution();
    let vn = vn(50, constitution.network_id(), 7, Manner::Answers);
    // Members have changed it since the network began; the pin says which network it is.
    constitution.settings.lease_length_ms += 1;
    let trust = Trust::pinned(network(50).1).with_constitution(constitution);
    let mut http = open(trust, &[&vn]).expect("believed");
    assert_eq!(get(&mut http, "/a").expect("answered"), b"/a");
    let node = http.connection().expect("open").node();
    assert_eq!(
        node.attested().expect("appraised").claims().measurement,
        [7; 48]
    );
}

#[test]
fn the_network_certificate_can_be_learnt_by_attestation() {
    let constitution = constitution();
    let vn = vn(51, constitution.network_id(), 7, Manner::Answers);
    let http = open(Trust::under(constitution), &[&vn]).expect("believed");
    let node = http.connection().expect("open").node();
    assert_eq!(node.network_certificate().key(), network(51).1.key());
}

#[test]
fn nothing_is_sent_to_another_network_or_to_code_that_nobody_endorsed() {
    let constitution = constitution();
    let id = constitution.network_id();
    let (good, other) = (network(52).1, network(53).1);
    let stranger = vn(52, id, 7, Manner::Answers);
    let problem = open(Trust::pinned(other), &[&stranger])
        .err()
        .expect("refused");
    assert!(matches!(problem, Problem::WrongNetwork { .. }), "{problem}");

    let unendorsed = vn(52, id, 8, Manner::Answers);
    let trust = Trust::pinned(good.clone()).with_constitution(constitution.clone());
    let problem = open(trust, &[&unendorsed]).err().expect("refused");
    assert!(
        matches!(problem, Problem::EvidenceRefused { .. }),
        "{problem}"
    );

    let elsewhere = vn(52, NetworkId([3; 32]), 7, Manner::Answers);
    // Without a pin only the constitution says which network is meant.
    let trust = Trust::under(constitution);
    let problem = open(trust, &[&elsewhere]).err().expect("refused");
    assert!(matches!(problem, Problem::WrongNetwork { .. }), "{problem}");
    for vn in [stranger, unendorsed, elsewhere] {
        assert_eq!(vn.served.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn a_request_goes_on_to_the_next_node_only_if_twice_is_as_good_as_once() {
    let id = NetworkId([4; 32]);
    let (bad, good) = (
        vn(54, id, 7, Manner::HangsUp),
        vn(54, id, 7, Manner::Answers),
    );
    let mut http = open(Trust::pinned(network(54).1), &[&bad, &good]).expect("believed");
    let problem = http
        .request("POST", "/p", &[], b"x", Retry::Never)
        .expect_err("hung up");
    assert!(matches!(problem, Problem::NotAdmitted { .. }), "{problem}");

    let mut http = open(Trust::pinned(network(54).1), &[&bad, &good]).expect("believed");
    assert_eq!(get(&mut http, "/g").expect("answered by the other"), b"/g");
    assert_eq!(http.connection().expect("open").address(), good.address);
}

#[test]
fn many_requests_in_flight_are_answered_in_order() {
    let vn = vn(55, NetworkId([5; 32]), 7, Manner::Answers);
    let mut http = open(Trust::pinned(network(55).1), &[&vn]).expect("believed");
    for number in 0..100 {
        http.send("GET", &format!("/{number}"), &[], &[])
            .expect("sent");
    }
    http.flush().expect("sent");
    for number in 0..100 {
        assert_eq!(http.receive().expect("answered").body, format!("/{number}"));
    }
    assert_eq!(http.outstanding(), 0);
}

#[test]
fn nobody_at_home_is_told_with_every_address() {
    let closed = |_| {
        TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("a port")
    };
    let addresses: Vec<String> = [0, 1].map(closed).map(|a| a.to_string()).to_vec();
    let trust = Trust::pinned(network(56).1);
    let entrance = Entrance::new(&ada(), trust, &Surface::Administrative).expect("own key");
    let problem = Http::open(entrance, addresses.clone())
        .err()
        .expect("nobody");
    let text = problem.to_string();
    assert!(
        addresses.iter().all(|address| text.contains(address)),
        "{text}"
    );
}
