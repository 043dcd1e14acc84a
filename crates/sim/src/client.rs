//! A client of the key-value protocol: writes one key after the other, over its own TLS, and keeps its
//! own list of what was acknowledged.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use channel::{Channel, Connector, Identity, Trust};
use crypto::Certificate;
use http1::{ClientResponse, Options};
use types::Millis;

use crate::network::Organisation;
use crate::proof::Written;

/// A client gives a node this long before it turns to another.
const PATIENCE_MS: u64 = 1_500;

/// What is read back at the end.
#[derive(Debug, Clone)]
pub enum Wanted {
    Value { key: String, value: String },
    Receipt { written: Written, value: String },
}

pub struct Client {
    pub id: u64,
    /// Which of its scheduled turns counts.
    pub turn: u64,
    connector: Connector,
    /// Of the present connection: the wire, and the protocol on it.
    pub wire: Option<u64>,
    session: Option<(Channel, http1::Client)>,
    /// The write under way: its number, and when patience ends.
    pending: Option<u64>,
    sent: bool,
    until: Millis,
    next: u64,
    /// Key → value of every write that was answered with success, and where it went.
    pub acknowledged: BTreeMap<String, (String, Option<Written>)>,
    pub attempts: u64,
    pub refused: Vec<String>,
    /// Writes that are still to be sent, however calm the world is.
    owed: u64,
    /// What is left to read back at the end of a run, and what was not as acknowledged.
    to_read: Vec<Wanted>,
    network: Option<Certificate>,
    pub receipts_verified: u64,
    pub wrong: Vec<String>,
}

impl Client {
    pub fn new(id: u64, user: &Organisation) -> Self {
        let identity = Identity::new(&user.key, std::slice::from_ref(&user.certificate))
            .expect("the user's own certificate");
        Self {
            id,
            turn: 0,
            connector: Connector::new(&identity, Trust::Any, &[b"coco-kv/1"]),
            wire: None,
            session: None,
            pending: None,
            sent: false,
            until: Millis::ZERO,
            next: 0,
            acknowledged: BTreeMap::new(),
            attempts: 0,
            refused: Vec::new(),
            owed: 0,
            to_read: Vec::new(),
            network: None,
            receipts_verified: 0,
            wrong: Vec::new(),
        }
    }

    /// A client that reads back what others wrote, and has it proven.
    pub fn reader(id: u64, user: &Organisation, wanted: Vec<Wanted>, network: Certificate) -> Self {
        Self {
            to_read: wanted,
            network: Some(network),
            ..Self::new(id, user)
        }
    }

    /// A client that writes once.
    pub fn once(id: u64, user: &Organisation) -> Self {
        Self {
            owed: 1,
            ..Self::new(id, user)
        }
    }

    /// What it waits for, in words.
    pub fn stands(&self) -> String {
        format!(
            "write {:?} under way, {} answered, {} left to read",
            self.pending,
            self.acknowledged.len(),
            self.to_read.len()
        )
    }

    pub fn has_read_all(&self) -> bool {
        self.to_read.is_empty()
    }

    /// Begins a connection on `wire`; gives the first bytes.
    pub fn connect(&mut self, now: Millis, wire: u64) -> Bytes {
        let mut channel = Channel::connect(&self.connector, "node.invalid").expect("a DNS name");
        let hello = channel.drain();
        self.session = Some((channel, http1::Client::new(Options::application())));
        self.wire = Some(wire);
        self.sent = false;
        self.until = now.plus(PATIENCE_MS);
        hello
    }

    /// The connection is gone, or the client gave up on it. What was under way is sent again.
    pub fn disconnect(&mut self) {
        self.session = None;
        self.wire = None;
        self.sent = false;
    }

    pub fn out_of_patience(&self, now: Millis) -> bool {
        self.wire.is_some() && now >= self.until
    }

    /// Takes bytes and says what to send. `Err`: the connection is of no use.
    pub fn received(&mut self, now: Millis, data: &[u8], more: bool) -> Result<Bytes, ()> {
        let Some((channel, http)) = &mut self.session else {
            return Ok(Bytes::new());
        };
        let mut plain = Vec::new();
        channel.received(data, &mut plain).map_err(|_| ())?;
        http.receive(&plain);
        let mut answered = Vec::new();
        while let Some(response) = http.next().map_err(|_| ())? {
            answered.push(response);
        }
        for response in answered {
            self.answer(now, &response)?;
        }
        self.proceed(now, more)
    }

