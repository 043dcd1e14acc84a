//! System contracts, as contracts and their callers meet them, and again when a batch is replayed.

mod common;

use adapter::{Machine, Outcome, Unit};
use adapter_ethereum::{Receipt, Status, dev, storage, system};
use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, TxKind, U256, keccak256};
use bytes::Bytes;
use common::{Memory, batch, started, unit};
use types::ActorId;

/// Calls the address in the first word of its input with the rest, keeps the first word of what came back
/// in slot 0, and returns it; reverts as the callee did.
const RELAY: Address = Address::repeat_byte(0xc1);
const RELAY_CODE: &str = "36602090038060205f375f5f825f5f5f355af13d5f5f3e15602257\
                          5f515f553d5ff35b3d5ffd";
/// Pads its gas to a million, then writes the first word of its input to slot 0 if that is not zero.
const PADDED: Address = Address::repeat_byte(0xc2);

const ADA: ActorId = ActorId([0xa; 32]);
const EVE: ActorId = ActorId([0xe; 32]);

fn settings() -> String {
    let mut settings = dev::settings(dev::CHAIN_ID);
    for (address, code) in [(RELAY, RELAY_CODE.to_owned()), (PADDED, padded_code())] {
        let account = adapter_ethereum::Alloc {
            code: Some(hex::decode(code).expect("hex").into()),
            nonce: 1,
            ..Default::default()
        };
        settings.alloc.insert(address, account);
    }
    settings.to_json()
}

fn padded_code() -> String {
    let pad = &system::PAD_GAS.to_string()[2..];
    // The selector lies at the end of the first word, the step in the second.
    let head = format!("638f45216b5f52620f42406020525f5f6024601c5f73{pad}5af1");
    // The target of the jump is right behind what follows.
    let tail = "505f3580";
    let target = (head.len() + tail.len()) / 2 + 3 + 1;
    format!("{head}{tail}60{target:02x}57005b5f5500")
}

fn word(value: u64) -> Vec<u8> {
    U256::from(value).to_be_bytes::<32>().to_vec()
}

fn call(signature: &str, arguments: &[B256]) -> Vec<u8> {
    let mut input = keccak256(signature)[..4].to_vec();
    arguments
        .iter()
        .for_each(|word| input.extend_from_slice(word.as_slice()));
    input
}

struct World {
    machine: std::sync::Arc<dyn Machine>,
    memory: Memory,
    nonces: [u64; 10],
}

impl World {
    fn new() -> Self {
        let (machine, mut memory) = started(&settings());
        machine.found(&[0x77; 32], &mut memory);
        Self {
            machine,
            memory,
            nonces: [0; 10],
        }
    }

    fn unit(&mut self, from: usize, actor: ActorId, to: Address, input: Vec<u8>) -> Unit {
        let transaction = TxEip1559 {
            chain_id: dev::CHAIN_ID,
            nonce: self.nonces[from],
            gas_limit: 3_000_000,
            max_fee_per_gas: 1,
            to: TxKind::Call(to),
            input: input.into(),
            ..Default::default()
        };
        self.nonces[from] += 1;
        let raw = dev::sign(transaction, &dev::ACCOUNTS[from].key);
        let mut unit = unit(&*self.machine, &self.memory, raw).expect("admitted");
        unit.caller = actor;
        unit
    }

    fn run(&mut self, units: &[Unit]) -> Vec<Receipt> {
        batch(&*self.machine, &mut self.memory, units)
            .into_iter()
            .map(|outcome| match outcome {
                Outcome::Applied { receipt } => Receipt::decode(&receipt).expect("a receipt"),
                Outcome::Rejected(reject) => panic!("{reject}"),
                Outcome::Suspended(call) => panic!("{call:?}"),
            })
            .collect()
    }

    fn send(&mut self, from: usize, actor: ActorId, to: Address, input: Vec<u8>) -> Receipt {
        let unit = self.unit(from, actor, to, input);
        self.run(&[unit]).remove(0)
    }

    /// What a system contract gives when another contract calls it.
    fn ask(&mut self, contract: Address, input: Vec<u8>) -> U256 {
        let input = [contract.into_word().to_vec(), input].concat();
        let receipt = self.send(9, ADA, RELAY, input);
        assert!(receipt.success(), "{:?}", receipt.status);
        storage(&self.memory, &RELAY, U256::ZERO).expect("there")
    }
}

fn account(n: usize) -> Address {
    dev::ACCOUNTS[n].address
}

