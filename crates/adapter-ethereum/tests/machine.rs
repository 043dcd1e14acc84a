//! The machine's promises: a batch equals its transactions one by one, a rejected transaction leaves
//! nothing, blocks chain, and nobody can predict PREVRANDAO.

mod common;

use adapter::{Exec, Kind, Machine, Outcome, Unit, View};
use adapter_ethereum::{Receipt, Status, account, dev, header, storage};
use alloy_consensus::{TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy};
use alloy_eips::eip7702::Authorization;
use alloy_primitives::{Address, B256, Signature, TxKind, U256, keccak256};
use bytes::Bytes;
use common::{Memory, batch, caller, started, unit};
use proptest::prelude::*;

/// Counts its calls in slot 0 and logs its caller.
const COUNTER: Address = Address::repeat_byte(0xc1);
/// Reverts with four bytes.
const REVERTER: Address = Address::repeat_byte(0xc2);
/// Logs PREVRANDAO.
const DICE: Address = Address::repeat_byte(0xc3);
/// Uses all gas.
const BURNER: Address = Address::repeat_byte(0xc4);

fn settings() -> String {
    let mut settings = dev::settings(dev::CHAIN_ID);
    for (address, code) in [
        (COUNTER, "5f546001015f55335f5fa100"),
        (REVERTER, "63deadbeef5f526004601cfd"),
        (DICE, "445f5260205fa000"),
        (BURNER, "fe"),
    ] {
        let account = adapter_ethereum::Alloc {
            code: Some(hex::decode(code).expect("hex").into()),
            nonce: 1,
            ..Default::default()
        };
        settings.alloc.insert(address, account);
    }
    settings.to_json()
}

fn transfer(nonce: u64, to: TxKind, value: U256, input: &[u8]) -> TxEip1559 {
    TxEip1559 {
        chain_id: dev::CHAIN_ID,
        nonce,
        gas_limit: 200_000,
        max_fee_per_gas: 2_000_000_000,
        max_priority_fee_per_gas: 1,
        to,
        value,
        input: input.to_vec().into(),
        ..Default::default()
    }
}

fn signed(from: usize, nonce: u64, to: Address) -> Bytes {
    dev::sign(
        transfer(nonce, TxKind::Call(to), U256::ZERO, &[]),
        &dev::ACCOUNTS[from].key,
    )
}

fn receipt(outcome: &Outcome) -> Receipt {
    match outcome {
        Outcome::Applied { receipt } => Receipt::decode(receipt).expect("well formed"),
        Outcome::Rejected(reject) => panic!("rejected: {reject}"),
        Outcome::Suspended(call) => panic!("suspended: {call:?}"),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Pay { to: u8, value: u64 },
    Call(usize),
    Create(Vec<u8>),
    Repeat,
    Skip,
    Overspend,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (any::<u8>(), any::<u64>()).prop_map(|(to, value)| Step::Pay { to: to % 8, value }),
        (0usize..4).prop_map(Step::Call),
        // Constructors: nothing, a log, self-destruction, a contract of one byte.
        prop::sample::select(vec!["", "445f5260205fa0", "33ff", "60015ff3"])
            .prop_map(|code| Step::Create(hex::decode(code).expect("hex"))),
        Just(Step::Repeat),
        Just(Step::Skip),
        Just(Step::Overspend),
    ]
}

