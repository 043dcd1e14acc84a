//! A channel: what one connection carries, decrypted and encrypted.

use bytes::{Buf, Bytes, BytesMut};
use crypto::Certificate;
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls_pki_types::ServerName;

use crate::verifier::parse;
use crate::{Acceptor, Connector};

/// Most ciphertext that waits for its end: a handshake message of 64 KiB in records, and one record more.
const INCOMPLETE_BYTES_MAX: usize = 96 << 10;

/// Most ciphertext that waits to be drained, unless the owner sets another limit: the largest answer of an
/// application channel, twice.
const UNDRAINED_BYTES_MAX: usize = 32 << 20;

/// A record carries at most this much plaintext (RFC 8446 5.1).
const RECORD_PLAINTEXT_MAX: usize = 16 << 10;

/// What a record adds: header, content type and tag.
const RECORD_OVERHEAD: usize = 5 + 1 + 16;

/// The peer did not keep to the protocol, or is not one to talk to. The channel is dead: drain it once, for
/// the alert, and drop the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("TLS with the peer failed: {0}")]
    Tls(String),
    /// The peer presented a certificate that is not taken.
    #[error("TLS with the peer failed: {0}")]
    Untrusted(String),
    #[error("the peer agreed to none of the application protocols that were asked for")]
    NoName,
    #[error("the peer sent more than {INCOMPLETE_BYTES_MAX} bytes without an end")]
    TooLong,
}

/// Why plaintext was not taken. Nothing of it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    #[error("the handshake is not finished, so nobody knows yet who would read this")]
    NotReady,
    #[error("the channel is closed or broken")]
    Closed,
    #[error("too much waits to be drained: the peer or the host reads too slowly")]
    Full,
}

/// Who proved to hold the key of a certificate. Whether to talk to it is the owner's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What it presented, leaf first; only the leaf's key is proven. Empty: it presented none
    /// ([`Acceptor::without_certificates`]).
    pub chain: Vec<Certificate>,
    /// The application protocol that was agreed, if any.
    pub alpn: Option<Vec<u8>>,
}

enum Side {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Handshake,
    Open,
    /// We said goodbye; the peer may still send.
    Closing,
    Broken,
}

/// One connection's TLS state.
pub struct Channel {
    side: Side,
    phase: Phase,
    wants_name: bool,
    shows_chain: bool,
    peer: Option<Peer>,
    peer_closed: bool,
    reason: Option<Broken>,
    incoming: BytesMut,
    outgoing: BytesMut,
    undrained_max: usize,
}

/// What to do when the connection can take plaintext.
enum Write<'a> {
    Nothing,
    Plaintext(&'a [u8]),
    CloseNotify,
}

enum Step {
    Again,
    Idle,
    /// The plaintext or goodbye was encrypted.
    Wrote,
}

impl Channel {
    /// Waits for a peer's handshake.
    pub fn accept(acceptor: &Acceptor) -> Self {
        let connection = UnbufferedServerConnection::new(acceptor.0.clone())
            .expect("the settings were checked when built");
        Self::new(Side::Server(Box::new(connection)), false, true)
    }

    /// Starts a handshake; drain it at once. `server` is a DNS name or an IP address, told to the server
    /// and not compared with its certificate: identity comes from keys.
    ///
    /// # Errors
    /// [`Broken::Tls`]: `server` is neither a DNS name nor an IP address.
    pub fn connect(connector: &Connector, server: &str) -> Result<Self, Broken> {
        let name = ServerName::try_from(server.to_owned()).map_err(|_| {
            Broken::Tls(format!(
                "{server:?} is neither a DNS name nor an IP address"
            ))
        })?;
        let connection = UnbufferedClientConnection::new(connector.config.clone(), name)
            .map_err(|e| Broken::Tls(e.to_string()))?;
        let mut channel = Self::new(
            Side::Client(Box::new(connection)),
            connector.wants_name,
            connector.shows_chain,
        );
        channel.run(Write::Nothing, &mut Vec::new())?;
        Ok(channel)
    }

    fn new(side: Side, wants_name: bool, shows_chain: bool) -> Self {
        Self {
            side,
            phase: Phase::Handshake,
            wants_name,
            shows_chain,
            peer: None,
            peer_closed: false,
            reason: None,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            undrained_max: UNDRAINED_BYTES_MAX,
        }
    }

    /// Sets how much ciphertext may wait to be drained before [`Channel::send`] refuses.
    pub fn set_undrained_bytes_max(&mut self, bytes: usize) {
        self.undrained_max = bytes;
    }

