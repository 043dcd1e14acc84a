//! The ways around a check that other systems left open, each by its name.

use alloy_primitives::{Address, TxKind, keccak256};
use serde_json::{Value, json};

use super::asm::{self, assemble, data, deploying};
use super::network::{ADA, ADA_ALONE, BOB, CAROL, EVE, Given, Net, address, number, word};

const GET: u32 = 0x6d4c_e63c;
const SET: u32 = 0x60fe_47b1;
const RING: u32 = 0xc3f9_09d4;

const VAULT: Address = Address::repeat_byte(0xa1);
const BELL: Address = Address::repeat_byte(0xa2);
const HELPER: Address = Address::repeat_byte(0xa3);
const STORE: Address = Address::repeat_byte(0xa4);

/// Bob's vault and bell, and a public helper and store.
fn given() -> Vec<Given> {
    let bobs = |secret: u64| vec![(0, word(address(1))), (1, number(secret))];
    vec![
        (VAULT, asm::vault(), bobs(42)),
        (BELL, asm::bell(), bobs(43)),
        (HELPER, asm::helper(), Vec::new()),
        (STORE, asm::store(), vec![(1, number(7))]),
    ]
}

fn net() -> Net {
    Net::new(given())
}

fn hexadecimal(bytes: impl AsRef<[u8]>) -> String {
    format!("0x{}", hex::encode(bytes))
}

fn nothing() -> Value {
    json!("0x")
}

#[test]
fn a_contract_with_a_check_exists_for_those_it_allows() {
    let net = net();
    let get = || data(GET, &[]);
    assert_eq!(net.eth_call(BOB, VAULT, get()), hexadecimal(number(42)));
    for stranger in [ADA, EVE, CAROL, ADA_ALONE] {
        assert_eq!(net.eth_call(stranger, VAULT, get()), nothing());
        assert_eq!(net.ok(stranger, "eth_getCode", json!([VAULT])), nothing());
    }
    assert_eq!(
        net.ok(BOB, "eth_getCode", json!([VAULT])),
        hexadecimal(asm::vault())
    );
    // Public ones are for everybody.
    assert_eq!(net.eth_call(EVE, STORE, get()), hexadecimal(number(7)));
}

#[test]
fn denied_is_byte_identical_to_absent() {
    let net = net();
    let absent = Address::repeat_byte(0x77);
    type Params = fn(Address) -> Value;
    let methods: [(&str, Params); 8] = [
        ("eth_getCode", |a| json!([a, "latest"])),
        ("eth_getBalance", |a| json!([a, "latest"])),
        ("eth_getTransactionCount", |a| json!([a, "latest"])),
        ("eth_getStorageAt", |a| json!([a, "0x1", "latest"])),
        (
            "eth_getLogs",
            |a| json!([{"address": a, "fromBlock": "0x0"}]),
        ),
        (
            "eth_call",
            |a| json!([{"to": a, "data": "0x6d4ce63c"}, "latest"]),
        ),
        (
            "eth_estimateGas",
            |a| json!([{"to": a, "data": "0x6d4ce63c"}]),
        ),
        ("eth_estimateGas", |a| json!([{"to": a}])),
    ];
    net.send(BOB, 1, TxKind::Call(VAULT), data(SET, &[number(99)]));
    for (method, params) in methods {
        for stranger in [ADA, EVE] {
            assert_eq!(
                net.reply(stranger, method, params(VAULT)),
                net.reply(stranger, method, params(absent)),
                "{method}"
            );
        }
    }
}

#[test]
fn a_call_without_to_reads_no_code_and_no_balance_of_others() {
    let net = net();
    let vault = hexadecimal(VAULT);
    let carol = hexadecimal(address(2));
    for (program, absent) in [
        (
            format!("{vault} EXTCODESIZE 0 MSTORE 32 0 RETURN"),
            number(0),
        ),
        (
            format!("{vault} EXTCODEHASH 0 MSTORE 32 0 RETURN"),
            number(0),
        ),
        (format!("32 0 0 {vault} EXTCODECOPY 32 0 RETURN"), number(0)),
        (format!("{carol} BALANCE 0 MSTORE 32 0 RETURN"), number(0)),
        (
            format!(
                "0x6d4ce63c 0 MSTORE 32 32 4 28 {vault} GAS STATICCALL POP RETURNDATASIZE 0 MSTORE 32 0 RETURN"
            ),
            number(0),
        ),
    ] {
        assert_eq!(net.probe(ADA, &program), hexadecimal(absent), "{program}");
    }
    let size = format!("{vault} EXTCODESIZE 0 MSTORE 32 0 RETURN");
    let length = asm::vault().len() as u64;
    assert_eq!(net.probe(BOB, &size), hexadecimal(number(length)));
}

