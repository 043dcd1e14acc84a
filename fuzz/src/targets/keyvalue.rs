//! Write sets, and what clients of the key-value protocol send.

use adapter_kv::{Command, Condition, Op, Submission, Version};
use bytes::{Bytes, BytesMut};
use kv::{Cursor, Domain, Layout, Store, Write, WriteSet};
use types::Height;
use worker::solo::Solo;

/// One encoding of one write set; what was read can be applied. Blocks are read within their limits.
pub fn write_set(data: &[u8]) {
    let mut cursor = Cursor::new(Bytes::copy_from_slice(data));
    while let Ok(block) = cursor.block16() {
        assert!(block.len() < data.len());
        if cursor.block32().is_err() {
            break;
        }
        let _ = cursor.count(8);
    }
    let Ok(read) = WriteSet::decode(Bytes::copy_from_slice(data)) else {
        return;
    };
    let mut again = BytesMut::new();
    read.encode(&mut again);
    assert!(again == data, "two encodings of one write set");
    assert_eq!(read.encoded_bytes(), data.len());
    if read.0.iter().all(|write| write.domain.0 < 2) {
        let mut store = Store::new([(Domain(0), Layout::Hashed), (Domain(1), Layout::Ordered)]);
        store.apply(Height(1), &read).expect("the first height");
    }
}

pub fn write_sets() -> Vec<Vec<u8>> {
    let write = |domain, key: &'static str, value: Option<&'static str>| Write {
        domain: Domain(domain),
        key: Bytes::from_static(key.as_bytes()),
        value: value.map(|v| Bytes::from_static(v.as_bytes())),
    };
    let sets = [
        WriteSet(vec![]),
        WriteSet(vec![
            write(0, "a", Some("one")),
            write(0, "b", None),
            write(1, "a", Some("")),
        ]),
    ];
    let encode = |set: &WriteSet| {
        let mut out = BytesMut::new();
        set.encode(&mut out);
        out.to_vec()
    };
    sets.iter().map(encode).collect()
}

/// One encoding of one unit.
pub fn submission(data: &[u8]) {
    if let Ok(read) = Submission::decode(&Bytes::copy_from_slice(data)) {
        assert!(read.encode() == data, "two encodings of one unit");
    }
}

pub fn submissions() -> Vec<Vec<u8>> {
    let command = |condition, op| Command {
        key: Bytes::from_static(b"key"),
        condition,
        op,
    };
    let put = || Op::Put(Bytes::from_static(b"value"));
    let all = vec![
        command(Condition::Always, put()),
        command(Condition::Absent, put()),
        command(Condition::Version(Version([1; 16])), Op::Delete),
        command(Condition::Value(Bytes::from_static(b"old")), put()),
    ];
    vec![Submission::named("request", all).encode().to_vec()]
}

/// Bytes of a client on its stream: whatever they are, the worker lives, does what it is told
/// afterwards, and answers in HTTP.
pub fn routes(data: &[u8]) {
    let mut solo = Solo::new(adapter_kv::machine(), adapter_kv::front(), "");
    solo.open(4, "eve");
    solo.bytes(4, Bytes::copy_from_slice(data));
    solo.advance(100);
    let done = solo.http("PUT", "/kv/after", "1");
    assert_eq!(done.status, 200, "{:?}", done.body);
    assert_eq!(solo.http("GET", "/kv/after", "").body, "1");
}

pub fn requests() -> Vec<Vec<u8>> {
    [
        "PUT /kv/a%20b HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncoco-request-id: r1\r\n\r\n1GET /kv/a%20b?consistency=linear HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /kv?prefix=a&after=b&limit=3&consistency=local HTTP/1.1\r\nhost: x\r\n\r\n",
        "DELETE /kv/a HTTP/1.1\r\nhost: x\r\nif-match: \"00112233445566778899aabbccddeeff\"\r\n\r\n",
        "PUT /kv/a HTTP/1.1\r\nhost: x\r\nif-none-match: *\r\ntransfer-encoding: chunked\r\n\r\n1\r\nv\r\n0\r\n\r\n",
        "POST /batch HTTP/1.1\r\nhost: x\r\ncontent-length: 76\r\n\r\n{\"commands\":[{\"op\":\"put\",\"key\":\"k\",\"value\":\"v\",\"expect\":{\"value\":\"u\"}}]}    ",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
