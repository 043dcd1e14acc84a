//! Signing in, what a token is good for, and how it ends; against a whole worker.

use adapter_ethereum::{dev, system};
use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, Keccak256, TxKind, U256, hex, keccak256};
use secp256k1::{Message, SECP256K1, SecretKey};
use serde_json::{Value, json};
use worker::solo::Solo;

/// The stream of an actor's session.
const ADA: u64 = 10;
const EVE: u64 = 12;
/// The stream of a session without a certificate.
const NOBODY: u64 = 14;

struct Node {
    solo: Solo,
    nonces: [u64; 10],
}

struct Answer {
    status: u16,
    body: Value,
}

fn actor(name: &str) -> B256 {
    let mut bytes = [0; 32];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    B256::new(bytes)
}

fn sign(hash: B256, account: usize) -> Vec<u8> {
    let key = SecretKey::from_byte_array(dev::ACCOUNTS[account].key).expect("a key");
    let (parity, compact) = SECP256K1
        .sign_ecdsa_recoverable(Message::from_digest(hash.0), &key)
        .serialize_compact();
    [compact.as_slice(), &[27 + (i32::from(parity) & 1) as u8]].concat()
}

fn personal(text: &str) -> B256 {
    keccak256(format!(
        "\x19Ethereum Signed Message:\n{}{text}",
        text.len()
    ))
}

impl Node {
    fn new() -> Self {
        Self::seeded([5; 32])
    }

    fn seeded(seed: [u8; 32]) -> Self {
        let mut settings: Value =
            serde_json::from_str(&dev::settings(dev::CHAIN_ID).to_json()).expect("json");
        settings["signIn"] = json!({"domains": ["app.example"], "tokenSeconds": 600});
        let mut solo = Solo::new(
            adapter_ethereum::machine(),
            adapter_ethereum::front(seed),
            settings.to_string(),
        );
        solo.open(ADA, "ada");
        solo.open(EVE, "eve");
        solo.open(NOBODY, "");
        Self {
            solo,
            nonces: [0; 10],
        }
    }

    fn http(
        &mut self,
        stream: u64,
        method: &str,
        target: &str,
        headers: &str,
        body: &str,
    ) -> Answer {
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: vn\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let reply = self.solo.bytes(stream, request.into_bytes());
        let text = String::from_utf8(reply.to_vec()).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer came at once");
        Answer {
            status: head[9..12].parse().expect("a status"),
            body: serde_json::from_str(body).unwrap_or(Value::Null),
        }
    }

    fn rpc(&mut self, stream: u64, headers: &str, method: &str, params: Value) -> Answer {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.http(stream, "POST", "/", headers, &body.to_string())
    }

    fn message(&mut self, stream: u64, account: usize) -> String {
        let challenge = self.http(stream, "GET", "/siwe", "", "");
        assert_eq!(challenge.status, 200);
        let of = |name: &str| challenge.body[name].as_str().expect("text").to_owned();
        format!(
            "app.example wants you to sign in with your Ethereum account:\n{}\n\nOrders.\n\n\
             URI: https://app.example\nVersion: 1\nChain ID: 31337\nNonce: {}\nIssued At: {}",
            dev::ACCOUNTS[account].address,
            of("nonce"),
            of("issuedAt")
        )
    }

    fn post(&mut self, stream: u64, message: &str, signature: &[u8]) -> Answer {
        let body = json!({"message": message, "signature": hex::encode_prefixed(signature)});
        self.http(stream, "POST", "/siwe", "", &body.to_string())
    }

    fn sign_in(&mut self, stream: u64, account: usize) -> Answer {
        let message = self.message(stream, account);
        self.post(stream, &message, &sign(personal(&message), account))
    }

    fn token(&mut self, stream: u64, account: usize) -> String {
        let answer = self.sign_in(stream, account);
        assert_eq!(answer.status, 200, "{}", answer.body);
        bearer(answer.body["token"].as_str().expect("a token"))
    }

    fn raw(&mut self, account: usize, to: Address, input: Vec<u8>) -> Value {
        let transaction = TxEip1559 {
            chain_id: dev::CHAIN_ID,
            nonce: self.nonces[account],
            gas_limit: 1_000_000,
            max_fee_per_gas: 1,
            to: TxKind::Call(to),
            input: input.into(),
            ..Default::default()
        };
        json!([hex::encode_prefixed(dev::sign(
            transaction,
            &dev::ACCOUNTS[account].key
        ))])
    }

