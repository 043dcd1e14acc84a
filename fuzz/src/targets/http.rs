//! HTTP and WebSocket: the same comes out wherever the bytes are cut, which is what makes smuggling
//! a request past another reader of the same rules impossible.

use bytes::{Bytes, BytesMut};
use http1::{
    Client, Message, Options, Persistence, Received, Server, WebSocket, accept_upgrade,
    encode_request, encode_response,
};

/// Reads `data` in pieces of `step` bytes; gives what came out, and the refusal if there was one.
fn serve(data: &[u8], step: usize, options: &Options) -> (Vec<String>, bool) {
    let mut server = Server::new(options.clone());
    let mut got = Vec::new();
    for part in data.chunks(step) {
        server.receive(part);
        loop {
            match server.next() {
                Ok(Some(Received::ExpectContinue)) => {}
                Ok(Some(Received::Request(request))) => {
                    let mut out = BytesMut::new();
                    let _ = accept_upgrade(&request, &mut out);
                    let body = &request.body;
                    got.push(format!(
                        "{} {} {:?} {body:?}",
                        request.method, request.target, request.headers
                    ));
                }
                Ok(None) => break,
                Err(refusal) => {
                    assert!((400..600).contains(&refusal.status));
                    return (got, true);
                }
            }
        }
    }
    (got, false)
}

pub fn server(data: &[u8]) {
    let Some((step, data)) = data.split_first() else {
        return;
    };
    for options in [Options::administrative(), Options::application()] {
        let whole = serve(data, data.len().max(1), &options);
        let cut = serve(data, usize::from(*step).max(1), &options);
        assert_eq!(whole, cut, "a cut changed what was read");
    }
}

pub fn requests() -> Vec<Vec<u8>> {
    let mut simple = BytesMut::new();
    encode_request(
        "POST",
        "/batch?x=1",
        "host",
        &[("a", "b")],
        b"body",
        &mut simple,
    );
    let texts = [
        std::str::from_utf8(&simple).expect("text").to_owned(),
        "PUT / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nt: v\r\n\r\nGET / HTTP/1.1\r\nhost: y\r\nconnection: close\r\n\r\n".into(),
        "PUT / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nab".into(),
        "GET /ws HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".into(),
    ];
    texts
        .iter()
        .map(|text| [&[7], text.as_bytes()].concat())
        .collect()
}

pub fn client(data: &[u8]) {
    let Some((step, data)) = data.split_first() else {
        return;
    };
    let read = |step: usize| {
        let mut client = Client::new(Options::administrative());
        for method in ["GET", "HEAD", "POST"] {
            client.sent(method);
        }
        let mut got = Vec::new();
        for part in data.chunks(step) {
            client.receive(part);
            loop {
                match client.next() {
                    Ok(Some(response)) => got.push(format!("{response:?}")),
                    Ok(None) => break,
                    Err(_) => return (got, true),
                }
            }
        }
        let end = client.closed();
        got.extend(end.iter().flatten().map(|response| format!("{response:?}")));
        (got, end.is_err())
    };
    let (whole, cut) = (read(data.len().max(1)), read(usize::from(*step).max(1)));
    assert_eq!(whole, cut, "a cut changed what was read");
}

pub fn responses() -> Vec<Vec<u8>> {
    let mut simple = BytesMut::new();
    encode_response(
        200,
        &[("etag", "\"1\"")],
        b"body",
        "GET",
        Persistence::KeepAlive,
        &mut simple,
    );
    let texts: [&[u8]; 3] = [
        &simple,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    ];
    texts.map(|text| [&[5], text].concat()).to_vec()
}

pub fn websocket(data: &[u8]) {
    let Some((step, data)) = data.split_first() else {
        return;
    };
    let read = |step: usize| {
        let mut socket = WebSocket::server(&[], 1024);
        let mut got = Vec::new();
        for part in data.chunks(step) {
            socket.receive(part);
            loop {
                match socket.next() {
                    Ok(Some(message)) => {
                        if let Message::Text(text) | Message::Binary(text) = &message {
                            assert!(text.len() <= 1024, "longer than allowed");
                            socket.send(Bytes::clone(text));
                        }
                        got.push(message);
                    }
                    Ok(None) => break,
                    Err(_) => return (got, true, Bytes::new()),
                }
            }
        }
        (got, false, socket.take_output())
    };
    let (whole, cut) = (read(data.len().max(1)), read(usize::from(*step).max(1)));
    assert_eq!(
        (&whole.0, whole.1),
        (&cut.0, cut.1),
        "a cut changed what was read"
    );
}

/// A frame of a client, masked with zeros.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("below 126");
    [&[opcode, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

pub fn frames() -> Vec<Vec<u8>> {
    let parts = [
        frame(0x81, b"text"),
        frame(0x02, b"bin"),
        frame(0x89, b"ping"),
        frame(0x80, b"ary"),
        frame(0x88, &[3, 0xe8]),
    ];
    vec![
        [vec![3], parts.concat()].concat(),
        [vec![1], frame(0x81, b"{}")].concat(),
    ]
}
