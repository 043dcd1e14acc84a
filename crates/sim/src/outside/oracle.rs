//! The oracle: an HTTPS server in the simulated world.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use channel::{Acceptor, Channel, Identity};
use governance::{Endpoint, Method};
use http1::{Options, Persistence, Received, Server};

use crate::network::Organisation;

/// Where nodes reach it.
pub const ADDRESS: &str = "oracle.example:443";

/// Longest reply that the constitution allows.
const REPLY_BYTES_MAX: u32 = 2_000;

/// How it treats a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manner {
    Answers,
    AnswersLate,
    IsSilent,
    SaysTooMuch,
    TalksNonsense,
    HangsUp,
    /// It is another server, at the same address.
    IsAnother,
}

impl Manner {
    pub const ALL: [Self; 7] = [
        Self::Answers,
        Self::AnswersLate,
        Self::IsSilent,
        Self::SaysTooMuch,
        Self::TalksNonsense,
        Self::HangsUp,
        Self::IsAnother,
    ];
}

/// What the constitution says of it.
pub fn endpoint(oracle: &Organisation) -> Endpoint {
    Endpoint {
        name: "oracle".into(),
        address: ADDRESS.into(),
        keys: vec![crypto::sha256(&oracle.key.public().to_spki())],
        authority: None,
        methods: [Method::Post].into(),
        paths: vec!["/ask".into()],
        callers: [format!("0x{}", hex::encode(b"sim"))].into(),
        request_bytes_max: 1_000,
        reply_bytes_max: REPLY_BYTES_MAX,
        time_max_ms: 800,
        calls_max: 2,
    }
}

/// One connection to it.
pub struct Oracle {
    channel: Channel,
    http: Server,
    pub manner: Manner,
    /// It has said goodbye, and listens no more.
    over: bool,
}

/// What it says on a connection.
pub enum Says {
    Nothing,
    Now(Bytes),
    /// The reply waits for a while.
    Later,
    HangsUp,
}

/// The oracle, and all that it was asked.
pub struct Oracles {
    own: Acceptor,
    other: Acceptor,
    /// Idempotency key → what was asked under it, and how often.
    asked: BTreeMap<String, (Bytes, u64)>,
    pub open: BTreeMap<u64, Oracle>,
}

impl Oracles {
    pub fn new(oracle: &Organisation, other: &Organisation) -> Self {
        let acceptor = |of: &Organisation| {
            let identity = Identity::new(&of.key, std::slice::from_ref(&of.certificate));
            let identity = identity.expect("its own certificate");
            Acceptor::without_certificates(&identity, &[channel::HTTP1])
        };
        Self {
            own: acceptor(oracle),
            other: acceptor(other),
            asked: BTreeMap::new(),
            open: BTreeMap::new(),
        }
    }

    /// Questions that came more than once.
    pub fn repeated(&self) -> u64 {
        self.asked.values().filter(|(_, times)| *times > 1).count() as u64 // usize is at most 64 bits
    }

    pub fn connected(&mut self, wire: u64, manner: Manner) {
        let acceptor = match manner {
            Manner::IsAnother => &self.other,
            _ => &self.own,
        };
        let oracle = Oracle {
            channel: Channel::accept(acceptor),
            http: Server::new(Options::application()),
            manner,
            over: false,
        };
        self.open.insert(wire, oracle);
    }

    /// Takes bytes. `Err`: something was asked that must not be.
    pub fn received(&mut self, wire: u64, data: &[u8]) -> Result<(Bytes, Says), String> {
        let Some(oracle) = self.open.get_mut(&wire).filter(|oracle| !oracle.over) else {
            return Ok((Bytes::new(), Says::Nothing));
        };
        let mut plain = Vec::new();
        if oracle.channel.received(data, &mut plain).is_err() {
            return Ok((oracle.channel.drain(), Says::HangsUp));
        }
        let flight = oracle.channel.drain();
        oracle.http.receive(&plain);
        let request = match oracle.http.next() {
            Ok(Some(Received::Request(request))) => request,
            Ok(_) => return Ok((flight, Says::Nothing)),
            Err(refusal) => return Err(format!("the oracle cannot read a request: {refusal:?}")),
        };
        if oracle.manner == Manner::IsAnother {
            return Err("a server with another key was asked".into());
        }
        let key = request.header("idempotency-key").unwrap_or_default();
        if (request.method.as_str(), request.target.as_str()) != ("POST", "/ask?what")
            || key.is_empty()
        {
            return Err(format!("the oracle was asked {request:?}"));
        }
        let (first, times) =
            (self.asked.entry(key.to_owned())).or_insert((request.body.clone(), 0));
        *times += 1;
        if *first != request.body {
            return Err(format!("another question under the key {key}"));
        }
        Ok(match oracle.manner {
            Manner::Answers => (flight, Says::Now(self.reply(wire, &request.body))),
            Manner::AnswersLate => (flight, Says::Later),
            Manner::SaysTooMuch => {
                let much = vec![b'x'; 2 * REPLY_BYTES_MAX as usize]; // u32 fits usize here
                (flight, Says::Now(self.reply(wire, &much)))
            }
            Manner::TalksNonsense => {
                let said = oracle.channel.send(b"SSH-2.0-oracle\r\n\r\n");
                said.expect("the channel is open");
                (flight, Says::Now(oracle.channel.drain()))
            }
            Manner::IsSilent | Manner::IsAnother => (flight, Says::Nothing),
            Manner::HangsUp => (flight, Says::HangsUp),
        })
    }

    /// The reply to the question that waits on this connection.
    pub fn late_reply(&mut self, wire: u64) -> Bytes {
        self.reply(wire, b"late")
    }

    fn reply(&mut self, wire: u64, body: &[u8]) -> Bytes {
        let Some(oracle) = self.open.get_mut(&wire) else {
            return Bytes::new();
        };
        let mut response = BytesMut::new();
        let body = [b"asked: ", body].concat();
        let headers: [(&str, &str); 0] = [];
        http1::encode_response(
            200,
            &headers,
            &body,
            "POST",
            Persistence::Close,
            &mut response,
        );
        // A channel that was closed meanwhile says nothing more.
        let _ = oracle.channel.send(&response);
        oracle.channel.close();
        oracle.over = true;
        oracle.channel.drain()
    }
}
