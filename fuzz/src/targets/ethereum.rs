//! What wallets and other nodes send of the Ethereum protocol.

use std::cell::OnceCell;

use adapter_ethereum::{Receipt, Rules, Settings, Transaction, dev};
use alloy_consensus::{TxEip1559, TxEip2930, TxEip7702, TxLegacy};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, TxKind, U256};
use bytes::{Bytes, BytesMut};
use worker::solo::Solo;

/// What is admitted has one encoding, that encoding's hash, and a sender whom others may be told.
pub fn transaction(data: &[u8]) {
    let raw = Bytes::copy_from_slice(data);
    let rules = Rules::network(dev::CHAIN_ID);
    let Ok(found) = Transaction::admit(&raw, &rules) else {
        let _ = Transaction::established(&raw, Address::ZERO, &rules);
        return;
    };
    assert_eq!(
        found.envelope.encoded_2718(),
        data,
        "two encodings of one transaction"
    );
    let told = Transaction::established(&raw, found.sender, &rules).expect("admitted before");
    assert_eq!((told.hash, told.sender), (found.hash, found.sender));
}

pub fn transactions() -> Vec<Vec<u8>> {
    let to = TxKind::Call(dev::ACCOUNTS[1].address);
    let (chain_id, key) = (dev::CHAIN_ID, &dev::ACCOUNTS[0].key);
    let input = || vec![1, 2, 3].into();
    let legacy = TxLegacy {
        chain_id: Some(chain_id),
        gas_limit: 50_000,
        to,
        value: U256::from(1),
        input: input(),
        ..TxLegacy::default()
    };
    let listed = TxEip2930 {
        chain_id,
        gas_limit: 50_000,
        to: TxKind::Create,
        input: input(),
        ..TxEip2930::default()
    };
    let fee = TxEip1559 {
        chain_id,
        nonce: 1,
        gas_limit: 50_000,
        to,
        input: input(),
        ..TxEip1559::default()
    };
    let delegated = TxEip7702 {
        chain_id,
        gas_limit: 90_000,
        to: dev::ACCOUNTS[2].address,
        ..TxEip7702::default()
    };
    vec![
        dev::sign(legacy, key).to_vec(),
        dev::sign(listed, key).to_vec(),
        dev::sign(fee, key).to_vec(),
        dev::sign(delegated, key).to_vec(),
    ]
}

/// One encoding of one receipt.
pub fn receipt(data: &[u8]) {
    if let Some(read) = Receipt::decode(&Bytes::copy_from_slice(data)) {
        let again = read.encode();
        assert!(Receipt::decode(&again).is_some_and(|r| r.encode() == again));
    }
}

pub fn receipts() -> Vec<Vec<u8>> {
    let receipt = Receipt {
        status: adapter_ethereum::Status::Success,
        gas_used: 21_000,
        created: Some(dev::ACCOUNTS[0].address),
        logs: vec![alloy_primitives::Log {
            address: dev::ACCOUNTS[1].address,
            data: alloy_primitives::LogData::new_unchecked(
                vec![[1; 32].into(), [2; 32].into()],
                vec![5; 9].into(),
            ),
        }],
    };
    let reverted = Receipt {
        status: adapter_ethereum::Status::Reverted(Bytes::from_static(b"why")),
        created: None,
        logs: vec![],
        ..receipt.clone()
    };
    vec![receipt.encode().to_vec(), reverted.encode().to_vec()]
}

/// Settings that are read say the same when written and read again.
pub fn settings(data: &[u8]) {
    if let Ok(read) = Settings::parse(data) {
        let text = read.to_json();
        let again = Settings::parse(text.as_bytes()).expect("own text");
        assert_eq!(again.to_json(), text);
    }
}

pub fn documents() -> Vec<Vec<u8>> {
    let small = br#"{"chainId":31337,"fork":"osaka","gasLimit":"0x3938700","alloc":{"0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266":{"balance":"0x1","nonce":"0x1","code":"0x00","storage":{"0x01":"0x02"}}}}"#;
    vec![small.to_vec()]
}

thread_local! {
    static SETTINGS: OnceCell<String> = const { OnceCell::new() };
}

/// Requests of one client: what is answered is JSON, and the worker goes on serving another.
pub fn rpc(data: &[u8]) {
    let settings = SETTINGS.with(|s| {
        s.get_or_init(|| dev::settings(dev::CHAIN_ID).to_json())
            .clone()
    });
    let mut solo = Solo::new(
        adapter_ethereum::machine(),
        adapter_ethereum::front([9; 32]),
        settings,
    );
    for (stream, call) in (4..)
        .step_by(2)
        .zip(data.split(|byte| *byte == b'\n').take(8))
    {
        solo.open(stream, "eve");
        let mut wire = BytesMut::new();
        let headers = [("content-type", "application/json")];
        http1::encode_request("POST", "/", "x", &headers, call, &mut wire);
        let mut answer = BytesMut::from(&solo.bytes(stream, wire.freeze())[..]);
        // A transaction with a later nonce is answered when the earlier one is known.
        solo.advance(1_000);
        answer.extend_from_slice(&solo.received(stream));
        let mut client = http1::Client::new(http1::Options::application());
        client.sent("POST");
        client.receive(&answer);
        let answer = client.next().expect("the worker speaks HTTP");
        if let Some(answer) = answer.filter(|a| a.status == 200 && !a.body.is_empty()) {
            let read: Result<serde_json::Value, _> = serde_json::from_slice(&answer.body);
            assert!(read.is_ok(), "no JSON: {:?}", answer.body);
        }
    }
    let alive = solo.http(
        "POST",
        "/",
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#,
    );
    assert!(
        alive.body.windows(6).any(|w| w == b"0x7a69"),
        "{:?}",
        alive.body
    );
}

pub fn calls() -> Vec<Vec<u8>> {
    let account = dev::ACCOUNTS[0].address;
    let raw = transactions().iter().map(|t| {
        let hex: String = t.iter().map(|b| format!("{b:02x}")).collect();
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction","params":["0x{hex}"]}}"#)
    }).collect::<Vec<_>>().join("\n");
    let call = |method: &str, params: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
    };
    let transaction = format!(
        r#"{{"from":"{account}","to":"{account}","value":"0x1","data":"0x00","gas":"0x5208"}}"#
    );
    let all = [
        raw,
        [
            call("eth_getBalance", &format!(r#"["{account}","latest"]"#)),
            call("eth_getStorageAt", &format!(r#"["{account}","0x0","0x0"]"#)),
            call("eth_getBlockByNumber", r#"["0x0",true]"#),
        ].join("\n"),
        call("eth_call", &format!(r#"[{transaction},"latest",{{"{account}":{{"balance":"0x2","code":"0x6001","stateDiff":{{}}}}}}]"#)),
        call("eth_estimateGas", &format!("[{transaction}]")),
        [
            call("eth_getLogs", &format!(r#"[{{"fromBlock":"0x0","toBlock":"latest","address":["{account}"],"topics":[null,["0x{:064x}"]]}}]"#, 1)),
            call("eth_newFilter", "[{}]"),
            call("eth_getFilterChanges", r#"["0x1"]"#),
        ].join("\n"),
        call("eth_feeHistory", r#"["0x4","latest",[5.0,50]]"#),
        call("debug_traceTransaction", &format!(r#"["0x{:064x}",{{"tracer":"callTracer"}}]"#, 1)),
        format!("[{},{}]", call("web3_sha3", r#"["0x68"]"#), call("net_version", "[]")),
        call("eth_subscribe", r#"["newHeads"]"#),
    ];
    all.map(String::into_bytes).to_vec()
}
