//! EXTERNAL, as contracts meet it: suspended, answered, failed, and again when a batch is replayed.

mod common;

use adapter::{Answer, ExternalCall, ExternalFailure, ExternalReply, Machine, Outcome, Unit};
use adapter_ethereum::{Receipt, Status, dev, storage, system};
use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, TxKind, U256, keccak256};
use bytes::Bytes;
use common::{Memory, batch, started, unit};

/// Gives its input to EXTERNAL twice. Slots 2 and 3: whether that succeeded; 0 and 1: first words of what
/// came back.
const TWICE: Address = Address::repeat_byte(0xd1);
/// The same by way of `UNDONE`.
const TWICE_UNDONE: Address = Address::repeat_byte(0xd2);
/// Gives its input to EXTERNAL and reverts with the first word that came back.
const UNDONE: Address = Address::repeat_byte(0xd3);
/// As `TWICE`, five times, and keeps whether the last succeeded in slot 0.
const FIVE: Address = Address::repeat_byte(0xd4);
/// Gives its input to EXTERNAL in a static call, and keeps whether that succeeded, and one, in slot 0.
const STATIC: Address = Address::repeat_byte(0xd5);

fn calls(target: Address, place: u8) -> String {
    let target = hex::encode(target);
    let slots = [place, place + 2];
    format!(
        "60206120{place:02x}365f5f73{target}5af160{:02x}556120{place:02x}5160{:02x}55",
        slots[1], slots[0]
    )
}

fn settings() -> String {
    let external = hex::encode(system::EXTERNAL);
    let copy = "365f5f37";
    let twice = |target| [copy, &calls(target, 0), &calls(target, 1)].concat();
    let once = format!("5f5f365f5f73{external}5af150");
    let contracts = [
        (TWICE, twice(system::EXTERNAL)),
        (TWICE_UNDONE, twice(UNDONE)),
        (
            UNDONE,
            format!("{copy}6020612000365f5f73{external}5af15060206120 00fd").replace(' ', ""),
        ),
        (
            FIVE,
            format!("{copy}{}5f5f365f5f73{external}5af15f55", once.repeat(4)),
        ),
        (STATIC, format!("{copy}5f5f365f73{external}5afa6001015f55")),
    ];
    let mut settings = dev::settings(dev::CHAIN_ID);
    settings.rules.states_kept = 4;
    for (address, code) in contracts {
        let account = adapter_ethereum::Alloc {
            code: Some(hex::decode(code).expect("hex").into()),
            nonce: 1,
            ..Default::default()
        };
        settings.alloc.insert(address, account);
    }
    settings.to_json()
}

/// `call(string,string,string,string,bytes)`.
fn input(parts: [&[u8]; 5]) -> Vec<u8> {
    let mut input = keccak256("call(string,string,string,string,bytes)")[..4].to_vec();
    let mut tail = Vec::new();
    for part in parts {
        input.extend(U256::from(5 * 32 + tail.len()).to_be_bytes::<32>());
        tail.extend(U256::from(part.len()).to_be_bytes::<32>());
        tail.extend_from_slice(part);
        tail.resize(tail.len().next_multiple_of(32), 0);
    }
    input.extend(tail);
    input
}

fn question() -> Vec<u8> {
    input([
        b"rates",
        b"POST",
        b"/v1?day=1",
        b"Accept: text/plain\nx-key:  secret \n",
        b"question",
    ])
}

struct World {
    machine: std::sync::Arc<dyn Machine>,
    memory: Memory,
    nonces: [u64; 10],
    gas_limit: u64,
}

impl World {
    fn new() -> Self {
        let (machine, memory) = started(&settings());
        Self {
            machine,
            memory,
            nonces: [0; 10],
            gas_limit: 3_000_000,
        }
    }

    fn unit(&mut self, from: usize, to: Address, input: Vec<u8>) -> Unit {
        let transaction = TxEip1559 {
            chain_id: dev::CHAIN_ID,
            nonce: self.nonces[from],
            gas_limit: self.gas_limit,
            max_fee_per_gas: 1,
            to: TxKind::Call(to),
            input: input.into(),
            ..Default::default()
        };
        self.nonces[from] += 1;
        let raw = dev::sign(transaction, &dev::ACCOUNTS[from].key);
        unit(&*self.machine, &self.memory, raw).expect("admitted")
    }

