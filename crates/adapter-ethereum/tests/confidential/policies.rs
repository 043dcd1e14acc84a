//! Policies, rules, domains, declarations, auditors and limits.

use adapter_ethereum::{Leak, Unchecked, readers, system};
use alloy_primitives::{Address, B256, TxKind, U256};
use serde_json::{Value, json};

use super::asm::{self, assemble, data, deploying};
use super::network::{
    ADA, AUDITOR, Asker, BOB, CAROL, EVE, Net, access, actor_id, address, domain, number, word,
};

const GET: u32 = 0x6d4c_e63c;
const SET: u32 = 0x60fe_47b1;
const ATTACH: u32 = 0x7f41_cc0d;
const NEW_DOMAIN: u32 = 0xadcb_e1d3;
const EXTEND_DOMAIN: u32 = 0xee55_4516;
const SET_HOME: u32 = 0x573d_caee;
const SET_LOG_RULE: u32 = 0xc5b7_e370;
const VOTE: u32 = 0x1afa_74e5;
const REFRESH: u32 = 0x0afb_0409;

const STORE: Address = Address::repeat_byte(0xa4);

fn hexadecimal(bytes: impl AsRef<[u8]>) -> String {
    format!("0x{}", hex::encode(bytes))
}

fn empty() -> Net {
    Net::new(Vec::new())
}

fn logs(net: &Net, who: Asker, of: Address) -> usize {
    let found = net.ok(
        who,
        "eth_getLogs",
        json!([{"address": of, "fromBlock": "0x0"}]),
    );
    found.as_array().expect("a list").len()
}

/// A policy contract: allows the account in its slot 0 everything.
fn policy(net: &Net, by: Asker, from: usize, reader: Address) -> Address {
    let owner = format!("{} 0 SSTORE", hexadecimal(reader));
    net.create(by, from, deploying(&owner, &asm::vault()))
}

#[test]
fn an_unmodified_contract_gets_a_policy_from_its_deployer() {
    let net = empty();
    let store = net.create(BOB, 1, deploying("", &asm::store()));
    net.send(BOB, 1, TxKind::Call(store), data(SET, &[number(9)]));
    assert_eq!((logs(&net, ADA, store), logs(&net, CAROL, store)), (1, 1));
    let policy = policy(&net, BOB, 1, address(2));
    // Bob's nonce was 0 when he made the store.
    let arguments = || [word(store), word(policy), number(0)];
    let refused = net.send(
        ADA,
        0,
        TxKind::Call(system::POLICY),
        data(ATTACH, &arguments()),
    );
    assert_eq!(refused["status"], "0x0", "somebody else's contract");
    net.policy(BOB, 1, data(ATTACH, &arguments()));
    assert_eq!((logs(&net, ADA, store), logs(&net, CAROL, store)), (0, 1));
    assert_eq!(net.eth_call(ADA, store, data(GET, &[])), "0x");
    assert_eq!(
        net.eth_call(CAROL, store, data(GET, &[])),
        hexadecimal(number(9))
    );
    // The check holds in transactions: a stranger's call finds nothing to call, and changes nothing.
    net.send(ADA, 0, TxKind::Call(store), data(SET, &[number(1)]));
    assert_eq!(
        net.eth_call(CAROL, store, data(GET, &[])),
        hexadecimal(number(9))
    );
}

#[test]
fn governors_attach_a_policy_by_vote() {
    let mut access = access();
    access.governors = ["ada", "bob", "carol"].map(actor_id).into();
    let net = Net::with(
        access,
        vec![(STORE, asm::store(), vec![(1, number(7))])],
        Leak::None,
    );
    let policy = policy(&net, BOB, 1, address(2));
    let vote = || data(VOTE, &[word(STORE), word(policy)]);
    let seen = || net.eth_call(ADA, STORE, data(GET, &[])) != "0x";
    net.policy(ADA, 0, vote());
    net.policy(ADA, 0, vote());
    assert!(seen(), "one governor has one vote");
    net.policy(BOB, 1, vote());
    assert!(!seen());
}

#[test]
fn who_is_no_governor_does_not_vote() {
    let net = Net::new(vec![(STORE, asm::store(), Vec::new())]);
    let vote = data(VOTE, &[word(STORE), word(STORE)]);
    let receipt = net.send(ADA, 0, TxKind::Call(system::POLICY), vote);
    assert_eq!(receipt["status"], "0x0");
}

