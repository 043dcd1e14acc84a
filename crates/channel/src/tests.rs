//! Two ends of a channel in one thread, with the test as the wire between them.

use crypto::{Certificate, CertificateRequest, Entropy, SigningKey, issue, verify_chain};
use proptest::prelude::*;
use rustls::ServerConfig;
use types::{Millis, NetworkId};

use super::*;

const DAY: u64 = 86_400_000;

fn key(seed: u8) -> SigningKey {
    SigningKey::generate(&mut Entropy::new(&[seed; 32]))
}

fn own(key: &SigningKey, name: &str) -> Certificate {
    let request = CertificateRequest {
        common_name: name,
        dns_names: vec![],
        not_before: Millis(DAY),
        not_after: Millis(9 * DAY),
        authority: false,
        extensions: vec![],
        serial: [1; 16],
    };
    issue(key.public(), &request, key, None)
}

fn identity(seed: u8, name: &str) -> Identity {
    let key = key(seed);
    Identity::new(&key, &[own(&key, name)]).expect("its own certificate")
}

fn statement<'a>(names: &'a [String], evidence: &'a [u8]) -> NodeCertificate<'a> {
    NodeCertificate {
        network: NetworkId([7; 32]),
        restarts: 3,
        common_name: "vn",
        names,
        evidence,
        endorsements: b"endorsements",
        not_before: Millis(DAY),
        not_after: Millis(5 * DAY),
        serial: [2; 16],
    }
}

struct Pair {
    client: Channel,
    server: Channel,
    at_client: Vec<u8>,
    at_server: Vec<u8>,
}

impl Pair {
    fn new(client: &Connector, server: &Acceptor) -> Self {
        Self {
            client: Channel::connect(client, "vn.example").expect("a good name"),
            server: Channel::accept(server),
            at_client: Vec::new(),
            at_server: Vec::new(),
        }
    }

    /// Carries everything, in pieces of `piece` bytes, until nothing moves; the first that broke is told.
    fn carry(&mut self, piece: usize) -> Result<(), (&'static str, Broken)> {
        loop {
            let (to_server, to_client) = (self.client.drain(), self.server.drain());
            if to_server.is_empty() && to_client.is_empty() {
                return Ok(());
            }
            for bytes in to_server.chunks(piece) {
                self.server
                    .received(bytes, &mut self.at_server)
                    .map_err(|b| ("server", b))?;
            }
            for bytes in to_client.chunks(piece) {
                self.client
                    .received(bytes, &mut self.at_client)
                    .map_err(|b| ("client", b))?;
            }
        }
    }

    fn open(client: &Connector, server: &Acceptor) -> Self {
        let mut pair = Self::new(client, server);
        pair.carry(usize::MAX).expect("both are willing");
        assert!(pair.client.ready().is_some() && pair.server.ready().is_some());
        pair
    }
}

fn node_pair() -> (Connector, Acceptor) {
    (
        Connector::new(&identity(1, "client"), Trust::Any, &[NODE]),
        Acceptor::new(&identity(2, "server"), &[ADMINISTRATIVE, NODE]),
    )
}

/// A server outside: an ordinary certificate for a name, by an authority or by itself.
fn outside(name: &str, authority: Option<&(SigningKey, Certificate)>) -> Acceptor {
    let key = key(20);
    let request = CertificateRequest {
        common_name: "server",
        dns_names: vec![name.into()],
        not_before: Millis(DAY),
        not_after: Millis(9 * DAY),
        authority: false,
        extensions: vec![],
        serial: [4; 16],
    };
    let certificate = match authority {
        Some((by, certificate)) => issue(key.public(), &request, by, Some(certificate)),
        None => issue(key.public(), &request, &key, None),
    };
    let identity = Identity::new(&key, &[certificate]).expect("its own certificate");
    Acceptor::without_certificates(&identity, &[HTTP1])
}

fn authority(seed: u8) -> (SigningKey, Certificate) {
    let key = key(seed);
    let request = CertificateRequest {
        common_name: "authority",
        dns_names: vec![],
        not_before: Millis(DAY),
        not_after: Millis(9 * DAY),
        authority: true,
        extensions: vec![],
        serial: [5; 16],
    };
    let certificate = issue(key.public(), &request, &key, None);
    (key, certificate)
}

