//! A bounded subset of HTTP/1.1 and WebSocket, bytes in and bytes out.
//!
//! Used wherever Coco speaks HTTP: the administrative channel in the manager (whose limits are tight:
//! [`Options::administrative`]), the fronts in the worker, the client, the gateway. No socket, no
//! clock, no async runtime: whoever owns the connection gives received bytes to [`Server`],
//! [`Client`] or [`WebSocket`] and sends what comes out.
//!
//! Source: RFC 9110, RFC 9112 (HTTP/1.1), RFC 6455 (WebSocket). Heads are parsed by `httparse`,
//! frames by `tungstenite`. Where RFC 9112 lets a recipient choose between lenient and strict, this is
//! strict, because two parsers that disagree about where a request ends is how requests are smuggled
//! (RFC 9112 section 11.2).
//!
//! Deliberately absent: compression, trailers (read and dropped), content negotiation, HTTP/2.

mod body;
mod head;

mod client;
mod response;
mod server;
mod websocket;

pub use client::{Client, ClientResponse, Misbehaved, encode_request};
pub use head::{Chunked, Options};
pub use response::{Persistence, encode_continue, encode_response, reason};
pub use server::{Received, Refusal, Request, Server};
pub use websocket::{Broken, Message, WebSocket, accept_upgrade};