#[test]
fn code_that_may_be_called_and_not_read_shows_one_byte() {
    let net = net();
    let bell = hexadecimal(BELL);
    let size = format!("{bell} EXTCODESIZE 0 MSTORE 32 0 RETURN");
    assert_eq!(net.probe(ADA, &size), hexadecimal(number(1)));
    let hash = format!("{bell} EXTCODEHASH 0 MSTORE 32 0 RETURN");
    assert_eq!(net.probe(ADA, &hash), hexadecimal(keccak256([0xfe])));
    let copy = format!("4 0 0 {bell} EXTCODECOPY 4 0 RETURN");
    assert_eq!(net.probe(ADA, &copy), "0xfe000000");
    assert_eq!(net.ok(ADA, "eth_getCode", json!([BELL])), nothing());
}

#[test]
fn a_helper_contract_reads_nothing_for_a_stranger() {
    let net = net();
    let mut selector = [0; 32];
    selector[..4].copy_from_slice(&GET.to_be_bytes());
    let input = || [word(VAULT), selector].concat();
    let get = |who| net.eth_call(who, HELPER, input());
    assert_eq!(get(ADA), hexadecimal(number(0)));
    assert_eq!(get(BOB), hexadecimal(number(42)));
    // Nor does it write down for her what it read in a transaction.
    let receipt = net.send(ADA, 0, TxKind::Call(HELPER), input());
    assert_eq!(receipt["logs"][0]["data"], hexadecimal(number(0)));
    let receipt = net.send(BOB, 1, TxKind::Call(HELPER), input());
    assert_eq!(receipt["logs"][0]["data"], hexadecimal(number(42)));
}

#[test]
fn a_transaction_reads_no_code_and_no_balance_for_a_stranger() {
    let net = net();
    for target in [VAULT, address(2)] {
        let target = hexadecimal(target);
        let program = format!(
            "{target} EXTCODEHASH 0 MSTORE {target} BALANCE 32 MSTORE 0x55 64 0 LOG1 0 0 RETURN"
        );
        let receipt = net.send(ADA, 0, TxKind::Create, assemble(&program));
        assert_eq!(receipt["logs"][0]["data"], hexadecimal([0; 64]), "{target}");
    }
}

#[test]
fn overrides_are_refused() {
    let net = net();
    let call = json!({"to": VAULT, "data": "0x6d4ce63c"});
    let over = json!({VAULT.to_string(): {"code": "0x60015460005260206000f3"}});
    for who in [ADA, BOB] {
        let params = json!([call, "latest", over]);
        assert_eq!(net.error(who, "eth_call", params.clone()), -32602);
        assert_eq!(net.error(who, "eth_estimateGas", params), -32602);
        let block = json!([call, "latest", {}, {"number": "0x1"}]);
        assert_eq!(net.error(who, "eth_call", block), -32602);
    }
}

#[test]
fn from_is_an_account_of_the_session() {
    let net = net();
    let call = |from: Address| json!([{"from": from, "to": VAULT, "data": "0x6d4ce63c"}, "latest"]);
    assert_eq!(net.error(ADA, "eth_call", call(address(1))), -32602);
    assert_eq!(net.error(ADA_ALONE, "eth_call", call(address(0))), -32602);
    assert_eq!(net.error(EVE, "eth_estimateGas", call(address(1))), -32602);
    assert_eq!(
        net.ok(BOB, "eth_call", call(address(1))),
        hexadecimal(number(42))
    );
    assert_eq!(net.ok(ADA, "eth_call", call(Address::ZERO)), nothing());
}

#[test]
fn data_and_input_must_agree() {
    let net = net();
    let call = json!([{"to": STORE, "data": "0x6d4ce63c", "input": "0x"}, "latest"]);
    assert_eq!(net.error(ADA, "eth_call", call), -32602);
}