    /// Takes what the connection delivered, cut anywhere, and appends to `plaintext` what it says. Look at
    /// [`Channel::ready`] before using the plaintext, and drain afterwards.
    ///
    /// # Errors
    /// [`Broken`], now and ever after; `plaintext` is then as it was before.
    pub fn received(&mut self, bytes: &[u8], plaintext: &mut Vec<u8>) -> Result<(), Broken> {
        if let Some(reason) = &self.reason {
            return Err(reason.clone());
        }
        if self.peer_closed {
            return Ok(()); // RFC 8446 6.1: what comes after close_notify is ignored
        }
        let before = plaintext.len();
        self.incoming.extend_from_slice(bytes);
        let result = self
            .run(Write::Nothing, plaintext)
            .and_then(|_| self.settle());
        match result {
            Ok(()) if self.incoming.len() <= INCOMPLETE_BYTES_MAX => Ok(()),
            Ok(()) => {
                plaintext.truncate(before);
                Err(self.fail(Broken::TooLong))
            }
            Err(broken) => {
                plaintext.truncate(before);
                Err(broken)
            }
        }
    }

    /// Encrypts `plaintext`, all or nothing.
    ///
    /// # Errors
    /// [`NotSent`]: wait for [`Channel::ready`], for a drain, or give up.
    pub fn send(&mut self, plaintext: &[u8]) -> Result<(), NotSent> {
        match self.phase {
            Phase::Handshake => return Err(NotSent::NotReady),
            Phase::Closing | Phase::Broken => return Err(NotSent::Closed),
            Phase::Open => {}
        }
        if plaintext.is_empty() {
            return Ok(());
        }
        if self.outgoing.len() + sealed_bytes(plaintext.len()) > self.undrained_max {
            return Err(NotSent::Full);
        }
        let mut nothing = Vec::new();
        let wrote = self
            .run(Write::Plaintext(plaintext), &mut nothing)
            .map_err(|_| NotSent::Closed)?;
        assert!(
            wrote && nothing.is_empty(),
            "all that was complete was read when it came"
        );
        Ok(())
    }

    /// Takes the ciphertext that the connection shall carry; empty if there is none. Copies nothing.
    pub fn drain(&mut self) -> Bytes {
        self.outgoing.split().freeze()
    }

    /// Bytes that wait to be drained.
    pub fn undrained_bytes(&self) -> usize {
        self.outgoing.len()
    }

