//! Threads change nothing: whatever transactions of a batch do to each other, it comes to what it comes to
//! in order.

mod common;

use adapter::{Outcome, Unit};
use adapter_ethereum::{Alloc, dev, storage, system};
use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, TxKind, U256, keccak256};
use bytes::Bytes;
use common::threads::Threads;
use common::{Memory, batch, started, unit};
use proptest::prelude::*;
use types::ActorId;

/// Moves an amount (third word of its data) from the slot of the first word to that of the second and logs
/// it, as a token does; reverts if there is not enough.
const TOKEN: Address = Address::repeat_byte(0xd1);
const TOKEN_CODE: &str =
    "5f355460403580821060215790035f35556040356020355401602035555f5fa0005b5f5ffd";
/// Keeps an account's balance at the slot of its name.
const BALANCES: Address = Address::repeat_byte(0xd2);
const BALANCES_CODE: &str = "5f35315f355500";
/// Destroys itself in favour of who called.
const MORTAL: Address = Address::repeat_byte(0xd3);
const MORTAL_CODE: &str = "33ff";
/// Calls the address in the first word of its data with the rest, and keeps the answer.
const RELAY: Address = Address::repeat_byte(0xd4);
const RELAY_CODE: &str =
    "36602090038060205f375f5f825f5f5f355af13d5f5f3e156022575f515f553d5ff35b3d5ffd";
/// Keeps PREVRANDAO and the beneficiary's balance.
const LOOKER: Address = Address::repeat_byte(0xd5);
const LOOKER_CODE: &str = "445f55413160015500";

fn settings() -> String {
    let mut settings = dev::settings(dev::CHAIN_ID);
    for (address, code) in [
        (TOKEN, TOKEN_CODE),
        (BALANCES, BALANCES_CODE),
        (MORTAL, MORTAL_CODE),
        (RELAY, RELAY_CODE),
        (LOOKER, LOOKER_CODE),
    ] {
        let account = Alloc {
            code: Some(hex::decode(code).expect("hex").into()),
            nonce: 1,
            balance: U256::from(5),
            storage: (0u64..50)
                .map(|slot| (U256::from(slot), U256::from(100)))
                .collect(),
            ..Alloc::default()
        };
        settings.alloc.insert(address, account);
    }
    settings.to_json()
}

#[derive(Debug, Clone)]
enum Step {
    /// Ether, to one of few.
    Pay {
        to: u8,
        value: u64,
    },
    /// Ether, to another sender.
    PaySender {
        to: usize,
        value: u64,
    },
    Token {
        from: u8,
        to: u8,
        amount: u8,
    },
    Balance {
        of: usize,
    },
    Die,
    Look,
    /// A random number, through a contract.
    Draw,
    /// Binds the sender's account to the actor that submits.
    Bind,
    /// A system outside, which does not answer.
    Ask,
    Create(Vec<u8>),
    /// A nonce that was used.
    Repeat,
    /// A nonce that has not come yet.
    Skip,
    Overspend,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<u8>(), any::<u64>()).prop_map(|(to, value)| Step::Pay { to: to % 6, value }),
        3 => (0usize..6, any::<u64>()).prop_map(|(to, value)| Step::PaySender { to, value }),
        6 => (0u8..8, 0u8..8, 0u8..60).prop_map(|(from, to, amount)| Step::Token { from, to, amount }),
        2 => (0usize..6).prop_map(|of| Step::Balance { of }),
        1 => Just(Step::Die),
        1 => Just(Step::Look),
        1 => Just(Step::Draw),
        1 => Just(Step::Bind),
        1 => Just(Step::Ask),
        // Constructors: nothing, a log, self-destruction, a contract of one byte.
        2 => prop::sample::select(vec!["", "445f5260205fa0", "33ff", "60015ff3"])
            .prop_map(|code| Step::Create(hex::decode(code).expect("hex"))),
        1 => Just(Step::Repeat),
        1 => Just(Step::Skip),
        1 => Just(Step::Overspend),
    ]
}

fn words<const N: usize>(words: [u64; N]) -> Vec<u8> {
    words
        .iter()
        .flat_map(|word| U256::from(*word).to_be_bytes::<32>())
        .collect()
}

fn selector(signature: &str) -> Vec<u8> {
    keccak256(signature)[..4].to_vec()
}

/// Who submits for this sender. The last has no actor's certificate.
fn actor(from: usize) -> ActorId {
    ActorId([(5 - from) as u8; 32]) // 5 at most
}

/// To whom, with how much, with what data.
fn call(from: usize, step: &Step) -> (TxKind, U256, Vec<u8>) {
    let to = |address, value, data| (TxKind::Call(address), value, data);
    match step {
        Step::Pay { to: n, value } => to(Address::repeat_byte(*n), U256::from(*value), vec![]),
        Step::PaySender { to: n, value } => {
            to(dev::ACCOUNTS[*n].address, U256::from(*value), vec![])
        }
        Step::Token {
            from,
            to: receiver,
            amount,
        } => {
            let data = words([*from, *receiver, *amount].map(u64::from));
            to(TOKEN, U256::ZERO, data)
        }
        Step::Balance { of } => {
            let data = dev::ACCOUNTS[*of].address.into_word();
            to(BALANCES, U256::ZERO, data.to_vec())
        }
        Step::Die => to(MORTAL, U256::ONE, vec![]),
        Step::Look => to(LOOKER, U256::ZERO, vec![]),
        Step::Draw => {
            let data = [system::RANDOM.into_word().to_vec(), selector("next()")];
            to(RELAY, U256::ZERO, data.concat())
        }
        Step::Bind => {
            let data = [selector("bind(bytes32)"), actor(from).0.to_vec()];
            to(system::IDENTITY, U256::ZERO, data.concat())
        }
        Step::Ask => {
            let parts = words([5 * 32, 6 * 32, 7 * 32, 8 * 32, 9 * 32, 0, 0, 0, 0, 0]);
            let data = [selector("call(string,string,string,string,bytes)"), parts];
            to(system::EXTERNAL, U256::ZERO, data.concat())
        }
        Step::Create(code) => (TxKind::Create, U256::from(3), code.clone()),
        Step::Repeat | Step::Skip => to(TOKEN, U256::ZERO, words([1, 2, 1])),
        Step::Overspend => to(TOKEN, U256::MAX >> 8, vec![]),
    }
}