/// Units as a VN would admit them; nonces count what should succeed before.
fn script(
    machine: &dyn Machine,
    memory: &Memory,
    steps: &[(usize, Step)],
    nonces: &mut [u64; 3],
) -> Vec<Unit> {
    let mut units = Vec::new();
    for (from, step) in steps {
        let nonce = nonces[*from];
        let (nonce, to, value, input) = match step {
            Step::Pay { to, value } => (
                nonce,
                TxKind::Call(Address::repeat_byte(*to)),
                U256::from(*value),
                vec![],
            ),
            Step::Call(which) => (
                nonce,
                TxKind::Call([COUNTER, REVERTER, DICE, BURNER][*which]),
                U256::ZERO,
                vec![],
            ),
            Step::Create(code) => (nonce, TxKind::Create, U256::from(3), code.clone()),
            Step::Repeat => (
                nonce.saturating_sub(1),
                TxKind::Call(COUNTER),
                U256::ZERO,
                vec![],
            ),
            Step::Skip => (nonce + 1, TxKind::Call(COUNTER), U256::ZERO, vec![]),
            Step::Overspend => (nonce, TxKind::Call(COUNTER), U256::MAX >> 8, vec![]),
        };
        let raw = dev::sign(
            transfer(nonce, to, value, &input),
            &dev::ACCOUNTS[*from].key,
        );
        if matches!(step, Step::Pay { .. } | Step::Call(_) | Step::Create(_)) {
            nonces[*from] += 1;
        }
        units.extend(unit(machine, memory, raw));
    }
    units
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_batch_equals_its_units_one_by_one(
        batches in prop::collection::vec(prop::collection::vec((0usize..3, step()), 1..12), 1..4),
    ) {
        let settings = settings();
        let (machine, mut together) = started(&settings);
        let (_, mut apart) = started(&settings);
        let mut nonces = [0; 3];
        for steps in &batches {
            let units = script(&*machine, &together, steps, &mut nonces);
            together.next_batch();
            apart.next_batch();
            let outcomes = machine.execute_all(&units, &mut together).expect("never lost");
            for (unit, outcome) in units.iter().zip(&outcomes) {
                let before = apart.savepoint();
                let map = apart.map.clone();
                // Another VN executes from the bytes and the recorded sender.
                let unit = Unit { memo: Default::default(), ..unit.clone() };
                let alone = machine.execute(&unit, &mut apart).expect("never lost");
                prop_assert_eq!(&alone, outcome);
                if matches!(alone, Outcome::Rejected(_)) {
                    prop_assert!(apart.map == map, "a rejected unit left something");
                    apart.rollback(before);
                }
            }
            prop_assert!(together.map == apart.map, "the states differ");
            if outcomes.iter().all(|outcome| matches!(outcome, Outcome::Applied { .. })) {
                let claims = [&mut together, &mut apart]
                    .map(|memory| machine.seal(&units, &outcomes, memory).expect("never lost"));
                prop_assert_eq!(&claims[0], &claims[1]);
            } else {
                let (units, outcomes): (Vec<_>, Vec<_>) = units
                    .into_iter()
                    .zip(outcomes)
                    .filter(|(_, outcome)| matches!(outcome, Outcome::Applied { .. }))
                    .unzip();
                machine.seal(&units, &outcomes, &mut together).expect("never lost");
                machine.seal(&units, &outcomes, &mut apart).expect("never lost");
            }
        }
    }
}

#[test]
fn nothing_is_charged_and_failures_are_part_of_the_ledger() {
    let (machine, mut memory) = started(&settings());
    let ada = dev::ACCOUNTS[0].address;
    let before = account(&memory, &ada)
        .expect("never lost")
        .expect("exists")
        .balance;
    let units: Vec<_> = [COUNTER, REVERTER, BURNER]
        .into_iter()
        .zip(0..)
        .map(|(to, nonce)| unit(&*machine, &memory, signed(0, nonce, to)).expect("admitted"))
        .collect();
    let outcomes = batch(&*machine, &mut memory, &units);
    let receipts: Vec<_> = outcomes.iter().map(receipt).collect();
    assert!(receipts[0].success() && receipts[0].logs.len() == 1);
    assert_eq!(
        receipts[1].status,
        Status::Reverted(Bytes::from_static(&[0xde, 0xad, 0xbe, 0xef]))
    );
    assert!(matches!(&receipts[2].status, Status::Halted(why) if why.contains("Invalid")));
    assert_eq!(receipts[2].gas_used, 200_000);
    let after = account(&memory, &ada).expect("never lost").expect("exists");
    assert_eq!((after.balance, after.nonce), (before, 3));
    assert_eq!(storage(&memory, &COUNTER, U256::ZERO), Ok(U256::ONE));
    assert_eq!(
        account(&memory, &Address::ZERO),
        Ok(None),
        "the coinbase gets nothing"
    );
}