#[test]
fn logs_are_shown_by_declared_rules() {
    let net = empty();
    // Logs with the topics 1, the caller, and what came in.
    let code = assemble("0 CALLDATALOAD CALLER 1 0 0 LOG3 STOP");
    let contract = net.create(BOB, 1, deploying("", &code));
    let send = |by, from| net.send(by, from, TxKind::Call(contract), word(address(0)).to_vec());
    send(BOB, 1);
    send(CAROL, 2);
    let rule = |topic: u64, bits: u64| {
        let input = data(SET_LOG_RULE, &[word(contract), number(topic), number(bits)]);
        net.policy(BOB, 1, input);
    };
    let seen = || [ADA, BOB, CAROL, EVE].map(|who| logs(&net, who, contract));
    assert_eq!(seen(), [2, 2, 2, 2]);
    rule(0, 0);
    assert_eq!(seen(), [0, 0, 0, 0]);
    rule(1, readers::SENDER);
    assert_eq!(seen(), [0, 1, 1, 0]);
    rule(1, readers::TOPIC2);
    assert_eq!(seen(), [2, 0, 0, 0]);
    rule(1, readers::TOPIC1);
    assert_eq!(seen(), [0, 1, 1, 0]);
    rule(1, readers::PUBLIC);
    assert_eq!(seen(), [2, 2, 2, 2]);
    let input = data(SET_LOG_RULE, &[word(contract), number(1), number(0)]);
    let receipt = net.send(ADA, 0, TxKind::Call(system::POLICY), input);
    assert_eq!(receipt["status"], "0x0", "the deployer's alone");
}

/// Bob founds a domain with Carol's actor and creates a store in it.
fn private() -> (Net, Address) {
    let net = Net::new(vec![
        (STORE, asm::store(), vec![(1, number(7))]),
        (Address::repeat_byte(0xa3), asm::helper(), Vec::new()),
    ]);
    let members = [number(32), number(1), actor_id("carol").0];
    net.policy(BOB, 1, data(NEW_DOMAIN, &members));
    let home = |id: u64| net.policy(BOB, 1, data(SET_HOME, &[number(id)]));
    home(domain(address(1), 1));
    let private = net.create(BOB, 1, deploying("", &asm::store()));
    home(0);
    (net, private)
}

#[test]
fn a_domain_exists_for_its_members_only() {
    let (net, private) = private();
    net.send(CAROL, 2, TxKind::Call(private), data(SET, &[number(5)]));
    for member in [BOB, CAROL] {
        assert_eq!(
            net.eth_call(member, private, data(GET, &[])),
            hexadecimal(number(5))
        );
        assert_eq!(logs(&net, member, private), 1);
        assert_ne!(net.ok(member, "eth_getCode", json!([private])), "0x");
        let block = net.ok(member, "eth_getBlockByNumber", json!(["latest", false]));
        assert_eq!(block["transactions"].as_array().map(Vec::len), Some(1));
    }
    for stranger in [ADA, EVE] {
        assert_eq!(net.eth_call(stranger, private, data(GET, &[])), "0x");
        assert_eq!(logs(&net, stranger, private), 0);
        assert_eq!(net.ok(stranger, "eth_getCode", json!([private])), "0x");
        let block = net.ok(stranger, "eth_getBlockByNumber", json!(["latest", false]));
        assert_eq!(block["transactions"], json!([]));
    }
    // A stranger's transaction finds nobody there.
    let receipt = net.send(ADA, 0, TxKind::Call(private), data(SET, &[number(6)]));
    assert_eq!(receipt["status"], "0x1");
    assert_eq!(
        net.eth_call(BOB, private, data(GET, &[])),
        hexadecimal(number(5))
    );
}

#[test]
fn a_domain_is_extended_by_one_transaction_of_its_founder() {
    let (net, private) = private();
    let extend = || {
        let members = [
            number(domain(address(1), 1)),
            number(64),
            number(1),
            actor_id("ada").0,
        ];
        data(EXTEND_DOMAIN, &members)
    };
    let receipt = net.send(ADA, 0, TxKind::Call(system::POLICY), extend());
    assert_eq!(receipt["status"], "0x0");
    assert_eq!(net.eth_call(ADA, private, data(GET, &[])), "0x");
    net.policy(BOB, 1, extend());
    assert_eq!(
        net.eth_call(ADA, private, data(GET, &[])),
        hexadecimal(number(0))
    );
}