/// Units as a VN would admit them; nonces count what should succeed before.
fn script(
    machine: &dyn adapter::Machine,
    memory: &Memory,
    steps: &[(usize, Step)],
    nonces: &mut [u64; 6],
) -> Vec<Unit> {
    let mut units = Vec::new();
    for (from, step) in steps {
        let next = nonces[*from];
        let (to, value, input) = call(*from, step);
        let transaction = TxEip1559 {
            chain_id: dev::CHAIN_ID,
            nonce: match step {
                Step::Repeat => next.saturating_sub(1),
                Step::Skip => next + 1,
                _ => next,
            },
            gas_limit: 200_000,
            max_fee_per_gas: 2_000_000_000,
            to,
            value,
            input: input.into(),
            ..TxEip1559::default()
        };
        if !matches!(
            step,
            Step::Repeat | Step::Skip | Step::Overspend | Step::Ask
        ) {
            nonces[*from] += 1;
        }
        let raw: Bytes = dev::sign(transaction, &dev::ACCOUNTS[*from].key);
        let admitted = unit(machine, memory, raw);
        units.extend(admitted.map(|unit| Unit {
            caller: actor(*from),
            ..unit
        }));
    }
    units
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_batch_comes_to_the_same_with_any_number_of_threads(
        batches in prop::collection::vec(prop::collection::vec((0usize..6, step()), 16..70), 1..3),
        width in 2usize..6,
    ) {
        let settings = settings();
        let (machine, mut in_order) = started(&settings);
        let threads = Threads::new(width);
        let spread = adapter_ethereum::machine_spread(threads.clone());
        let mut side_by_side = in_order.clone();
        let mut nonces = [0; 6];
        let mut units_in_all = 0;
        for steps in &batches {
            let units = script(&*machine, &in_order, steps, &mut nonces);
            units_in_all += units.len();
            let expected = batch(&*machine, &mut in_order, &units);
            let found = batch(&*spread, &mut side_by_side, &units);
            prop_assert_eq!(found, expected);
            prop_assert!(side_by_side.map == in_order.map, "the states differ");
        }
        let (ahead, again) = threads.counts();
        prop_assert!(again <= ahead && ahead <= units_in_all);
    }
}

/// A token's transfers, each of another sender.
fn token_transfers(
    machine: &dyn adapter::Machine,
    memory: &Memory,
    of: impl Fn(u8) -> [u8; 2],
) -> Vec<Unit> {
    (0..40u8)
        .map(|n| {
            let [from, to] = of(n).map(u64::from);
            let transaction = TxEip1559 {
                chain_id: dev::CHAIN_ID,
                gas_limit: 100_000,
                to: TxKind::Call(TOKEN),
                input: words([from, to, 1]).into(),
                ..TxEip1559::default()
            };
            unit(machine, memory, dev::sign(transaction, &[n + 1; 32])).expect("admitted")
        })
        .collect()
}

#[test]
fn what_meets_nothing_is_executed_once_and_what_meets_is_executed_again() {
    let (machine, memory) = started(&settings());
    let run = |units: &[Unit]| {
        let threads = Threads::new(2);
        let spread = adapter_ethereum::machine_spread(threads.clone());
        let mut memory = memory.clone();
        let outcomes = batch(&*spread, &mut memory, units);
        let is_applied = |outcome: &Outcome| matches!(outcome, Outcome::Applied { .. });
        assert!(outcomes.iter().all(is_applied), "{outcomes:?}");
        (threads.counts(), memory)
    };
    let balance =
        |memory: &Memory, slot: u64| storage(memory, &TOKEN, U256::from(slot)).expect("never lost");
    let (counts, memory_apart) = run(&token_transfers(&*machine, &memory, |n| [n, n + 100]));
    assert_eq!(counts, (30, 0));
    assert_eq!(balance(&memory_apart, 7), U256::from(99));
    let (counts, memory_together) = run(&token_transfers(&*machine, &memory, |_| [1, 2]));
    assert_eq!(counts, (30, 30));
    assert_eq!(balance(&memory_together, 1), U256::from(60));
    assert_eq!(balance(&memory_together, 2), U256::from(140));
}

#[test]
fn few_units_or_one_thread_are_executed_in_order() {
    let (machine, memory) = started(&settings());
    let units = token_transfers(&*machine, &memory, |n| [n, n + 100]);
    for (width, count) in [(1, 40), (8, 15), (0, 40)] {
        let threads = Threads::new(width);
        let spread = adapter_ethereum::machine_spread(threads.clone());
        batch(&*spread, &mut memory.clone(), &units[..count]);
        assert_eq!(threads.counts(), (0, 0));
    }
}