#[test]
fn nonces_decide_between_now_later_and_never() {
    let (machine, mut memory) = started(&settings());
    let gap = unit(&*machine, &memory, signed(0, 2, COUNTER)).expect("admitted: it may wait");
    let outcomes = batch(&*machine, &mut memory, &[gap]);
    assert!(
        matches!(&outcomes[0], Outcome::Rejected(r) if r.kind == Kind::Later),
        "{outcomes:?}"
    );

    let first = unit(&*machine, &memory, signed(0, 0, COUNTER)).expect("admitted");
    receipt(&batch(&*machine, &mut memory, std::slice::from_ref(&first))[0]);
    let again = unit(&*machine, &memory, first.raw.clone()).expect_err("already applied");
    assert_eq!(
        (again.kind, again.message.as_str()),
        (Kind::Invalid, "nonce too low: next nonce 1, tx nonce 0")
    );
    let outcomes = batch(&*machine, &mut memory, &[first]);
    assert!(
        matches!(&outcomes[0], Outcome::Rejected(r) if r.kind == Kind::Invalid),
        "{outcomes:?}"
    );
}

#[test]
fn what_no_network_takes_is_refused_at_the_door() {
    let (machine, memory) = started(&settings());
    let key = &dev::ACCOUNTS[0].key;
    let refuse = |raw: Bytes, expected: &str| {
        let reject = machine.admit(&memory, &caller(), &raw).expect_err(expected);
        assert!(
            reject.message.contains(expected),
            "{} / {expected}",
            reject.message
        );
    };
    let good = transfer(0, TxKind::Call(COUNTER), U256::ZERO, &[]);
    machine
        .admit(&memory, &caller(), &dev::sign(good.clone(), key))
        .expect("the good one");

    refuse(
        dev::sign(
            TxEip1559 {
                chain_id: 1,
                ..good.clone()
            },
            key,
        ),
        "invalid chain id",
    );
    refuse(
        dev::sign(
            TxEip1559 {
                gas_limit: 20_999,
                ..good.clone()
            },
            key,
        ),
        "intrinsic gas too low",
    );
    refuse(
        dev::sign(
            TxEip1559 {
                gas_limit: 1 << 30,
                ..good.clone()
            },
            key,
        ),
        "gas limit too high",
    );
    refuse(
        dev::sign(
            TxEip1559 {
                nonce: u64::MAX,
                ..good.clone()
            },
            key,
        ),
        "nonce has max value",
    );
    refuse(
        dev::sign(
            TxEip1559 {
                max_priority_fee_per_gas: u128::MAX,
                ..good.clone()
            },
            key,
        ),
        "max priority fee",
    );
    let old = TxLegacy {
        gas_limit: 30_000,
        to: TxKind::Call(COUNTER),
        ..Default::default()
    };
    refuse(dev::sign(old, key), "replay-protected");
    let blob = TxEip4844 {
        chain_id: dev::CHAIN_ID,
        gas_limit: 30_000,
        ..Default::default()
    };
    let blob: alloy_consensus::TxEip4844Variant = blob.into();
    refuse(dev::sign(blob, key), "no blobs");
    let unsigned = TxEip7702 {
        chain_id: dev::CHAIN_ID,
        gas_limit: 90_000,
        ..Default::default()
    };
    refuse(dev::sign(unsigned, key), "empty auth list");

    let raw = dev::sign(good, key);
    refuse(raw.slice(..raw.len() - 1), "cannot decode");
    refuse([&raw[..], &[0]].concat().into(), "cannot decode");
    refuse(Bytes::new(), "cannot decode");
    refuse(vec![2; 200_000].into(), "oversized");
}