#[test]
fn a_fallback_that_answers_one_allows_nothing() {
    let policy = Address::repeat_byte(0xb1);
    let mut access = super::network::access();
    access.policies.insert(STORE, policy);
    let mut given = given();
    given.push((policy, asm::yes_man(), Vec::new()));
    let net = Net::with(access, given, adapter_ethereum::Leak::None);
    assert_eq!(net.eth_call(BOB, STORE, data(GET, &[])), nothing());
    // And it declares nothing.
    assert_ne!(net.ok(ADA, "eth_getCode", json!([policy])), nothing());
}

#[test]
fn an_estimate_needs_no_money() {
    let net = net();
    let poor = json!([{"from": Address::ZERO, "to": STORE, "data": hexadecimal(data(SET, &[number(3)])), "gasPrice": "0x3b9aca00"}]);
    let gas = net.ok(EVE, "eth_estimateGas", poor);
    assert!(gas.as_str().is_some_and(|gas| gas.len() > 5), "{gas}");
}

#[test]
fn creation_needs_the_right_to_create() {
    let mut access = super::network::access();
    access.deployers = Some([super::network::actor_id("bob")].into());
    let net = Net::with(access, given(), adapter_ethereum::Leak::None);
    let call = json!([{"data": "0x60206000f3"}, "latest"]);
    assert_eq!(net.error(ADA, "eth_call", call.clone()), -32003);
    assert_eq!(net.error(ADA, "eth_estimateGas", call.clone()), -32003);
    assert!(net.ok(BOB, "eth_call", call).is_string());
    let raw = net.signed(0, TxKind::Create, vec![0], 0);
    assert_eq!(
        net.error(ADA, "eth_sendRawTransaction", json!([raw])),
        -32003
    );
}

#[test]
fn storage_is_zeros_to_everybody_unless_declared() {
    let net = net();
    for who in [ADA, BOB, EVE] {
        for contract in [VAULT, STORE] {
            assert_eq!(
                net.ok(who, "eth_getStorageAt", json!([contract, "0x1"])),
                hexadecimal(number(0))
            );
        }
    }
}

#[test]
fn balances_and_nonces_are_their_owners() {
    let net = net();
    net.send(BOB, 1, TxKind::Call(address(2)), Vec::new());
    let of = |who, method| net.ok(who, method, json!([address(1), "latest"]));
    assert_eq!(of(ADA, "eth_getBalance"), "0x0");
    assert_eq!(of(ADA, "eth_getTransactionCount"), "0x0");
    assert_eq!(of(BOB, "eth_getTransactionCount"), "0x1");
    assert_ne!(of(BOB, "eth_getBalance"), "0x0");
    assert_eq!(
        net.ok(BOB, "eth_accounts", json!([])),
        json!([address(1).to_string().to_lowercase()])
    );
    assert_eq!(net.ok(EVE, "eth_accounts", json!([])), json!([]));
}

#[test]
fn a_transaction_is_its_senders_its_recipients_and_its_submitters() {
    let net = net();
    let receipt = net.send(BOB, 1, TxKind::Call(address(2)), Vec::new());
    let hash = &receipt["transactionHash"];
    let bob_alone = super::network::Asker {
        actor: "bob",
        accounts: &[],
    };
    for method in [
        "eth_getTransactionByHash",
        "eth_getTransactionReceipt",
        "eth_getRawTransactionByHash",
    ] {
        for (who, sees) in [
            (BOB, true),
            (CAROL, true),
            (bob_alone, true),
            (ADA, false),
            (EVE, false),
        ] {
            let found = net.ok(who, method, json!([hash]));
            assert_eq!(!found.is_null(), sees, "{method} {who:?}");
        }
    }
    let block = |who| net.ok(who, "eth_getBlockByNumber", json!(["0x1", false]));
    assert_eq!(block(CAROL)["transactions"], json!([hash]));
    assert_eq!(block(ADA)["transactions"], json!([]));
    assert_eq!(
        net.ok(ADA, "eth_getBlockReceipts", json!(["0x1"])),
        json!([])
    );
    for method in [
        "eth_getBlockTransactionCountByNumber",
        "eth_getTransactionByBlockNumberAndIndex",
    ] {
        let seen = net.ok(ADA, method, json!(["0x1", "0x0"]));
        assert!(seen == "0x0" || seen.is_null(), "{seen}");
    }
}