#[test]
fn from_a_domain_what_is_public_is_read_and_not_written() {
    let (net, _) = private();
    let home = |id: u64| net.policy(BOB, 1, data(SET_HOME, &[number(id)]));
    home(domain(address(1), 1));
    let helper = net.create(BOB, 1, deploying("", &asm::helper()));
    let call = |selector: u32| {
        let mut word32 = [0; 32];
        word32[..4].copy_from_slice(&selector.to_be_bytes());
        [word(STORE), word32].concat()
    };
    let receipt = net.send(BOB, 1, TxKind::Call(helper), call(GET));
    assert_eq!(receipt["logs"][0]["data"], hexadecimal(number(7)));
    net.send(BOB, 1, TxKind::Call(helper), call(SET));
    assert_eq!(
        net.eth_call(EVE, STORE, data(GET, &[])),
        hexadecimal(number(7))
    );
}

#[test]
fn a_public_contract_does_not_enter_a_domain() {
    let (net, private) = private();
    let mut selector = [0; 32];
    selector[..4].copy_from_slice(&GET.to_be_bytes());
    net.send(CAROL, 2, TxKind::Call(private), data(SET, &[number(5)]));
    let input = [word(private), selector].concat();
    let helper = Address::repeat_byte(0xa3);
    let receipt = net.send(CAROL, 2, TxKind::Call(helper), input);
    assert_eq!(receipt["logs"][0]["data"], hexadecimal(number(0)));
}

#[test]
fn a_home_needs_membership() {
    let (net, _) = private();
    let input = data(SET_HOME, &[number(domain(address(1), 1))]);
    let receipt = net.send(ADA, 0, TxKind::Call(system::POLICY), input);
    assert_eq!(receipt["status"], "0x0");
}

#[test]
fn what_a_contract_declares_is_read_again_when_its_code_changes() {
    let net = empty();
    let store = net.create(BOB, 1, deploying("", &asm::store()));
    let vault = net.create(BOB, 1, deploying("", &asm::vault()));
    let slot: B256 =
        (U256::from_be_bytes(alloy_primitives::keccak256("eip1967.proxy.implementation").0)
            - U256::from(1))
        .into();
    let slot = hexadecimal(slot);
    // A proxy: a word alone is its next implementation, everything else is delegated.
    let proxy = assemble(&format!(
        "32 CALLDATASIZE EQ @upgrade JUMPI
         CALLDATASIZE 0 0 CALLDATACOPY
         0 0 CALLDATASIZE 0 {slot} SLOAD GAS DELEGATECALL
         RETURNDATASIZE 0 0 RETURNDATACOPY
         @fine JUMPI RETURNDATASIZE 0 REVERT
         :fine RETURNDATASIZE 0 RETURN
         :upgrade 0 CALLDATALOAD {slot} SSTORE STOP"
    ));
    let first = format!("{} {slot} SSTORE CALLER 0 SSTORE", hexadecimal(store));
    let proxy = net.create(BOB, 1, deploying(&first, &proxy));
    let seen = |who| net.eth_call(who, proxy, data(GET, &[])) != "0x";
    assert!(seen(ADA) && seen(BOB));
    assert_eq!(
        net.ok(ADA, "eth_getStorageAt", json!([proxy, slot])),
        hexadecimal(word(store)),
        "explorers follow proxies"
    );
    net.send(BOB, 1, TxKind::Call(proxy), word(vault).to_vec());
    assert!(!seen(ADA) && !seen(EVE), "the new code declares a check");
    assert!(seen(BOB), "and the old storage says whose it is");
}

#[test]
fn a_declaration_is_read_again_on_request() {
    let net = empty();
    // Supports ICocoAccess once slot 0 is set, and allows nothing.
    let id = asm::access_id();
    let code = assemble(&format!(
        "CALLDATASIZE ISZERO @arm JUMPI
         0 CALLDATALOAD 0xe0 SHR DUP1 0x01ffc9a7 EQ @supports JUMPI
         0x6d4ce63c EQ @get JUMPI 0 0 REVERT
         :get 7 0 MSTORE 32 0 RETURN
         :arm 1 0 SSTORE STOP
         :supports 4 CALLDATALOAD 0xe0 SHR DUP1 0x01ffc9a7 EQ SWAP1 {id} EQ 0 SLOAD AND OR
         0 MSTORE 32 0 RETURN"
    ));
    let contract = net.create(BOB, 1, deploying("", &code));
    let get = || net.eth_call(ADA, contract, data(GET, &[]));
    assert_eq!(get(), hexadecimal(number(7)));
    net.send(BOB, 1, TxKind::Call(contract), Vec::new());
    assert_eq!(get(), hexadecimal(number(7)), "recorded with the account");
    net.policy(BOB, 1, data(REFRESH, &[word(contract)]));
    assert_eq!(get(), "0x");
}