#[test]
fn a_signature_has_one_form() {
    use alloy_consensus::{SignableTransaction, TxEnvelope};
    use alloy_eips::{Decodable2718, Encodable2718};
    let (machine, memory) = started(&settings());
    let raw = signed(0, 0, COUNTER);
    let TxEnvelope::Eip1559(tx) = TxEnvelope::decode_2718_exact(&raw).expect("own bytes") else {
        unreachable!()
    };
    let order = U256::from_be_slice(
        &hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141")
            .expect("hex"),
    );
    let signature = tx.signature();
    let twin = Signature::new(signature.r(), order - signature.s(), !signature.v());
    let forged: Bytes = TxEnvelope::from(tx.tx().clone().into_signed(twin))
        .encoded_2718()
        .into();
    assert_ne!(forged, raw);
    let reject = machine
        .admit(&memory, &caller(), &forged)
        .expect_err("malleable");
    assert!(reject.message.contains("EIP-2"), "{reject}");
}

#[test]
fn every_transaction_type_of_a_network_executes() {
    let (machine, mut memory) = started(&settings());
    let [ada, bob] = [dev::ACCOUNTS[0], dev::ACCOUNTS[1]];
    let legacy = TxLegacy {
        chain_id: Some(dev::CHAIN_ID),
        gas_price: 7,
        gas_limit: 21_000,
        to: TxKind::Call(bob.address),
        value: U256::from(5),
        ..Default::default()
    };
    let listed = TxEip2930 {
        chain_id: dev::CHAIN_ID,
        nonce: 1,
        gas_limit: 100_000,
        to: TxKind::Call(COUNTER),
        ..Default::default()
    };
    // Bob lets his account run the counter's code.
    let authorization = Authorization {
        chain_id: U256::from(dev::CHAIN_ID),
        address: COUNTER,
        nonce: 0,
    };
    let secret = secp256k1::SecretKey::from_byte_array(bob.key).expect("a key");
    let message = secp256k1::Message::from_digest(authorization.signature_hash().0);
    let (parity, compact) = secp256k1::SECP256K1
        .sign_ecdsa_recoverable(message, &secret)
        .serialize_compact();
    let signature = Signature::from_bytes_and_parity(&compact, i32::from(parity) == 1);
    let delegating = TxEip7702 {
        chain_id: dev::CHAIN_ID,
        nonce: 2,
        gas_limit: 200_000,
        to: bob.address,
        authorization_list: vec![authorization.into_signed(signature)],
        ..Default::default()
    };
    let units: Vec<_> = [
        dev::sign(legacy, &ada.key),
        dev::sign(listed, &ada.key),
        dev::sign(delegating, &ada.key),
    ]
    .into_iter()
    .map(|raw| unit(&*machine, &memory, raw).expect("admitted"))
    .collect();
    for outcome in batch(&*machine, &mut memory, &units) {
        assert!(receipt(&outcome).success());
    }
    let code = adapter_ethereum::code(&memory, &bob.address).expect("never lost");
    assert_eq!(code, [&[0xef, 0x01, 0x00], COUNTER.as_slice()].concat());
    assert_eq!(storage(&memory, &bob.address, U256::ZERO), Ok(U256::ONE));
}

#[test]
fn blocks_chain_by_the_hash_of_what_is_served() {
    let (machine, mut memory) = started(&settings());
    for nonce in 0..3 {
        let unit = unit(&*machine, &memory, signed(0, nonce, COUNTER)).expect("admitted");
        memory.env.time = types::Millis(1_700_000_000_000 - nonce * 60_000); // a clock that runs backwards
        batch(&*machine, &mut memory, &[unit]);
    }
    let mut parent = header(&memory, 0).expect("never lost").expect("genesis");
    for number in 1..=3 {
        let block = header(&memory, number)
            .expect("never lost")
            .expect("sealed");
        assert_eq!(block.header.parent_hash, parent.hash);
        assert_eq!(block.hash, keccak256(alloy_rlp::encode(&block.header)));
        assert!(
            block.header.timestamp >= parent.header.timestamp,
            "time never decreases"
        );
        assert_ne!(block.header.state_root, parent.header.state_root);
        assert!(block.header.gas_used == 0 && block.header.logs_bloom.is_zero());
        parent = block;
    }
    assert_eq!(header(&memory, 4).expect("never lost"), None);
}