fn reason(receipt: &Receipt) -> String {
    match &receipt.status {
        Status::Reverted(data) => String::from_utf8_lossy(data.get(68..).unwrap_or_default())
            .trim_end_matches('\0')
            .to_owned(),
        other => format!("{other:?}"),
    }
}

#[test]
fn every_transaction_draws_its_own_numbers_and_a_replay_draws_the_same() {
    let mut world = World::new();
    let draw = || [system::RANDOM.into_word().to_vec(), call("next()", &[])].concat();
    let units: Vec<_> = (0..3)
        .map(|from| world.unit(from, ADA, RELAY, draw()))
        .collect();
    let mut drawn = Vec::new();
    let mut replay = world.memory.clone();
    for unit in &units {
        // One batch each: the entropy differs, too.
        world.run(std::slice::from_ref(unit));
        drawn.push(storage(&world.memory, &RELAY, U256::ZERO).expect("there"));
    }
    let again: Vec<_> = units
        .iter()
        .map(|unit| {
            let forwarded = Unit {
                memo: Default::default(),
                ..unit.clone()
            };
            batch(&*world.machine, &mut replay, &[forwarded]);
            storage(&replay, &RELAY, U256::ZERO).expect("there")
        })
        .collect();
    assert_eq!(drawn, again);
    drawn.sort();
    drawn.dedup();
    assert_eq!(drawn.len(), 3);
    let below = call("below(uint256)", &[B256::from(U256::from(6))]);
    for _ in 0..20 {
        assert!(world.ask(system::RANDOM, below.clone()) < U256::from(6));
    }
}

#[test]
fn an_account_is_bound_by_itself_to_the_actor_that_submits() {
    let mut world = World::new();
    let bind = |actor: ActorId| call("bind(bytes32)", &[B256::new(actor.0)]);
    let mine = |n: usize| account(n).into_word();

    let stolen = world.send(1, EVE, system::IDENTITY, bind(ADA));
    assert!(
        reason(&stolen).contains("not submitted by the actor"),
        "{}",
        reason(&stolen)
    );
    let nobody = world.send(
        1,
        ActorId([0; 32]),
        system::IDENTITY,
        bind(ActorId([0; 32])),
    );
    assert!(
        reason(&nobody).contains("not submitted"),
        "{}",
        reason(&nobody)
    );
    let through = [system::IDENTITY.into_word().to_vec(), bind(ADA)].concat();
    let lured = world.send(1, ADA, RELAY, through);
    assert!(
        reason(&lured).contains("binds itself"),
        "{}",
        reason(&lured)
    );

    assert!(world.send(1, ADA, system::IDENTITY, bind(ADA)).success());
    assert!(world.send(2, ADA, system::IDENTITY, bind(ADA)).success());
    assert!(world.send(3, EVE, system::IDENTITY, bind(EVE)).success());
    let actor = world.ask(system::IDENTITY, call("actorOf(address)", &[mine(1)]));
    assert_eq!(actor, U256::from_be_bytes(ADA.0));
    let roles =
        |world: &mut World, n| world.ask(system::IDENTITY, call("rolesOf(address)", &[mine(n)]));
    assert_eq!(
        (roles(&mut world, 1), roles(&mut world, 2)),
        (U256::from(3 << 28), U256::from(1 << 29))
    );

    // Eve's manager has no say over Ada's accounts, and Ada's second account none over the first.
    let set = |n: usize, roles: u64| {
        call(
            "setRoles(address,uint32)",
            &[mine(n), B256::from(U256::from(roles))],
        )
    };
    assert!(reason(&world.send(3, EVE, system::IDENTITY, set(2, 0))).contains("only a manager"));
    assert!(
        reason(&world.send(2, ADA, system::IDENTITY, set(2, 1 << 28))).contains("only a manager")
    );
    assert!(
        reason(&world.send(1, ADA, system::IDENTITY, set(2, 1 << 30))).contains("constitution")
    );
    assert!(
        world
            .send(1, ADA, system::IDENTITY, set(2, 1 << 16))
            .success()
    );
    assert_eq!(roles(&mut world, 2), U256::from(1 << 16));

    // A session without a certificate submits for the actor of the account that signed.
    let asked = [
        system::IDENTITY.into_word().to_vec(),
        call("submitter()", &[]),
    ]
    .concat();
    for (from, expected) in [(3, U256::from_be_bytes(EVE.0)), (5, U256::ZERO)] {
        let receipt = world.send(from, ActorId::ZERO, RELAY, asked.clone());
        assert!(receipt.success());
        let said = storage(&world.memory, &RELAY, U256::ZERO).expect("there");
        assert_eq!(said, expected);
    }

    let generation =
        |world: &mut World| world.ask(system::IDENTITY, call("generationOf(address)", &[mine(2)]));
    let before = generation(&mut world);
    assert!(
        world
            .send(
                1,
                ADA,
                system::IDENTITY,
                call("unbind(address)", &[mine(2)])
            )
            .success()
    );
    assert_eq!(generation(&mut world), before + U256::from(1));
    assert_eq!(
        world.ask(system::IDENTITY, call("actorOf(address)", &[mine(2)])),
        U256::ZERO
    );
    assert_eq!(
        world.ask(system::IDENTITY, call("submitter()", &[])),
        U256::from_be_bytes(ADA.0)
    );
}