#[test]
fn a_server_outside_is_known_by_its_key_whatever_its_certificate_says() {
    let pin = |seed: u8| crypto::sha256(&key(seed).public().to_spki());
    let acceptor = outside("somewhere.else", None);
    let connector = Connector::outside(Known::ByKey(vec![pin(19), pin(20)])).expect("keys");
    let mut pair = Pair::open(&connector, &acceptor);
    let peer = pair.client.ready().expect("open");
    assert!(peer.chain.is_empty() && peer.alpn.as_deref() == Some(HTTP1));
    assert!(
        pair.server.ready().expect("open").chain.is_empty(),
        "it shows no certificate"
    );
    pair.client.send(b"question").expect("open");
    pair.carry(7).expect("both are willing");
    assert_eq!(pair.at_server, b"question");
    for keys in [vec![pin(19)], vec![]] {
        let connector = Connector::outside(Known::ByKey(keys)).expect("keys");
        let broken = Pair::new(&connector, &acceptor).carry(usize::MAX);
        assert!(
            matches!(broken, Err(("client", Broken::Untrusted(_)))),
            "{broken:?}"
        );
    }
}

#[test]
fn a_server_outside_is_known_by_its_authority_for_its_name_and_time() {
    let ours = authority(21);
    let der = ours.1.der().to_vec();
    let known = |der: &[u8], now| Known::ByAuthority {
        der: der.to_vec(),
        now: Millis(now),
    };
    let good = outside("vn.example", Some(&ours));
    let connector = Connector::outside(known(&der, 2 * DAY)).expect("an authority");
    Pair::open(&connector, &good);
    let refused = [
        (
            "another name",
            outside("other.example", Some(&ours)),
            known(&der, 2 * DAY),
        ),
        (
            "another authority",
            outside("vn.example", Some(&authority(22))),
            known(&der, 2 * DAY),
        ),
        ("its own", outside("vn.example", None), known(&der, 2 * DAY)),
        (
            "too early",
            outside("vn.example", Some(&ours)),
            known(&der, 0),
        ),
        (
            "too late",
            outside("vn.example", Some(&ours)),
            known(&der, 10 * DAY),
        ),
    ];
    for (what, acceptor, known) in refused {
        let connector = Connector::outside(known).expect("an authority");
        let broken = Pair::new(&connector, &acceptor).carry(usize::MAX);
        assert!(
            matches!(broken, Err(("client", Broken::Untrusted(_)))),
            "{what}: {broken:?}"
        );
    }
    Connector::outside(known(b"no certificate", 2 * DAY)).expect_err("not a certificate");
}