    /// A call of IDENTITY by a transaction.
    fn identity(&mut self, stream: u64, account: usize, signature: &str, word: B256) {
        let input = [&keccak256(signature)[..4], word.as_slice()].concat();
        let raw = self.raw(account, system::IDENTITY, input);
        self.nonces[account] += 1;
        let sent = self.rpc(stream, "", "eth_sendRawTransaction", raw);
        let receipt = self.rpc(
            stream,
            "",
            "eth_getTransactionReceipt",
            json!([sent.body["result"]]),
        );
        assert_eq!(receipt.body["result"]["status"], "0x1", "{}", sent.body);
    }

    fn bind(&mut self, stream: u64, name: &str, account: usize) {
        self.identity(stream, account, "bind(bytes32)", actor(name));
    }

    /// The accounts for which a request is answered; the status if it is not.
    fn accounts(&mut self, stream: u64, headers: &str) -> Result<Value, u16> {
        let answer = self.rpc(stream, headers, "eth_accounts", json!([]));
        match answer.status {
            200 => Ok(answer.body["result"].clone()),
            status => Err(status),
        }
    }
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

fn mine(account: usize) -> Value {
    json!([dev::ACCOUNTS[account].address.to_string().to_lowercase()])
}

fn word(account: usize) -> B256 {
    dev::ACCOUNTS[account].address.into_word()
}

#[test]
fn without_a_certificate_one_can_sign_in_and_nothing_else() {
    let mut node = Node::new();
    for (method, params) in [
        ("eth_blockNumber", json!([])),
        ("eth_sendRawTransaction", node.raw(0, Address::ZERO, vec![])),
        ("eth_chainId", json!([])),
    ] {
        let answer = node.rpc(NOBODY, "", method, params);
        assert_eq!(answer.status, 401, "{method}: {}", answer.body);
    }
    // The account must belong to somebody of the network.
    let stranger = node.sign_in(NOBODY, 1);
    assert_eq!(stranger.status, 403, "{}", stranger.body);
    node.bind(ADA, "ada", 1);
    let token = node.token(NOBODY, 1);
    assert_eq!(node.accounts(NOBODY, &token), Ok(mine(1)));
    let shown = node.rpc(NOBODY, &token, "coco_principal", json!([])).body;
    assert_eq!(shown["result"]["actor"], json!(actor("ada")));
    let headers = "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    assert_eq!(node.http(NOBODY, "GET", "/", headers, "").status, 401);
}

#[test]
fn a_token_session_sends_transactions_of_its_own_account_only() {
    let mut node = Node::new();
    node.bind(ADA, "ada", 1);
    let token = node.token(NOBODY, 1);
    let foreign = node.raw(2, Address::ZERO, vec![]);
    let refused = node.rpc(NOBODY, &token, "eth_sendRawTransaction", foreign);
    assert_eq!(refused.body["error"]["code"], -32003, "{}", refused.body);
    let own = node.raw(1, Address::ZERO, vec![]);
    let sent = node.rpc(NOBODY, &token, "eth_sendRawTransaction", own);
    assert!(sent.body["result"].is_string(), "{}", sent.body);
}

#[test]
fn a_token_is_carried_in_three_ways_and_opened_by_every_node() {
    let mut node = Node::new();
    node.bind(ADA, "ada", 1);
    let token = node.sign_in(NOBODY, 1).body["token"]
        .as_str()
        .expect("a token")
        .to_owned();
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "eth_accounts", "params": []}).to_string();
    let basic = format!(
        "authorization: Basic {}\r\n",
        base64(format!("coco:{token}").as_bytes())
    );
    assert_eq!(node.accounts(NOBODY, &bearer(&token)), Ok(mine(1)));
    assert_eq!(node.accounts(NOBODY, &basic), Ok(mine(1)));
    let path = node.http(NOBODY, "POST", &format!("/t/{token}"), "", &body);
    assert_eq!(path.body["result"], mine(1));
    let both = node.http(NOBODY, "POST", &format!("/t/{token}"), &basic, &body);
    assert_eq!(both.status, 401);

    // Another node of the network: another start, the same key, the same ledger.
    let mut other = Node::seeded([6; 32]);
    other.bind(ADA, "ada", 1);
    assert_eq!(other.accounts(NOBODY, &bearer(&token)), Ok(mine(1)));
}