#[test]
fn the_ledger_names_the_network_and_the_height() {
    let mut world = World::new();
    let network = world.ask(system::LEDGER, call("network()", &[]));
    assert_eq!(network, U256::from_be_bytes([0x77; 32]));
    let height = world.ask(system::LEDGER, call("height()", &[]));
    assert_eq!(height, U256::from(world.memory.env.height.0));
    let time = world.ask(system::LEDGER, call("timeMillis()", &[]));
    assert_eq!(time, U256::from(world.memory.env.time.0));
    assert_eq!(
        world.ask(system::LEDGER, call("isSimulation()", &[])),
        U256::ZERO
    );
}

#[test]
fn a_log_for_readers_is_one_log_for_each() {
    let mut world = World::new();
    let mut input = system::EMIT_TO.into_word().to_vec();
    input.extend(call("emitTo(address[],bytes)", &[]));
    for piece in [
        word(64),
        word(160),
        word(2),
        account(1).into_word().to_vec(),
        account(2).into_word().to_vec(),
        word(5),
    ] {
        input.extend(piece);
    }
    input.extend(b"hello");
    input.resize(input.len() + 27, 0);
    let receipt = world.send(0, ADA, RELAY, input);
    let readers: Vec<_> = receipt.logs.iter().map(system::log_reader).collect();
    assert_eq!(readers, [Some(account(1)), Some(account(2))]);
    for log in &receipt.logs {
        assert_eq!(log.data.topics()[1], RELAY.into_word());
        assert_eq!(&log.data.data[64..69], b"hello");
    }
}

#[test]
fn padded_gas_says_nothing_of_the_way_taken() {
    let mut world = World::new();
    let gas: Vec<_> = [0, 7]
        .map(|value| {
            let receipt = world.send(0, ADA, PADDED, word(value));
            assert!(receipt.success(), "{:?}", receipt.status);
            receipt.gas_used
        })
        .into();
    assert_eq!(gas, [1_000_000, 1_000_000]);
    assert_eq!(
        storage(&world.memory, &PADDED, U256::ZERO).expect("there"),
        U256::from(7)
    );
}

#[test]
fn a_policy_is_attached_by_the_deployer_alone() {
    let mut world = World::new();
    let policy = Address::repeat_byte(9).into_word();
    let target = account(0).create(5);
    let nonce = B256::from(U256::from(5));
    let attach = call(
        "attach(address,address,uint64)",
        &[target.into_word(), policy, nonce],
    );
    assert!(reason(&world.send(1, ADA, system::POLICY, attach.clone())).contains("did not create"));
    assert!(world.send(0, ADA, system::POLICY, attach).success());
    let found = world.ask(
        system::POLICY,
        call("policyOf(address)", &[target.into_word()]),
    );
    assert_eq!(found, U256::from_be_bytes(policy.0));
}

#[test]
fn hostile_calls_revert_and_change_nothing() {
    let mut world = World::new();
    let before = world.memory.map.clone();
    for contract in system::ADDRESSES {
        for input in [
            Vec::new(),
            vec![0xff; 4],
            keccak256("emitTo(address[],bytes)")[..4].to_vec(),
            [&keccak256("emitTo(address[],bytes)")[..4], &[0xff; 64]].concat(),
            [&keccak256("padTo(uint64)")[..4], &[0xff; 32]].concat(),
            call("padTo(uint64)", &[B256::from(U256::from(u64::MAX))]),
        ] {
            let receipt = world.send(0, ADA, contract, input);
            assert!(
                matches!(receipt.status, Status::Reverted(_)),
                "{contract}: {:?}",
                receipt.status
            );
        }
        let written = |map: &std::collections::BTreeMap<_, Bytes>| {
            map.iter()
                .filter(|((domain, _), _)| *domain == adapter_ethereum::STORAGE)
                .count()
        };
        assert_eq!(written(&world.memory.map), written(&before));
    }
}