#[test]
fn both_ends_learn_who_holds_which_key_and_talk() {
    let (connector, acceptor) = node_pair();
    let mut pair = Pair::open(&connector, &acceptor);
    let client = pair.server.ready().expect("open");
    assert_eq!(client.chain[0].key(), key(1).public());
    assert_eq!(client.alpn.as_deref(), Some(NODE));
    let server = pair.client.ready().expect("open");
    assert_eq!(server.chain[0].key(), key(2).public());
    assert_eq!(server.alpn.as_deref(), Some(NODE));

    let large: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect(); // the pattern may wrap
    pair.client.send(b"question").expect("open");
    pair.server.send(&large).expect("open");
    pair.carry(usize::MAX).expect("nothing changed");
    assert_eq!(
        (pair.at_server.as_slice(), &pair.at_client),
        (b"question".as_slice(), &large)
    );

    pair.client.close();
    pair.carry(usize::MAX).expect("goodbye is not an error");
    assert!(pair.server.is_closed_by_peer() && !pair.client.is_closed_by_peer());
    assert_eq!(pair.client.send(b"more"), Err(NotSent::Closed));
    pair.server
        .send(b"last words")
        .expect("only one direction is closed");
    pair.server.close();
    pair.carry(usize::MAX).expect("goodbye is not an error");
    assert!(pair.at_client.ends_with(b"last words") && pair.client.is_closed_by_peer());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_handshake_and_data_survive_every_cut(piece in 1usize..700, sizes in prop::collection::vec(0usize..40_000, 0..4)) {
        let (connector, acceptor) = node_pair();
        let mut pair = Pair::new(&connector, &acceptor);
        pair.carry(piece).expect("both are willing");
        let mut sent = Vec::new();
        for size in sizes {
            let bytes = vec![size as u8; size]; // any byte will do
            pair.client.send(&bytes).expect("open");
            sent.extend(bytes);
        }
        pair.carry(piece).expect("nothing changed");
        prop_assert_eq!(&pair.at_server, &sent);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn hostile_bytes_never_panic(
        round in 0usize..3,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        tail in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let (connector, acceptor) = node_pair();
        let mut pair = Pair::new(&connector, &acceptor);
        let mut end = Ok(());
        for step in 0..4 {
            let from_client = step % 2 == 0;
            if step == 3 && pair.server.ready().is_some() {
                pair.server.send(&[1; 30_000]).expect("open");
            }
            let mut bytes = if from_client { pair.client.drain() } else { pair.server.drain() }.to_vec();
            if step >= round && !bytes.is_empty() {
                for (at, value) in &changes {
                    let at = at.index(bytes.len());
                    bytes[at] = *value;
                }
                bytes.extend_from_slice(&tail);
            }
            let (to, heard) = if from_client {
                (&mut pair.server, &mut pair.at_server)
            } else {
                (&mut pair.client, &mut pair.at_client)
            };
            let (first, second) = bytes.split_at(cut.index(bytes.len() + 1));
            end = end.and(to.received(first, heard)).and(to.received(second, heard));
            if end.is_err() {
                break;
            }
        }
    }
}

#[test]
fn single_bytes_are_enough() {
    let (connector, acceptor) = node_pair();
    let mut pair = Pair::new(&connector, &acceptor);
    pair.carry(1).expect("both are willing");
    pair.server.send(b"welcome").expect("open");
    pair.carry(1).expect("nothing changed");
    assert_eq!(pair.at_client, b"welcome");
}

#[test]
fn nothing_is_sent_before_the_peer_is_known() {
    let (connector, acceptor) = node_pair();
    let mut pair = Pair::new(&connector, &acceptor);
    assert_eq!(pair.client.send(b"secret"), Err(NotSent::NotReady));
    pair.server
        .received(&pair.client.drain(), &mut pair.at_server)
        .expect("a hello");
    assert!(
        pair.server.ready().is_none(),
        "the client has proven nothing yet"
    );
    assert_eq!(pair.server.send(b"secret"), Err(NotSent::NotReady));
}

#[test]
fn somebody_elses_certificate_is_refused_on_either_side() {
    let victim = own(&key(3), "victim");
    let thief = Identity::presenting(&key(4), std::slice::from_ref(&victim), victim.clone());
    assert!(Identity::new(&key(4), &[victim]).is_err());
    let honest = identity(5, "honest");

    let (client, server) = (
        Connector::new(&thief, Trust::Any, &[NODE]),
        Acceptor::new(&honest, &[NODE]),
    );
    let (who, _) = Pair::new(&client, &server)
        .carry(usize::MAX)
        .expect_err("no proof of the key");
    assert_eq!(who, "server");

    let (client, server) = (
        Connector::new(&honest, Trust::Any, &[NODE]),
        Acceptor::new(&thief, &[NODE]),
    );
    let mut pair = Pair::new(&client, &server);
    let (who, _) = pair.carry(usize::MAX).expect_err("no proof of the key");
    assert_eq!(who, "client");
    assert!(pair.client.ready().is_none());
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    let (mut connector, acceptor) = node_pair();
    let config = std::sync::Arc::get_mut(&mut connector.config).expect("not shared yet");
    config.client_auth_cert_resolver = std::sync::Arc::new(NoCertificate);
    let mut pair = Pair::new(&connector, &acceptor);
    let (who, broken) = pair.carry(usize::MAX).expect_err("mutual means mutual");
    assert_eq!((who, pair.server.ready()), ("server", None), "{broken}");
}

#[test]
fn a_client_without_a_certificate_has_proved_nothing_where_it_is_served() {
    let (mut connector, _) = node_pair();
    let config = std::sync::Arc::get_mut(&mut connector.config).expect("not shared yet");
    config.client_auth_cert_resolver = std::sync::Arc::new(NoCertificate);
    let acceptor = Acceptor::without_certificates(&identity(2, "vn"), &[NODE]);
    let mut pair = Pair::open(&connector, &acceptor);
    let peer = pair.server.ready().expect("the handshake is over");
    assert!(peer.chain.is_empty());
    pair.client.send(b"who am I").expect("open");
    pair.carry(usize::MAX).expect("unbroken");
    assert_eq!(pair.at_server, b"who am I");

    // One that has a certificate shows it there, too.
    let known = Connector::new(&identity(1, "ada"), Trust::Any, &[NODE]);
    let pair = Pair::open(&known, &acceptor);
    assert_eq!(pair.server.ready().expect("open").chain.len(), 1);
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(
        &self,
        _: &[&[u8]],
        _: &[rustls::SignatureScheme],
    ) -> Option<std::sync::Arc<rustls::sign::CertifiedKey>> {
        None
    }
    fn has_certs(&self) -> bool {
        false
    }
}

#[test]
fn who_speaks_another_protocol_is_refused() {
    let (client, server) = (identity(1, "client"), identity(2, "server"));
    let ethereum = protocol_name("ethereum");
    let connector = Connector::new(&client, Trust::Any, &[&ethereum]);
    let (who, _) = Pair::new(&connector, &Acceptor::new(&server, &[NODE]))
        .carry(usize::MAX)
        .expect_err("no common name");
    assert_eq!(who, "server");
    let end = Pair::new(&connector, &Acceptor::new(&server, &[])).carry(usize::MAX);
    assert_eq!(end, Err(("client", Broken::NoName)));
    let nameless = Connector::new(&client, Trust::Any, &[]);
    let pair = Pair::open(&nameless, &Acceptor::new(&server, &[NODE, HTTP1]));
    assert_eq!(pair.server.ready().expect("open").alpn, None);
}

#[test]
fn an_older_tls_is_refused() {
    let mut config =
        rustls::ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS12])
            .dangerous()
            .with_custom_certificate_verifier(std::sync::Arc::new(verifier::Server(Trust::Any)))
            .with_no_client_auth();
    config.alpn_protocols = vec![NODE.to_vec()];
    let connector = Connector {
        config: std::sync::Arc::new(config),
        wants_name: true,
        shows_chain: false,
    };
    let (_, acceptor) = node_pair();
    let (who, broken) = Pair::new(&connector, &acceptor)
        .carry(usize::MAX)
        .expect_err("TLS 1.3 only");
    assert_eq!(who, "server", "{broken}");
    let settings: &ServerConfig = &acceptor.0;
    assert_eq!(settings.send_tls13_tickets, 0);
}