#[test]
fn what_is_not_signed_for_this_network_gives_no_token() {
    let mut node = Node::new();
    node.bind(ADA, "ada", 1);
    let good = node.message(NOBODY, 1);
    for (from, to) in [
        ("app.example wants", "evil.example wants"),
        ("Chain ID: 31337", "Chain ID: 1"),
        ("Nonce: 0", "Nonce: 1"),
        ("Issued At", "Issued at"),
        ("Orders.\n\nURI", "Orders.\nURI"),
    ] {
        let message = good.replacen(from, to, 1);
        assert_ne!(message, good);
        let answer = node.post(NOBODY, &message, &sign(personal(&message), 1));
        assert!(matches!(answer.status, 400 | 403), "{to}: {}", answer.body);
    }
    let expired = format!("{good}\nExpiration Time: 2001-01-01T00:00:00Z");
    assert_eq!(
        node.post(NOBODY, &expired, &sign(personal(&expired), 1))
            .status,
        403
    );
    assert_eq!(
        node.post(NOBODY, &good, &sign(personal(&good), 2)).status,
        403
    );
    assert_eq!(node.post(NOBODY, &good, &[0; 65]).status, 403);
    assert_eq!(node.http(NOBODY, "POST", "/siwe", "", "{").status, 400);
    assert_eq!(
        node.post(NOBODY, &good, &sign(personal(&good), 1)).status,
        200
    );
    // Five minutes later the challenge is too old.
    node.solo.advance(300_000);
    assert_eq!(
        node.post(NOBODY, &good, &sign(personal(&good), 1)).status,
        403
    );
}

#[test]
fn tokens_end_by_time_by_revocation_and_with_the_binding() {
    let mut node = Node::new();
    node.bind(ADA, "ada", 1);
    node.bind(ADA, "ada", 2);
    let (first, second) = (node.token(NOBODY, 1), node.token(NOBODY, 2));

    node.identity(ADA, 2, "revoke(address)", word(2));
    assert_eq!(node.accounts(NOBODY, &second), Err(401));
    assert_eq!(node.accounts(NOBODY, &first), Ok(mine(1)));

    let one = node.sign_in(NOBODY, 2);
    let one_id: B256 = one.body["id"]
        .as_str()
        .expect("an id")
        .parse()
        .expect("hex");
    let (one, other) = (
        bearer(one.body["token"].as_str().expect("a token")),
        node.token(NOBODY, 2),
    );
    node.identity(ADA, 2, "revokeToken(bytes32)", one_id);
    assert_eq!(node.accounts(NOBODY, &one), Err(401));
    assert_eq!(node.accounts(NOBODY, &other), Ok(mine(2)));

    // The first account manages the actor's others.
    node.identity(ADA, 1, "unbind(address)", word(2));
    assert_eq!(node.accounts(NOBODY, &other), Err(401));

    node.solo.advance(600_001);
    assert_eq!(node.accounts(NOBODY, &first), Err(401));
}