    fn execute(&mut self, unit: &Unit) -> Outcome {
        batch(&*self.machine, &mut self.memory, std::slice::from_ref(unit)).remove(0)
    }

    /// Executes it until it is applied, with these answers. Gives what it asked and its receipt.
    fn drive(
        &mut self,
        unit: &mut Unit,
        mut answer: impl FnMut(usize) -> Result<ExternalReply, ExternalFailure>,
    ) -> (Vec<ExternalCall>, Receipt) {
        let mut asked = Vec::new();
        loop {
            match self.execute(unit) {
                Outcome::Applied { receipt } => {
                    return (asked, Receipt::decode(&receipt).expect("a receipt"));
                }
                Outcome::Suspended(call) => {
                    let reply = answer(asked.len());
                    asked.push((*call).clone());
                    unit.answers.push(Answer { call: *call, reply });
                }
                Outcome::Rejected(reject) => panic!("{reject}"),
            }
        }
    }

    fn slot(&self, contract: Address, slot: u64) -> U256 {
        storage(&self.memory, &contract, U256::from(slot)).expect("there")
    }
}

fn reply(status: u16) -> Result<ExternalReply, ExternalFailure> {
    Ok(ExternalReply {
        status,
        body: Bytes::from_static(b"answer"),
    })
}

/// `Failed(uint8)`, as much of it as fits a word.
fn failed() -> U256 {
    let mut word = [0; 32];
    word[..4].copy_from_slice(&keccak256("Failed(uint8)")[..4]);
    U256::from_be_bytes(word)
}

#[test]
fn a_transaction_leaves_nothing_until_the_answer_is_there() {
    let mut world = World::new();
    let before = world.memory.clone();
    let mut unit = world.unit(0, TWICE, question());
    let Outcome::Suspended(call) = world.execute(&unit) else {
        panic!("it waits");
    };
    assert_eq!(world.memory.map, before.map, "nothing was written");
    let expected = ExternalCall {
        endpoint: "rates".into(),
        caller: Bytes::copy_from_slice(TWICE.as_slice()),
        method: "POST".into(),
        target: "/v1?day=1".into(),
        headers: vec![
            ("accept".into(), "text/plain".into()),
            ("x-key".into(), "secret".into()),
        ],
        body: "question".into(),
    };
    assert_eq!(*call, expected);
    let (asked, receipt) = world.drive(&mut unit, |place| reply(200 + u16::from(place == 1)));
    assert_eq!(asked, [expected.clone(), expected]);
    assert!(receipt.success());
    let slots: Vec<u64> = (0..4).map(|n| world.slot(TWICE, n).to()).collect();
    assert_eq!(slots, [200, 201, 1, 1]);
}