#[test]
fn a_changed_byte_breaks_the_channel_for_good() {
    let (connector, acceptor) = node_pair();
    let mut pair = Pair::open(&connector, &acceptor);
    pair.client.send(b"first").expect("open");
    pair.client.send(b"second").expect("open");
    let mut bytes = pair.client.drain().to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let mut heard = b"kept".to_vec();
    assert!(pair.server.received(&bytes, &mut heard).is_err());
    assert_eq!(heard, b"kept", "a call that fails delivers nothing");
    bytes[last] ^= 1;
    assert!(
        pair.server.received(&bytes, &mut heard).is_err(),
        "not even the right bytes help now"
    );
    assert_eq!(
        (heard.as_slice(), pair.server.ready()),
        (b"kept".as_slice(), None)
    );
    assert_eq!(pair.server.send(b"reply"), Err(NotSent::Closed));
    let alert = pair.server.drain();
    assert!(!alert.is_empty(), "the peer is told");
    assert!(pair.client.received(&alert, &mut pair.at_client).is_err());
}

#[test]
fn any_changed_byte_of_a_handshake_ends_it() {
    let (connector, acceptor) = node_pair();
    let mut whole = Pair::new(&connector, &acceptor);
    whole
        .server
        .received(&whole.client.drain(), &mut vec![])
        .expect("a hello");
    let length = whole.server.drain().len();
    for at in (0..length).step_by(41) {
        let mut pair = Pair::new(&connector, &acceptor);
        pair.server
            .received(&pair.client.drain(), &mut pair.at_server)
            .expect("a hello");
        let mut flight = pair.server.drain().to_vec();
        flight[at.min(length - 8)] ^= 0x10;
        let end = pair
            .client
            .received(&flight, &mut pair.at_client)
            .and_then(|()| {
                let reply = pair.client.drain();
                pair.server.received(&reply, &mut pair.at_server)
            });
        assert!(end.is_err() || pair.client.ready().is_none(), "byte {at}");
        assert!(pair.server.ready().is_none(), "byte {at}");
    }
}

#[test]
fn what_waits_is_bounded() {
    let (connector, acceptor) = node_pair();
    let mut pair = Pair::open(&connector, &acceptor);
    pair.server.set_undrained_bytes_max(50_000);
    let block = [1; 20_000];
    pair.server.send(&block).expect("below the limit");
    pair.server.send(&block).expect("below the limit");
    assert_eq!(pair.server.send(&block), Err(NotSent::Full));
    pair.carry(usize::MAX).expect("nothing changed");
    assert_eq!(
        pair.at_client.len(),
        40_000,
        "the refused block was not half sent"
    );
    pair.server.send(&block).expect("drained");

    // A handshake message that claims 16 MiB and never ends.
    let mut server = Channel::accept(&acceptor);
    let mut record = vec![22, 3, 1, 0x40, 0];
    record.extend_from_slice(&[1, 0xff, 0xff, 0xff]);
    record.resize(5 + 0x4000, 0);
    let mut end = Ok(());
    for _ in 0..10 {
        end = server.received(&record, &mut Vec::new());
        if end.is_err() {
            break;
        }
    }
    assert!(end.is_err(), "no memory for the endless");
}