    /// The peer, once the handshake is done. A client is ready before the server has judged its
    /// certificate: only an answer shows that.
    pub fn ready(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// The peer said that it will send no more (and no byte is missing).
    pub fn is_closed_by_peer(&self) -> bool {
        self.peer_closed
    }

    /// Says that we will send no more; drain, then drop the connection.
    pub fn close(&mut self) {
        if self.phase == Phase::Open {
            // A channel that cannot even say goodbye is broken, and that is what it then says.
            let _ = self.run(Write::CloseNotify, &mut Vec::new());
        }
        if self.phase != Phase::Broken {
            self.phase = Phase::Closing;
        }
    }

    /// Lets rustls work until it waits for bytes. Gives whether `write` was done.
    fn run(&mut self, write: Write<'_>, plaintext: &mut Vec<u8>) -> Result<bool, Broken> {
        loop {
            let (discard, step) = match &mut self.side {
                Side::Server(c) => step(
                    c.process_tls_records(&mut self.incoming),
                    &write,
                    &mut self.outgoing,
                    &mut self.peer_closed,
                    plaintext,
                ),
                Side::Client(c) => step(
                    c.process_tls_records(&mut self.incoming),
                    &write,
                    &mut self.outgoing,
                    &mut self.peer_closed,
                    plaintext,
                ),
            };
            self.incoming.advance(discard);
            match step {
                Ok(Step::Again) => {}
                Ok(Step::Idle) => return Ok(false),
                Ok(Step::Wrote) => return Ok(true),
                Err(broken) => return Err(self.fail(broken)),
            }
        }
    }

    /// Notes the end of the handshake.
    fn settle(&mut self) -> Result<(), Broken> {
        let common = self.common();
        if self.phase != Phase::Handshake || common.is_handshaking() {
            return Ok(());
        }
        let alpn = common.alpn_protocol().map(<[u8]>::to_vec);
        let chain = match (&self.side, common.peer_certificates().unwrap_or_default()) {
            // rustls has refused it already, unless the acceptor takes clients without one.
            (Side::Server(_), []) => Ok(Vec::new()),
            _ if !self.shows_chain => Ok(Vec::new()),
            (_, chain) => parse(chain),
        };
        if self.wants_name && alpn.is_none() {
            return Err(self.fail(Broken::NoName));
        }
        match chain {
            Ok(chain) => {
                self.peer = Some(Peer { chain, alpn });
                self.phase = Phase::Open;
                Ok(())
            }
            Err(e) => Err(self.fail(Broken::Tls(e.to_string()))),
        }
    }

    /// Ends the channel for good; what remains is the alert that tells the peer why.
    fn fail(&mut self, reason: Broken) -> Broken {
        self.phase = Phase::Broken;
        self.peer = None;
        self.reason = Some(reason.clone());
        self.incoming = BytesMut::new();
        let (mut nothing, mut closed) = (Vec::new(), false);
        // While the alert waits, rustls hands it out before it looks at input; it must not look at input again.
        while self.common().wants_write() {
            let outgoing = &mut self.outgoing;
            let (_, next) = match &mut self.side {
                Side::Server(c) => step(
                    c.process_tls_records(&mut []),
                    &Write::Nothing,
                    outgoing,
                    &mut closed,
                    &mut nothing,
                ),
                Side::Client(c) => step(
                    c.process_tls_records(&mut []),
                    &Write::Nothing,
                    outgoing,
                    &mut closed,
                    &mut nothing,
                ),
            };
            if !matches!(next, Ok(Step::Again)) {
                break;
            }
        }
        reason
    }

    fn common(&self) -> &rustls::CommonState {
        match &self.side {
            Side::Server(c) => c,
            Side::Client(c) => c,
        }
    }
}

/// An upper bound of what plaintext becomes.
fn sealed_bytes(plaintext: usize) -> usize {
    plaintext + plaintext.div_ceil(RECORD_PLAINTEXT_MAX) * RECORD_OVERHEAD
}

fn broken(error: &rustls::Error) -> Broken {
    match error {
        rustls::Error::InvalidCertificate(_) => Broken::Untrusted(error.to_string()),
        _ => Broken::Tls(error.to_string()),
    }
}

/// Does what one state of rustls asks for.
fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    write: &Write<'_>,
    outgoing: &mut BytesMut,
    peer_closed: &mut bool,
    plaintext: &mut Vec<u8>,
) -> (usize, Result<Step, Broken>) {
    let mut discard = status.discard;
    let step = match status.state {
        Err(e) => Err(broken(&e)),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            let mut read = Ok(Step::Again);
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        discard += record.discard;
                        plaintext.extend_from_slice(record.payload);
                    }
                    Err(e) => read = Err(broken(&e)),
                }
            }
            read
        }
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            fill(outgoing, 1024, |space| match data.encode(space) {
                Err(EncodeError::InsufficientSize(size)) => Err(Some(size)),
                Err(EncodeError::AlreadyEncoded) => Err(None),
                Ok(written) => Ok(written),
            })
            .map(|()| Step::Again)
        }
        Ok(ConnectionState::TransmitTlsData(transmit)) => {
            transmit.done();
            Ok(Step::Again)
        }
        Ok(ConnectionState::PeerClosed) => {
            *peer_closed = true;
            Ok(Step::Again)
        }
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            let encrypted = |result| match result {
                Err(EncryptError::InsufficientSize(size)) => Err(Some(size)),
                Err(EncryptError::EncryptExhausted) => Err(None),
                Ok(written) => Ok(written),
            };
            match write {
                Write::Nothing => Ok(Step::Idle),
                Write::Plaintext(bytes) => fill(outgoing, sealed_bytes(bytes.len()), |space| {
                    encrypted(traffic.encrypt(bytes, space))
                })
                .map(|()| Step::Wrote),
                Write::CloseNotify => fill(outgoing, 2 * RECORD_OVERHEAD, |space| {
                    encrypted(traffic.queue_close_notify(space))
                })
                .map(|()| Step::Wrote),
            }
        }
        Ok(ConnectionState::ReadEarlyData(_)) => {
            let text = "the peer sent early data, which is never offered";
            Err(Broken::Tls(text.into()))
        }
        Ok(_) => Ok(Step::Idle), // waiting for handshake bytes, or both sides said goodbye
    };
    (discard, step)
}

/// Lets `write` fill space at the end of `outgoing`, asking again if it was too small.
fn fill(
    outgoing: &mut BytesMut,
    guess: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<InsufficientSizeError>>,
) -> Result<(), Broken> {
    let start = outgoing.len();
    let mut space = guess;
    loop {
        outgoing.resize(start + space, 0);
        match write(&mut outgoing[start..]) {
            Ok(written) => {
                outgoing.truncate(start + written);
                return Ok(());
            }
            Err(Some(size)) if size.required_size > space => space = size.required_size,
            Err(_) => {
                outgoing.truncate(start);
                let text = "the connection cannot encrypt any more";
                return Err(Broken::Tls(text.into()));
            }
        }
    }
}

impl core::fmt::Debug for Channel {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Channel")
            .field("phase", &self.phase)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