/// A worker with the protocol's front, and a client of it.
fn client() -> impl FnMut(&str, serde_json::Value) -> serde_json::Value {
    let mut solo = worker::solo::Solo::new(
        adapter_ethereum::machine(),
        adapter_ethereum::front([5; 32]),
        settings(),
    );
    solo.answers.extend([
        Bytes::from_static(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nanswer"),
        Bytes::from_static(b"HTTP/1.1 200 OK\r\ncontent-le"),
    ]);
    move |method, params| {
        let body =
            serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let response = solo.http("POST", "/", body.to_string());
        serde_json::from_slice(&response.body).expect("JSON")
    }
}

#[test]
fn a_client_sends_and_has_its_receipt_and_a_simulation_calls_nobody() {
    let mut client = client();
    let raw = |nonce| {
        let transaction = TxEip1559 {
            chain_id: dev::CHAIN_ID,
            nonce,
            gas_limit: 3_000_000,
            max_fee_per_gas: 1,
            to: TxKind::Call(TWICE),
            input: question().into(),
            ..Default::default()
        };
        format!(
            "0x{}",
            hex::encode(dev::sign(transaction, &dev::ACCOUNTS[0].key))
        )
    };
    let call = serde_json::json!({
        "to": system::EXTERNAL,
        "data": format!("0x{}", hex::encode(question())),
    });
    for method in ["eth_call", "eth_estimateGas"] {
        let said = client(method, serde_json::json!([call]));
        let message = said["error"]["message"].as_str().expect("an error");
        assert!(
            message.contains("nothing is called outside in a simulation"),
            "{message}"
        );
    }
    // The simulations took none of the answers: one whole, one that was cut off.
    let sent = client("eth_sendRawTransaction", serde_json::json!([raw(0)]));
    let receipt = client(
        "eth_getTransactionReceipt",
        serde_json::json!([sent["result"]]),
    );
    assert_eq!(receipt["result"]["status"], "0x1");
    let mut slot = |n: u64| {
        let at = serde_json::json!([TWICE, format!("0x{n:x}"), "latest"]);
        let word = client("eth_getStorageAt", at)["result"].clone();
        word.as_str()
            .expect("a word")
            .parse::<U256>()
            .expect("a number")
    };
    let succeeded = [slot(2), slot(3)].map(|word| word.to::<u64>());
    assert_eq!((slot(0).to::<u64>(), succeeded), (200, [1, 0]));
    assert_eq!(slot(1), failed());
    // A trace tells what was answered then, and calls nobody: both answers are used up.
    let calls = serde_json::json!([sent["result"], {"tracer": "callTracer"}]);
    let traced = client("debug_traceTransaction", calls)["result"].clone();
    assert_eq!(traced["gasUsed"], receipt["result"]["gasUsed"]);
    assert_eq!(traced["calls"].as_array().map(Vec::len), Some(2));
    let answer = traced["calls"][0]["output"].as_str().expect("bytes");
    assert!(answer.contains(&hex::encode("answer")), "{answer}");
    assert!(traced["calls"][1]["error"].is_string(), "{traced}");
}

#[test]
fn others_of_the_batch_go_on() {
    let mut world = World::new();
    let waits = world.unit(0, TWICE, question());
    let behind = world.unit(0, dev::ACCOUNTS[5].address, Vec::new());
    let other = world.unit(1, dev::ACCOUNTS[5].address, Vec::new());
    let units = [waits, behind, other];
    let outcomes = batch(&*world.machine, &mut world.memory, &units);
    assert!(matches!(
        &outcomes[..],
        [
            Outcome::Suspended(_),
            Outcome::Rejected(adapter::Reject {
                kind: adapter::Kind::Later,
                ..
            }),
            Outcome::Applied { .. }
        ]
    ));
    let mut alone = World::new();
    alone.unit(0, TWICE, question());
    let again = alone.unit(1, dev::ACCOUNTS[5].address, Vec::new());
    alone.execute(&again);
    assert_eq!(world.memory.map, alone.memory.map);
}

#[test]
fn a_replay_with_the_recorded_answers_is_equal() {
    let mut world = World::new();
    let mut replay = World::new().memory;
    let mut unit = world.unit(0, TWICE, question());
    let (_, receipt) = world.drive(&mut unit, |place| match place {
        0 => reply(200),
        _ => Err(ExternalFailure::TimedOut),
    });
    let recorded: Vec<_> = unit
        .answers
        .iter()
        .map(|answer| Answer::decode(answer.encode()).expect("encoded here"))
        .collect();
    replay.env.time = types::Millis(world.memory.env.time.0 - 1500);
    let from_entry = Unit {
        memo: Default::default(),
        answers: recorded,
        ..unit
    };
    let Outcome::Applied { receipt: again } =
        batch(&*world.machine, &mut replay, &[from_entry]).remove(0)
    else {
        panic!("the answers are there");
    };
    assert_eq!(Receipt::decode(&again).expect("a receipt"), receipt);
    assert_eq!(replay.map, world.memory.map);
}

#[test]
fn failures_are_outcomes_that_a_contract_sees() {
    use ExternalFailure as F;
    let all = [
        F::NotAllowed,
        F::Unreachable,
        F::Untrusted,
        F::TimedOut,
        F::TooLarge,
        F::BadReply,
        F::Busy,
    ];
    for failure in all {
        let mut world = World::new();
        let mut unit = world.unit(0, TWICE, question());
        let (_, receipt) = world.drive(&mut unit, |_| Err(failure));
        assert!(receipt.success(), "the contract goes on");
        assert_eq!(world.slot(TWICE, 0), failed());
        assert_eq!(world.slot(TWICE, 2), U256::ZERO);
        // To whoever calls it directly it is the reason of the revert.
        let mut unit = world.unit(1, system::EXTERNAL, question());
        let (_, receipt) = world.drive(&mut unit, |_| Err(failure));
        let Status::Reverted(data) = &receipt.status else {
            panic!("{:?}", receipt.status);
        };
        assert_eq!(data.last(), Some(&(failure as u8)));
    }
}

#[test]
fn calls_keep_their_numbers_when_their_frames_revert() {
    let mut world = World::new();
    let mut unit = world.unit(0, TWICE_UNDONE, question());
    let (asked, receipt) = world.drive(&mut unit, |place| reply(300 + u16::from(place == 1)));
    assert!(receipt.success());
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].caller, UNDONE.as_slice(), "the frame that calls");
    let slots: Vec<u64> = (0..4).map(|n| world.slot(TWICE_UNDONE, n).to()).collect();
    assert_eq!(slots, [300, 301, 0, 0]);
}