#[test]
fn hidden_logs_are_in_no_bloom_and_move_no_index() {
    let net = net();
    let receipt = net.send(ADA, 0, TxKind::Call(BELL), data(RING, &[]));
    let empty = hexadecimal([0; 256]);
    assert_eq!(receipt["logs"], json!([]));
    assert_eq!(receipt["logsBloom"], empty);
    assert_eq!(receipt["cumulativeGasUsed"], receipt["gasUsed"]);
    let seen = net.ok(
        BOB,
        "eth_getLogs",
        json!([{"fromBlock": "0x0", "address": BELL}]),
    );
    assert_eq!(seen[0]["topics"], json!([hexadecimal(number(43))]));
    // Bob sees the log, and not the transaction of Ada's that it came from.
    let hash = &seen[0]["transactionHash"];
    assert!(
        !net.ok(BOB, "eth_getTransactionByHash", json!([hash]))
            .is_null()
    );
    assert!(
        net.ok(EVE, "eth_getTransactionByHash", json!([hash]))
            .is_null()
    );
}

#[test]
fn a_filter_is_good_for_its_owner_alone() {
    let net = net();
    let filter = net.ok(BOB, "eth_newFilter", json!([{"fromBlock": "0x0"}]));
    net.send(BOB, 1, TxKind::Call(VAULT), data(SET, &[number(5)]));
    for who in [ADA, EVE] {
        assert_eq!(net.error(who, "eth_getFilterLogs", json!([filter])), -32000);
        assert_eq!(
            net.ok(who, "eth_uninstallFilter", json!([filter])),
            json!(false)
        );
    }
    // Another account behind the same actor is another principal.
    let bob_alone = super::network::Asker {
        actor: "bob",
        accounts: &[],
    };
    assert_eq!(
        net.error(bob_alone, "eth_getFilterChanges", json!([filter])),
        -32000
    );
    let found = net.ok(BOB, "eth_getFilterChanges", json!([filter]));
    assert_eq!(found.as_array().map(Vec::len), Some(1));
}

#[test]
fn pending_transactions_are_told_to_their_senders_alone() {
    let net = net();
    let filter = |who| net.ok(who, "eth_newPendingTransactionFilter", json!([]));
    let (ada, bob) = (filter(ADA), filter(BOB));
    let receipt = net.send(BOB, 1, TxKind::Call(STORE), data(SET, &[number(5)]));
    // Everybody may look this one up, but it is not announced.
    let changes = |who, filter| net.ok(who, "eth_getFilterChanges", json!([filter]));
    assert_eq!(changes(ADA, ada), json!([]));
    assert_eq!(changes(BOB, bob), json!([receipt["transactionHash"]]));
}

#[test]
fn a_waiting_transaction_is_seen_by_its_sender_at_once() {
    let net = net();
    let _skipped = net.signed(1, TxKind::Call(STORE), Vec::new(), 0);
    let raw = net.signed(1, TxKind::Call(STORE), Vec::new(), 0);
    let hash = keccak256(&raw);
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": [raw]});
    let stream = 90;
    net.solo().open(stream, "bob");
    let length = body.to_string().len();
    let request = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}");
    net.solo().bytes(stream, request);
    assert!(
        !net.ok(BOB, "eth_getTransactionByHash", json!([hash]))
            .is_null()
    );
    assert!(
        net.ok(ADA, "eth_getTransactionByHash", json!([hash]))
            .is_null()
    );
    assert!(
        net.ok(ADA, "eth_getRawTransactionByHash", json!([hash]))
            .is_null()
    );
}

#[test]
fn already_known_is_never_told() {
    let net = net();
    let raw = net.signed(1, TxKind::Call(VAULT), data(SET, &[number(9)]), 0);
    let hash = json!(keccak256(&raw));
    for who in [BOB, BOB, EVE] {
        assert_eq!(net.ok(who, "eth_sendRawTransaction", json!([raw])), hash);
    }
}

#[test]
fn closed_methods_are_closed_for_everybody() {
    let net = net();
    for who in [ADA, BOB, EVE] {
        for method in [
            "eth_getProof",
            "eth_simulateV1",
            "eth_createAccessList",
            "debug_traceTransaction",
            "trace_block",
            "txpool_content",
        ] {
            assert_eq!(net.error(who, method, json!([])), -32004, "{method}");
        }
        for method in ["eth_sign", "eth_sendTransaction", "personal_sign"] {
            assert_eq!(net.error(who, method, json!([])), -32601, "{method}");
        }
    }
}