#[test]
fn contracts_without_a_check_follow_the_constitution() {
    for (unchecked, sender_reads) in [(Unchecked::Sender, 1), (Unchecked::Deny, 0)] {
        let mut access = access();
        access.unchecked = unchecked;
        let helper = Address::repeat_byte(0xa3);
        let net = Net::with(
            access,
            vec![(helper, asm::helper(), Vec::new())],
            Leak::None,
        );
        let store = net.create(BOB, 1, deploying("", &asm::store()));
        let receipt = net.send(ADA, 0, TxKind::Call(store), data(SET, &[number(3)]));
        assert_eq!(receipt["status"], "0x1");
        assert_eq!(logs(&net, ADA, store), sender_reads);
        assert_eq!(logs(&net, CAROL, store), 0);
        assert_eq!(net.eth_call(ADA, store, data(GET, &[])), "0x");
        assert_eq!(
            net.eth_call(BOB, store, data(GET, &[])),
            hexadecimal(number(3))
        );
        // A helper does not bring out what a call does not show.
        let mut selector = [0; 32];
        selector[..4].copy_from_slice(&GET.to_be_bytes());
        let input = [word(store), selector].concat();
        let receipt = net.send(ADA, 0, TxKind::Call(helper), input);
        let shown: &Value = &receipt["logs"][0]["data"];
        assert!(
            shown.is_null() || *shown == hexadecimal(number(0)),
            "{shown}"
        );
    }
}

#[test]
fn a_check_that_burns_its_gas_denies_and_leaves_the_rest_alone() {
    let policy = Address::repeat_byte(0xb1);
    let mut access = access();
    access.policies.insert(STORE, policy);
    let endless = assemble(":again @again JUMP");
    let other = Address::repeat_byte(0xa5);
    let given = vec![
        (STORE, asm::store(), vec![(1, number(7))]),
        (other, asm::store(), vec![(1, number(8))]),
        (policy, endless, Vec::new()),
    ];
    let net = Net::with(access, given, Leak::None);
    assert_eq!(net.eth_call(BOB, STORE, data(GET, &[])), "0x");
    assert_eq!(
        net.eth_call(BOB, other, data(GET, &[])),
        hexadecimal(number(8))
    );
}

#[test]
fn what_an_auditor_reads_is_on_the_ledger_before_it_is_answered() {
    let vault = Address::repeat_byte(0xa1);
    let owner = vec![(0, word(address(1))), (1, number(42))];
    let net = Net::new(vec![(vault, asm::vault(), owner)]);
    net.send(BOB, 1, TxKind::Call(vault), data(SET, &[number(9)]));
    let before = net.ok(EVE, "eth_blockNumber", json!([]));
    assert_eq!(logs(&net, AUDITOR, vault), 1);
    assert_ne!(net.ok(EVE, "eth_blockNumber", json!([])), before);
    // Others see a block, and nothing in it.
    for who in [ADA, BOB, EVE] {
        let block = net.ok(who, "eth_getBlockByNumber", json!(["latest", true]));
        assert_eq!(block["transactions"], json!([]));
        assert_eq!(net.ok(who, "coco_readings", json!([])), json!([]));
    }
    let readings = net.ok(AUDITOR, "coco_readings", json!([]));
    assert_eq!(readings[0]["actor"], json!(actor_id("auditor")));
    assert_eq!(
        readings[0]["calls"],
        json!([["eth_getLogs", [{"address": vault, "fromBlock": "0x0"}]]])
    );
    // This reading of the readings is one, too.
    assert_eq!(readings.as_array().map(Vec::len), Some(2));
    // Nobody else writes such a record.
    let forged = format!("0x7d{}5b5d", "00".repeat(16));
    assert_eq!(
        net.error(BOB, "eth_sendRawTransaction", json!([forged])),
        -32000
    );
}