#[test]
fn a_transaction_that_asks_for_something_else_is_told_so_and_calls_nothing() {
    let mut world = World::new();
    let mut unit = world.unit(0, system::EXTERNAL, question());
    let Outcome::Suspended(call) = world.execute(&unit) else {
        panic!("it waits");
    };
    let other = ExternalCall {
        body: "another question".into(),
        ..*call
    };
    unit.answers.push(Answer {
        call: other,
        reply: reply(200),
    });
    let (asked, receipt) = world.drive(&mut unit, |_| reply(200));
    assert_eq!(asked, []);
    let Status::Reverted(data) = &receipt.status else {
        panic!("{:?}", receipt.status);
    };
    assert_eq!(data.last(), Some(&(ExternalFailure::Changed as u8)));
}

#[test]
fn nothing_is_called_from_a_static_frame_nor_a_fifth_time() {
    let mut world = World::new();
    let mut unit = world.unit(0, STATIC, question());
    let (asked, receipt) = world.drive(&mut unit, |_| reply(200));
    assert!(receipt.success() && asked.is_empty());
    assert_eq!(world.slot(STATIC, 0), U256::from(1), "it failed");
    let mut unit = world.unit(0, FIVE, question());
    let (asked, receipt) = world.drive(&mut unit, |_| reply(200));
    assert!(receipt.success());
    assert_eq!(asked.len(), 4);
    assert_eq!(world.slot(FIVE, 0), U256::ZERO, "the fifth failed");
}

#[test]
fn a_request_that_cannot_be_is_refused_with_a_reason_before_anything_leaves() {
    let mut world = World::new();
    let long = vec![b'x'; 70_000];
    let requests: [([&[u8]; 5], &str); 3] = [
        (
            [b"rates", b"GET", b"/", b"no field", b""],
            "a header field is a line `name: value`",
        ),
        (
            [b"rates", b"GET", b"\xff", b"", b""],
            "an argument is not text",
        ),
        (
            [b"rates", b"GET", b"/", b"", &long],
            "the request is too long",
        ),
    ];
    world.gas_limit = 10_000_000;
    for (parts, reason) in requests {
        let mut unit = world.unit(0, system::EXTERNAL, input(parts));
        let (asked, receipt) = world.drive(&mut unit, |_| reply(200));
        assert_eq!(asked, []);
        let Status::Reverted(data) = &receipt.status else {
            panic!("{:?}", receipt.status);
        };
        let text = String::from_utf8_lossy(&data[68..]);
        assert!(text.starts_with(reason), "{text}");
    }
    let mut garbled = question();
    garbled.truncate(100);
    let mut unit = world.unit(0, system::EXTERNAL, garbled);
    let (asked, receipt) = world.drive(&mut unit, |_| reply(200));
    assert!(asked.is_empty() && !receipt.success());
}

#[test]
fn bytes_cost_gas_both_ways_and_what_cannot_be_paid_is_not_asked() {
    let used = |bytes: usize| {
        let mut world = World::new();
        let mut unit = world.unit(0, system::EXTERNAL, question());
        let body = Bytes::from(vec![0; bytes]);
        let (_, receipt) = world.drive(&mut unit, |_| {
            Ok(ExternalReply {
                status: 200,
                body: body.clone(),
            })
        });
        assert!(receipt.success());
        receipt.gas_used
    };
    assert_eq!(used(1000) - used(0), 16_000);
    let mut world = World::new();
    world.gas_limit = 50_000;
    let mut unit = world.unit(0, system::EXTERNAL, question());
    let (asked, receipt) = world.drive(&mut unit, |_| reply(200));
    assert!(asked.is_empty() && !receipt.success());
}