#[test]
fn who_pays_to_peek_learns_nothing_without_paying() {
    // Tells its secret to whoever calls it, but not where the payment would be undone.
    let ledger = hexadecimal(adapter_ethereum::system::LEDGER);
    let shop = assemble(&format!(
        "0xd343a3b6 0xe0 SHL 0 MSTORE
         32 0 4 0 {ledger} GAS STATICCALL POP
         0 MLOAD @refuse JUMPI
         1 SLOAD 0 MSTORE 0x77 32 0 LOG1 STOP
         :refuse 0 0 REVERT"
    ));
    let at = Address::repeat_byte(0xb3);
    let mut given = given();
    given.push((at, shop, vec![(1, number(46))]));
    let net = Net::new(given);
    for method in ["eth_call", "eth_estimateGas"] {
        assert_eq!(net.error(ADA, method, json!([{"to": at}])), 3);
    }
    let receipt = net.send(ADA, 0, TxKind::Call(at), Vec::new());
    assert_eq!(receipt["logs"][0]["data"], hexadecimal(number(46)));
}

#[test]
fn a_simulation_foresees_no_dice() {
    let random = hexadecimal(adapter_ethereum::system::RANDOM);
    let dice = assemble(&format!(
        "0x4c8fe526 0xe0 SHL 0 MSTORE
         32 0 4 0 {random} GAS STATICCALL POP
         0x77 32 0 LOG1 32 0 RETURN"
    ));
    let at = Address::repeat_byte(0xb3);
    let mut given = given();
    given.push((at, dice, Vec::new()));
    let net = Net::new(given);
    let foreseen = net.eth_call(ADA, at, Vec::new());
    let receipt = net.send(ADA, 0, TxKind::Call(at), Vec::new());
    assert_ne!(receipt["logs"][0]["data"], foreseen);
    assert_ne!(foreseen, hexadecimal(number(0)));
}

#[test]
fn storage_is_shown_where_the_contract_declares_it() {
    // ERC-165 and `cocoTransparent()`.
    let code = assemble(
        "0 CALLDATALOAD 0xe0 SHR 0x01ffc9a7 EQ @supports JUMPI STOP
         :supports 4 CALLDATALOAD 0xe0 SHR DUP1 0x01ffc9a7 EQ SWAP1 0x82344a8f EQ OR
         0 MSTORE 32 0 RETURN",
    );
    let at = Address::repeat_byte(0xb3);
    let mut given = given();
    given.push((at, code, vec![(1, number(47))]));
    let net = Net::new(given);
    let slot = |who| net.ok(who, "eth_getStorageAt", json!([at, "0x1"]));
    assert_eq!(slot(EVE), hexadecimal(number(47)));
}

#[test]
fn checks_that_use_up_their_gas_are_an_error_and_no_shorter_list() {
    // Calls are allowed; each check of a log burns its 100,000 gas, and there are six hundred.
    let policy = assemble(
        "0 CALLDATALOAD 0xe0 SHR DUP1 0xa412bf87 EQ @yes JUMPI
         :again @again JUMP
         :yes 0xe0 SHL 0 MSTORE 32 0 RETURN",
    );
    let bells = assemble("0 :again 0x88 0 0 LOG1 1 ADD DUP1 0x0258 SWAP1 LT @again JUMPI STOP");
    let (ringer, judge) = (Address::repeat_byte(0xb3), Address::repeat_byte(0xb1));
    let mut access = super::network::access();
    access.policies.insert(ringer, judge);
    let mut given = given();
    given.push((judge, policy, Vec::new()));
    given.push((ringer, bells, Vec::new()));
    let net = Net::with(access, given, adapter_ethereum::Leak::None);
    let receipt = net.reply(
        ADA,
        "eth_sendRawTransaction",
        json!([net.signed(0, TxKind::Call(ringer), Vec::new(), 0)]),
    );
    assert!(receipt["error"].is_null(), "{receipt}");
    let logs = json!([{"fromBlock": "0x0", "address": ringer}]);
    assert_eq!(net.error(EVE, "eth_getLogs", logs), -32005);
    // A few of them are few checks, and each is a no.
    assert_eq!(
        net.ok(
            EVE,
            "eth_getLogs",
            json!([{"fromBlock": "0x0", "address": STORE}])
        ),
        json!([])
    );
}