#[test]
fn a_revocation_closes_the_sockets_that_lived_by_the_token() {
    let mut node = Node::new();
    node.bind(ADA, "ada", 1);
    node.bind(ADA, "ada", 2);
    let (first, second) = (node.token(NOBODY, 1), node.token(NOBODY, 2));
    for (stream, token) in [(20, first), (22, second)] {
        node.solo.open(stream, "");
        let upgrade = format!(
            "GET / HTTP/1.1\r\nhost: vn\r\nupgrade: websocket\r\nconnection: upgrade\r\n{token}\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let answer = node.solo.bytes(stream, upgrade.into_bytes());
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{answer:?}");
        let subscribe =
            json!({"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]});
        let answer = node.solo.bytes(stream, frame(&subscribe.to_string()));
        assert!(
            String::from_utf8_lossy(&answer).contains("result"),
            "{answer:?}"
        );
    }
    // What no node made does not open one.
    for headers in [
        "",
        "authorization: Bearer \r\n",
        "authorization: Bearer coco100\r\n",
    ] {
        node.solo.open(24, "");
        let upgrade = format!(
            "GET / HTTP/1.1\r\nhost: vn\r\nupgrade: websocket\r\nconnection: upgrade\r\n{headers}\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let answer = node.solo.bytes(24, upgrade.into_bytes());
        assert!(answer.starts_with(b"HTTP/1.1 401"), "{headers}");
    }
    node.identity(ADA, 1, "revoke(address)", word(1));
    assert!(node.solo.closed(20) && !node.solo.closed(22));
    assert!(
        node.solo.received(20).is_empty(),
        "it hears of nothing more, this block included"
    );
    assert!(!node.solo.received(22).is_empty());
}

#[test]
fn a_query_is_signed_for_one_body_and_a_short_time() {
    let mut node = Node::new();
    node.bind(ADA, "ada", 1);
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "eth_accounts", "params": []}).to_string();
    let now = 1_700_000_000u64;
    let header = |body: &str, deadline: u64, signer: usize| {
        let number = |n: u64| B256::from(U256::from(n));
        let hash = |parts: &[B256]| {
            let mut hasher = Keccak256::new();
            parts.iter().for_each(|part| hasher.update(part));
            hasher.finalize()
        };
        let domain = hash(&[
            keccak256("EIP712Domain(string name,string version,uint256 chainId)"),
            keccak256("Coco"),
            keccak256("1"),
            number(31337),
        ]);
        let query = hash(&[
            keccak256("Query(address account,bytes32 body,uint64 deadline)"),
            word(1),
            keccak256(body),
            number(deadline),
        ]);
        let digest =
            keccak256([b"\x19\x01".as_slice(), domain.as_slice(), query.as_slice()].concat());
        let signature = sign(digest, signer);
        let account = dev::ACCOUNTS[1].address;
        let bytes = [account.as_slice(), &deadline.to_be_bytes(), &signature].concat();
        format!("coco-query: {}\r\n", hex::encode_prefixed(bytes))
    };
    let mut ask = |headers: &str| node.http(NOBODY, "POST", "/", headers, &body).status;
    assert_eq!(ask(&header(&body, now + 60, 1)), 200);
    assert_eq!(ask(&header("{}", now + 60, 1)), 401);
    assert_eq!(ask(&header(&body, now + 60, 2)), 401);
    assert_eq!(ask(&header(&body, now - 1, 1)), 401);
    assert_eq!(ask(&header(&body, now + 3600, 1)), 401);
}

#[test]
fn a_front_end_speaks_for_accounts_of_its_own_actor() {
    let mut node = Node::new();
    node.bind(ADA, "ada", 1);
    node.bind(EVE, "eve", 2);
    let naming = |account: usize| format!("coco-accounts: {}\r\n", dev::ACCOUNTS[account].address);
    assert_eq!(node.accounts(ADA, ""), Ok(json!([])));
    assert_eq!(node.accounts(ADA, &naming(1)), Ok(mine(1)));
    assert_eq!(node.accounts(ADA, &naming(2)), Err(401));
    assert_eq!(node.accounts(ADA, &naming(3)), Err(401));
    assert_eq!(node.accounts(NOBODY, &naming(1)), Err(401));
    // A wallet of nobody's in particular signs in behind its front end, and there only.
    let token = node.token(ADA, 3);
    assert_eq!(node.accounts(ADA, &token), Ok(mine(3)));
    assert_eq!(node.accounts(EVE, &token), Err(401));
    assert_eq!(node.accounts(NOBODY, &token), Err(401));
}

#[test]
fn a_network_without_the_setting_signs_nobody_in() {
    let mut solo = Solo::new(
        adapter_ethereum::machine(),
        adapter_ethereum::front([5; 32]),
        dev::settings(dev::CHAIN_ID).to_json(),
    );
    assert_eq!(solo.http("GET", "/siwe", "").status, 404);
}

/// A client's text frame with a mask of zeros.
fn frame(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("short");
    let mut out = vec![0x81, 0x80 | 126];
    out.extend(length.to_be_bytes());
    out.extend([0; 4]);
    out.extend(text.as_bytes());
    out
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bytes
        .chunks(3)
        .flat_map(|chunk| {
            let all = chunk
                .iter()
                .fold(0u32, |all, byte| all << 8 | u32::from(*byte))
                << (8 * (3 - chunk.len()));
            (0..4).map(move |n| {
                if n > chunk.len() {
                    '='
                } else {
                    char::from(DIGITS[(all >> (18 - 6 * n) & 63) as usize])
                }
            })
        })
        .collect()
}