#[test]
fn a_connector_of_a_network_refuses_servers_of_another() {
    let (network_key, network) = {
        let key = key(10);
        let certificate =
            network_certificate(&key, "network", Millis(DAY), Millis(90 * DAY), [1; 16]);
        (key, certificate)
    };
    let names = ["vn.example".to_owned(), "192.0.2.1".to_owned()];
    let vn = key(11);
    let issued = node_certificate(
        &statement(&names, b"evidence"),
        vn.public(),
        &network_key,
        &network,
    )
    .expect("good names");
    assert!(
        verify_chain(
            std::slice::from_ref(&issued),
            std::slice::from_ref(&network),
            Millis(2 * DAY)
        )
        .is_ok()
    );
    let connector = Connector::new(&identity(1, "client"), Trust::Network(network), &[NODE]);

    let genuine = Acceptor::new(&Identity::new(&vn, &[issued]).expect("its own"), &[NODE]);
    let pair = Pair::open(&connector, &genuine);
    let said =
        statement_of(&pair.client.ready().expect("open").chain[0]).expect("a VN certificate");
    assert_eq!(
        (said.network, said.restarts, said.evidence),
        (NetworkId([7; 32]), 3, b"evidence".to_vec())
    );

    assert_eq!(said.issued, Millis(DAY));

    let own = self_signed_certificate(&statement(&names, b"evidence"), &vn).expect("good names");
    assert_eq!(
        evidence_of(&own),
        Some((b"evidence".to_vec(), b"endorsements".to_vec()))
    );
    let stranger = Acceptor::new(&Identity::new(&vn, &[own]).expect("its own"), &[NODE]);
    let (who, broken) = Pair::new(&connector, &stranger)
        .carry(usize::MAX)
        .expect_err("another network");
    assert_eq!(who, "client");
    assert!(broken.to_string().contains("expected network"), "{broken}");
}

#[test]
fn evidence_of_any_length_that_fits_travels_in_a_handshake() {
    let vn = key(12);
    for length in [0, 100, 127, 128, 255, 256, 40_000, 56_000] {
        let evidence = vec![9; length];
        let certificate =
            self_signed_certificate(&statement(&[], &evidence), &vn).expect("it fits");
        assert_eq!(evidence_of(&certificate).expect("there").0, evidence);
        let acceptor = Acceptor::new(
            &Identity::new(&vn, &[certificate]).expect("its own"),
            &[NODE],
        );
        let pair = Pair::open(
            &Connector::new(&identity(1, "client"), Trust::Any, &[NODE]),
            &acceptor,
        );
        let there = &pair.client.ready().expect("open").chain[0];
        assert_eq!(evidence_of(there).expect("there").0.len(), length);
    }
    let long = vec![0; 60_000];
    let refused = self_signed_certificate(&statement(&[], &long), &vn);
    assert!(matches!(refused, Err(BadStatement::TooLong(60_012))));
    let names = ["n\u{f6}".to_owned()];
    assert!(matches!(
        self_signed_certificate(&statement(&names, b""), &vn),
        Err(BadStatement::Name(_))
    ));
    assert_eq!(evidence_of(&own(&vn, "no statement")), None);
}

#[derive(Debug)]
struct Module(SigningKey);

impl RemoteKey for Module {
    fn sign(&self, content: &[u8]) -> Result<crypto::Signature, String> {
        Ok(self.0.sign(content))
    }
}

#[test]
fn a_key_that_is_elsewhere_signs_handshakes() {
    let (_, acceptor) = node_pair();
    let ada = key(9);
    let chain = [own(&ada, "ada")];
    // Often enough that r or s begins with a zero, or with a bit that DER keeps clear.
    let remote = Identity::remote(std::sync::Arc::new(Module(ada)), &chain).expect("a chain");
    let connector = Connector::new(&remote, Trust::Any, &[NODE]);
    for _ in 0..64 {
        let pair = Pair::open(&connector, &acceptor);
        assert_eq!(pair.server.ready().expect("open").chain, chain);
    }
    // Somebody else's certificate does not help.
    let thief = Identity::remote(std::sync::Arc::new(Module(key(10))), &chain).expect("a chain");
    let mut pair = Pair::new(&Connector::new(&thief, Trust::Any, &[NODE]), &acceptor);
    assert!(pair.carry(usize::MAX).is_err());
}