#[test]
fn a_right_that_was_taken_away_is_gone_for_history() {
    let net = net();
    const OWN: u32 = 0x13af_4035;
    net.send(BOB, 1, TxKind::Call(VAULT), data(SET, &[number(5)]));
    let logs = |who| {
        let found = net.ok(
            who,
            "eth_getLogs",
            json!([{"address": VAULT, "fromBlock": "0x0"}]),
        );
        found.as_array().map(Vec::len)
    };
    assert_eq!((logs(BOB), logs(CAROL)), (Some(1), Some(0)));
    net.send(BOB, 1, TxKind::Call(VAULT), data(OWN, &[word(address(2))]));
    assert_eq!((logs(BOB), logs(CAROL)), (Some(0), Some(1)));
}

#[test]
fn a_check_is_no_oracle_for_what_its_author_may_not_see() {
    // Ada's contract allows her if Bob's secret is 42: its check calls the vault.
    let vault = hexadecimal(VAULT);
    let id = asm::access_id();
    let spy = assemble(&format!(
        "0 CALLDATALOAD 0xe0 SHR
         DUP1 0x01ffc9a7 EQ @supports JUMPI
         0x6d4ce63c 0 MSTORE 32 32 4 28 {vault} GAS STATICCALL POP
         32 MLOAD 42 EQ @yes JUMPI
         {vault} EXTCODESIZE @yes JUMPI 0 0 REVERT
         :supports 4 CALLDATALOAD 0xe0 SHR DUP1 0x01ffc9a7 EQ SWAP1 {id} EQ OR
         0 MSTORE 32 0 RETURN
         :yes 0xe0 SHL 0 MSTORE 32 0 RETURN"
    ));
    let net = net();
    let spy = net.create(ADA, 0, deploying("", &spy));
    assert_eq!(net.ok(ADA, "eth_getCode", json!([spy])), nothing());
}

#[test]
fn nothing_is_created_over_a_hidden_contract() {
    // The same factory, salt and code: Bob's vault is there, and Ada does not see it.
    let init = deploying("CALLER 0 SSTORE", &asm::vault());
    let at = Address::repeat_byte(0xb2);
    let mut given = given();
    given.push((at, asm::factory(), Vec::new()));
    let net = Net::new(given);
    let first = net.send(BOB, 1, TxKind::Call(at), init.clone());
    let again = net.send(ADA, 0, TxKind::Call(at), init);
    assert_ne!(first["logs"][0]["data"], hexadecimal(number(0)));
    assert_eq!(again["logs"][0]["data"], hexadecimal(number(0)));
}

#[test]
fn what_is_sent_to_a_hidden_account_arrives() {
    let net = net();
    let before = net.ok(CAROL, "eth_getBalance", json!([address(2)]));
    let raw = net.signed(0, TxKind::Call(address(2)), Vec::new(), 1000);
    net.ok(ADA, "eth_sendRawTransaction", json!([raw]));
    let after = net.ok(CAROL, "eth_getBalance", json!([address(2)]));
    let value = |v: &Value| {
        u128::from_str_radix(v.as_str().expect("text").trim_start_matches("0x"), 16).expect("hex")
    };
    assert_eq!(value(&after), value(&before) + 1000);
}

#[test]
fn subscribers_are_told_what_they_may_see_when_it_happens() {
    const OWN: u32 = 0x13af_4035;
    let net = net();
    let [bob, carol, eve] = [BOB, CAROL, EVE].map(|who| net.socket(who));
    for stream in [bob, carol, eve] {
        net.tell(stream, "eth_subscribe", json!(["logs", {"address": VAULT}]));
        net.tell(stream, "eth_subscribe", json!(["newPendingTransactions"]));
    }
    let heard = || [bob, carol, eve].map(|stream| net.heard(stream).len());
    net.send(BOB, 1, TxKind::Call(VAULT), data(SET, &[number(5)]));
    assert_eq!(heard(), [2, 0, 0]);
    net.send(BOB, 1, TxKind::Call(VAULT), data(OWN, &[word(address(2))]));
    assert_eq!(heard(), [1, 0, 0]);
    // Carol has the vault now: Bob's right is gone though he subscribed when he had it.
    net.send(CAROL, 2, TxKind::Call(VAULT), data(SET, &[number(6)]));
    assert_eq!(heard(), [0, 2, 0]);
}
