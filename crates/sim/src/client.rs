//! A client of the key-value protocol: writes one key after the other, over its own TLS, and keeps its
//! own list of what was acknowledged.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use channel::{Channel, Connector, Identity, Trust};
use http1::{ClientResponse, Options};
use types::Millis;

use crate::network::Organisation;

/// A client gives a node this long before it turns to another.
const PATIENCE_MS: u64 = 1_500;

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
    /// Key → value of every write that was answered with success.
    pub acknowledged: BTreeMap<String, String>,
    pub attempts: u64,
    pub refused: Vec<String>,
    /// Writes that are still to be sent, however calm the world is.
    owed: u64,
    /// What is left to read back at the end of a run, and what was not as acknowledged.
    to_read: Vec<(String, String)>,
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
            wrong: Vec::new(),
        }
    }

    /// A client that reads back what others wrote.
    pub fn reader(id: u64, user: &Organisation, expected: Vec<(String, String)>) -> Self {
        Self {
            to_read: expected,
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
        if let Some((key, expected)) = self.to_read.last() {
            if response.status == 503 {
                return Err(());
            }
            if response.status != 200 || response.body != expected.as_bytes() {
                self.wrong.push(format!(
                    "{key}: {} {}",
                    response.status,
                    String::from_utf8_lossy(&response.body)
                ));
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
                self.acknowledged
                    .insert(key(self.id, number), value(number));
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

    /// Sends the next write, or again the one whose outcome is not known.
    pub fn proceed(&mut self, now: Millis, more: bool) -> Result<Bytes, ()> {
        let Some((channel, http)) = &mut self.session else {
            return Ok(Bytes::new());
        };
        if channel.ready().is_some() && !self.sent {
            if let Some((key, _)) = self.to_read.last() {
                let mut request = BytesMut::new();
                http1::encode_request(
                    "GET",
                    &format!("/kv/{key}"),
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