    fn answer(&mut self, now: Millis, response: &ClientResponse) -> Result<(), ()> {
        if let Some(wanted) = self.to_read.last() {
            if response.status == 503 {
                return Err(());
            }
            match self.is_right(wanted, response) {
                Ok(()) => {
                    let proven = matches!(wanted, Wanted::Receipt { .. });
                    self.receipts_verified += u64::from(proven);
                }
                Err(wrong) => self.wrong.push(wrong),
            }
            self.to_read.pop();
            self.sent = false;
            self.until = now.plus(PATIENCE_MS);
            return Ok(());
        }
        let Some(number) = self.pending else {
            return Err(());
        };
        match response.status {
            200 | 201 | 204 => {
                let written = Written::of(&response.body);
                self.acknowledged
                    .insert(key(self.id, number), (value(number), written));
                self.pending = None;
                self.sent = false;
                self.until = now.plus(PATIENCE_MS);
                Ok(())
            }
            // Busy, or the outcome is unknown: the same request goes to another node.
            429 | 503 | 504 => Err(()),
            status => {
                self.refused.push(format!(
                    "{status} {}",
                    String::from_utf8_lossy(&response.body)
                ));
                Err(())
            }
        }
    }

    fn is_right(&self, wanted: &Wanted, response: &ClientResponse) -> Result<(), String> {
        let said = || {
            let text = String::from_utf8_lossy(&response.body);
            format!("{} {text}", response.status)
        };
        match wanted {
            Wanted::Value { value, .. }
                if response.status == 200 && response.body == value.as_bytes() =>
            {
                Ok(())
            }
            Wanted::Value { key, .. } => Err(format!("{key}: {}", said())),
            Wanted::Receipt { written, value } => {
                let network = self.network.as_ref().expect("of every reader");
                if response.status != 200 {
                    return Err(format!("receipt of {written:?}: {}", said()));
                }
                written
                    .is_proven_by(&response.body, value, network)
                    .map_err(|wrong| format!("receipt of {written:?}: {wrong}"))
            }
        }
    }

    /// Sends the next write, or again the one whose outcome is not known.
    pub fn proceed(&mut self, now: Millis, more: bool) -> Result<Bytes, ()> {
        let Some((channel, http)) = &mut self.session else {
            return Ok(Bytes::new());
        };
        if channel.ready().is_some() && !self.sent {
            if let Some(wanted) = self.to_read.last() {
                let path = match wanted {
                    Wanted::Value { key, .. } => format!("/kv/{key}"),
                    Wanted::Receipt { written, .. } => {
                        format!("/receipt/{}/{}", written.height, written.position)
                    }
                };
                let mut request = BytesMut::new();
                http1::encode_request(
                    "GET",
                    &path,
                    "node",
                    &[("accept", "*/*")],
                    b"",
                    &mut request,
                );
                http.sent("GET");
                channel.send(&request).map_err(|_| ())?;
                self.sent = true;
            } else {
                self.write(now, more)?;
            }
        }
        let Some((channel, _)) = &mut self.session else {
            return Ok(Bytes::new());
        };
        Ok(channel.drain())
    }

    fn write(&mut self, now: Millis, more: bool) -> Result<(), ()> {
        let Some((channel, http)) = &mut self.session else {
            return Ok(());
        };
        if self.pending.is_none() && (more || self.owed > 0) {
            self.owed = self.owed.saturating_sub(1);
            self.pending = Some(self.next);
            self.next += 1;
        }
        {
            if let Some(number) = self.pending {
                let mut request = BytesMut::new();
                let name = format!("c{}-{number}", self.id);
                let path = format!("/kv/{}", key(self.id, number));
                http1::encode_request(
                    "PUT",
                    &path,
                    "node",
                    &[("coco-request-id", name.as_str())],
                    value(number).as_bytes(),
                    &mut request,
                );
                http.sent("PUT");
                channel.send(&request).map_err(|_| ())?;
                self.sent = true;
                self.attempts += 1;
                self.until = now.plus(PATIENCE_MS);
            }
        }
        Ok(())
    }

    pub fn idle(&self) -> bool {
        self.pending.is_none()
    }
}

fn key(client: u64, number: u64) -> String {
    format!("c{client}-k{number}")
}

fn value(number: u64) -> String {
    format!("value {number}")
}