#[test]
fn roots_do_not_confirm_a_guess() {
    // The same transactions with other entropy at genesis: other roots, same results.
    let mut roots = Vec::new();
    for entropy in [[1; 32], [2; 32]] {
        let machine = adapter_ethereum::machine();
        let mut memory = Memory::new();
        memory.env.entropy = entropy;
        let bytes = settings().into_bytes().into();
        machine
            .genesis(&adapter::Settings { bytes }, &mut memory)
            .expect("usable");
        let unit = unit(&*machine, &memory, signed(0, 0, COUNTER)).expect("admitted");
        let outcomes = batch(&*machine, &mut memory, &[unit]);
        let block = header(&memory, 1)
            .expect("never lost")
            .expect("sealed")
            .header;
        roots.push((
            outcomes,
            [
                block.state_root,
                block.transactions_root,
                block.receipts_root,
            ],
        ));
    }
    assert_eq!(roots[0].0, roots[1].0);
    assert!(roots[0].1.iter().zip(&roots[1].1).all(|(a, b)| a != b));
}

#[test]
fn every_transaction_has_its_own_dice() {
    let (machine, mut memory) = started(&settings());
    let units: Vec<_> = (0..3)
        .map(|nonce| unit(&*machine, &memory, signed(0, nonce, DICE)).expect("admitted"))
        .collect();
    let thrown = |outcomes: &[Outcome]| -> Vec<B256> {
        outcomes
            .iter()
            .map(|o| B256::from_slice(&receipt(o).logs[0].data.data))
            .collect()
    };
    let mark = memory.savepoint();
    let first = thrown(&batch(&*machine, &mut memory, &units));
    assert!(first[0] != first[1] && first[1] != first[2] && first[0] != B256::ZERO);
    // The same transactions in a batch with other entropy.
    memory.rollback(mark);
    memory.env.height = types::Height(0);
    memory.next_batch();
    memory.env.entropy = [99; 32];
    let outcomes = machine
        .execute_all(&units, &mut memory)
        .expect("never lost");
    assert_ne!(thrown(&outcomes), first);
}

#[test]
fn a_restarted_machine_reads_its_rules_from_the_state() {
    let (_, memory) = started(&settings());
    let restarted = adapter_ethereum::machine();
    restarted
        .admit(&memory, &caller(), &signed(0, 0, COUNTER))
        .expect("the rules are in the state");
    let empty = Memory::new();
    let reject = restarted
        .admit(&empty, &caller(), &signed(0, 0, COUNTER))
        .expect_err("no genesis");
    assert_eq!(reject.kind, Kind::Busy);
    let _: &dyn View = &empty;
}

#[test]
fn a_claim_binds_transaction_and_receipt() {
    let (machine, mut memory) = started(&settings());
    let units =
        [0, 1].map(|nonce| unit(&*machine, &memory, signed(0, nonce, COUNTER)).expect("admitted"));
    let outcomes = batch(&*machine, &mut memory, &units);
    let receipts: Vec<_> = outcomes.iter().map(|o| receipt(o).encode()).collect();
    let digest =
        |unit: usize, receipt: usize| machine.claim_digest(&units[unit], &receipts[receipt]);
    assert_ne!(digest(0, 0), digest(1, 0));
    assert_ne!(
        digest(0, 0),
        digest(0, 1),
        "the first call pays for a new slot, the second does not"
    );
}
