//! The door for accounts: each request goes on in the name of some accounts of the actor. They are those of
//! the end user whose token it shows, or always the same.
//!
//! Requests are read and written anew by the same parser that the validating nodes use, so both agree on
//! where one ends; what a client says about accounts by itself is left out. A WebSocket is opened by a
//! connection's first request, and its bytes pass once the node has agreed; it ends with the token.

use std::sync::Arc;

use alloy_primitives::Address;
use base64::Engine as _;
use bytes::BytesMut;
use http1::{Options, Persistence, Received, Refusal, Request, Server};

use super::users::{User, Users};

/// What a client does not say by itself.
const OURS: [&str; 4] = ["authorization", "coco-accounts", "coco-query", "host"];

/// For whose accounts requests go on.
#[derive(Debug, Clone)]
pub(crate) enum Who {
    /// Those of the end user whose token a request shows.
    Users(Arc<Users>),
    /// Always these, whoever connects.
    Accounts(Arc<[Address]>),
}

/// See the module's head.
pub(super) struct Door {
    who: Who,
    server: Server,
    state: State,
}

enum State {
    First,
    Requests,
    /// The node has not agreed to the WebSocket yet: what the client sends waits.
    Upgrading {
        until: Option<u64>,
        waits: BytesMut,
    },
    Socket {
        until: Option<u64>,
    },
    /// The client was refused; nothing more is taken from it.
    Refused,
}

/// What the pump does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Then {
    GoOn,
    /// Send what there is for the client, and end.
    End,
}

impl Door {
    pub(super) fn new(who: Who) -> Self {
        Self {
            who,
            server: Server::new(Options::application()),
            state: State::First,
        }
    }

    /// When the connection ends at the latest, in seconds since 1970.
    pub(super) fn until(&self) -> Option<u64> {
        match &self.state {
            State::Upgrading { until, .. } | State::Socket { until } => *until,
            State::First | State::Requests | State::Refused => None,
        }
    }

    /// Takes what the client sent.
    pub(super) fn client_said(
        &mut self,
        bytes: &[u8],
        to_node: &mut BytesMut,
        to_client: &mut BytesMut,
    ) -> Then {
        match &mut self.state {
            State::Socket { .. } => {
                to_node.extend_from_slice(bytes);
                return Then::GoOn;
            }
            State::Upgrading { waits, .. } => {
                waits.extend_from_slice(bytes);
                return Then::GoOn;
            }
            State::Refused => return Then::End,
            State::First | State::Requests => self.server.receive(bytes),
        }
        loop {
            match self.server.next() {
                Ok(None) => return Then::GoOn,
                Ok(Some(Received::ExpectContinue)) => http1::encode_continue(to_client),
                Ok(Some(Received::Request(request))) => {
                    if let Err(refusal) = self.request(request, to_node) {
                        return self.refuse(refusal, to_client);
                    }
                    if matches!(self.state, State::Upgrading { .. }) {
                        return Then::GoOn;
                    }
                }
                Err(refusal) => return self.refuse(refusal, to_client),
            }
        }
    }

    /// Looks at what the node answered, before the client gets it.
    pub(super) fn node_said(&mut self, bytes: &[u8], to_node: &mut BytesMut) {
        if let State::Upgrading { until, waits } = &mut self.state {
            let (until, waits) = (*until, waits.split());
            self.state = if bytes.starts_with(b"HTTP/1.1 101 ") {
                to_node.extend_from_slice(&waits);
                State::Socket { until }
            } else {
                State::Refused
            };
        }
    }

    fn request(&mut self, mut request: Request, to_node: &mut BytesMut) -> Result<(), Refusal> {
        // Browsers ask without credentials what they may ask; nothing else may.
        let asker = match request.method.as_str() {
            "OPTIONS" => None,
            _ => Some(self.asker(&mut request)?),
        };
        let is_upgrade = http1::accept_upgrade(&request, &mut BytesMut::new())?;
        if is_upgrade && !matches!(self.state, State::First) {
            let text = "open a WebSocket by a connection's first request";
            return Err(Refusal { status: 400, text });
        }
        self.state = State::Requests;
        request.headers.retain(|(name, _)| {
            !OURS.contains(&name.as_str())
                && name != "content-length"
                && name != "transfer-encoding"
                && name != "expect"
        });
        if let Some((accounts, _)) = &asker {
            let list: Vec<_> = accounts.iter().map(ToString::to_string).collect();
            request
                .headers
                .push(("coco-accounts".into(), list.join(",")));
        }
        http1::encode_request(
            &request.method,
            &request.target,
            "gateway",
            &request.headers,
            &request.body,
            to_node,
        );
        if let Some((_, until)) = asker.filter(|_| is_upgrade) {
            let server = Server::new(Options::application());
            let waits =
                BytesMut::from(&std::mem::replace(&mut self.server, server).into_rest()[..]);
            self.state = State::Upgrading { until, waits };
        }
        Ok(())
    }

    /// For which accounts a request goes on, and until when.
    fn asker(&self, request: &mut Request) -> Result<(Arc<[Address]>, Option<u64>), Refusal> {
        match &self.who {
            Who::Accounts(accounts) => Ok((accounts.clone(), None)),
            Who::Users(users) => {
                let user = Self::user(users, request)?;
                Ok((user.accounts.into(), Some(user.expiry)))
            }
        }
    }

    /// Whose request it is. A token in the path is taken out of it.
    fn user(users: &Users, request: &mut Request) -> Result<User, Refusal> {
        let denied = |text| Refusal { status: 401, text };
        let carried = request.header("authorization").map(str::to_owned);
        let from_path = request.target.strip_prefix("/t/").map(str::to_owned);
        let token = match (carried, from_path) {
            (Some(_), Some(_)) => return Err(denied("show one token")),
            (Some(value), None) => token_of(&value).ok_or(denied("show the token as Bearer"))?,
            (None, Some(path)) => {
                let (token, rest) = path.split_once('/').unwrap_or((&path, ""));
                request.target = format!("/{rest}");
                token.to_owned()
            }
            (None, None) => return Err(denied("show a token of the organisation's sign-in")),
        };
        users.user(&token).map_err(denied)
    }

    fn refuse(&mut self, refusal: Refusal, to_client: &mut BytesMut) -> Then {
        self.state = State::Refused;
        let body = serde_json::json!({
            "jsonrpc": "2.0",
            "id": null,
            "error": { "code": -32003, "message": format!("coco gateway: {}", refusal.text) },
        });
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("access-control-allow-origin", "*".to_owned()),
        ];
        let body = body.to_string();
        http1::encode_response(
            refusal.status,
            &headers,
            body.as_bytes(),
            "POST",
            Persistence::Close,
            to_client,
        );
        Then::End
    }
}

/// The token of `Bearer TOKEN`, or the password of Basic.
fn token_of(value: &str) -> Option<String> {
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(rest.trim())
        .ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':')
        .map(|(_, password)| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::users::tests::{Issuer, claims};
    use super::*;

    /// What goes to the node and to the client, and what happens then.
    fn take(door: &mut Door, text: &str) -> (String, String, Then) {
        let (mut node, mut client) = (BytesMut::new(), BytesMut::new());
        let then = door.client_said(text.as_bytes(), &mut node, &mut client);
        let text = |bytes: BytesMut| String::from_utf8(bytes.to_vec()).expect("text");
        (text(node), text(client), then)
    }

    fn post(headers: &str) -> String {
        format!("POST / HTTP/1.1\r\nhost: x\r\n{headers}content-length: 2\r\n\r\n{{}}")
    }

    #[tokio::test]
    async fn a_request_goes_on_for_its_users_accounts_alone() {
        let issuer = Issuer::new(1);
        let mut door = Door::new(Who::Users(issuer.users().await));
        let token = issuer.token(&claims());
        let asked = post(&format!(
            "Authorization: Bearer {token}\r\nCoco-Accounts: 0x70997970C51812dc3A010C7d01b50e0d17dc79C8\r\n\
             coco-query: 0x00\r\ncoco-read: linear\r\n"
        ));
        // Two at once, and cut in the middle.
        let both = format!("{asked}{asked}");
        let (head, tail) = both.split_at(both.len() - 10);
        let (mut node, client, then) = take(&mut door, head);
        assert_eq!((client.as_str(), &then), ("", &Then::GoOn));
        node += &take(&mut door, tail).0;
        let lower = node.to_lowercase();
        assert_eq!(node.matches("POST / HTTP/1.1").count(), 2);
        assert_eq!(
            lower
                .matches("coco-accounts: 0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266\r\n")
                .count(),
            2
        );
        assert_eq!(lower.matches("coco-accounts").count(), 2);
        assert!(lower.contains("coco-read: linear") && !lower.contains("coco-query"));
        assert!(!node.contains(&token), "the token is for the gateway");
    }

    #[tokio::test]
    async fn without_a_good_token_nothing_reaches_a_node() {
        let issuer = Issuer::new(1);
        let users = issuer.users().await;
        let other = Issuer::new(2).token(&claims());
        for headers in [
            "",
            "authorization: Bearer x\r\n",
            &format!("authorization: Bearer {other}\r\n"),
        ] {
            let mut door = Door::new(Who::Users(users.clone()));
            let (node, client, then) = take(&mut door, &post(headers));
            assert_eq!((node.as_str(), then), ("", Then::End), "{headers}");
            assert!(client.starts_with("HTTP/1.1 401 "), "{client}");
            assert_eq!(take(&mut door, &post(headers)).0, "");
        }
        let path = format!(
            "POST /t/{} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
            issuer.token(&claims())
        );
        let (node, _, _) = take(&mut Door::new(Who::Users(users)), &path);
        assert!(node.starts_with("POST / HTTP/1.1\r\n"), "{node}");
    }

    #[test]
    fn with_given_accounts_nobody_shows_a_token_and_nobody_names_others() {
        let accounts: Arc<[Address]> =
            [Address::repeat_byte(0xaa), Address::repeat_byte(0xbb)].into();
        let mut door = Door::new(Who::Accounts(accounts));
        let others =
            "coco-accounts: 0x70997970c51812dc3a010c7d01b50e0d17dc79c8\r\ncoco-query: 0x00\r\n";
        for headers in ["", others] {
            let (node, client, then) = take(&mut door, &post(headers));
            let named: Vec<&str> = node
                .lines()
                .filter(|line| line.starts_with("coco-"))
                .collect();
            let both = format!("coco-accounts: 0x{},0x{}", "aA".repeat(20), "bB".repeat(20));
            assert_eq!(named.len(), 1, "{node}");
            assert_eq!(named[0].to_lowercase(), both.to_lowercase());
            assert_eq!((client.as_str(), then), ("", Then::GoOn));
        }
        assert_eq!(door.until(), None);
    }

    #[tokio::test]
    async fn a_web_socket_passes_when_the_node_agreed_and_ends_with_its_token() {
        let issuer = Issuer::new(1);
        let users = issuer.users().await;
        let upgrade = format!(
            "GET / HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nupgrade: websocket\r\n\
             connection: upgrade\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            issuer.token(&claims())
        );
        for (answer, expected) in [
            ("HTTP/1.1 101 Switching", "early and late"),
            ("HTTP/1.1 400 Bad", ""),
        ] {
            let mut door = Door::new(Who::Users(users.clone()));
            let (node, _, _) = take(&mut door, &format!("{upgrade}early"));
            assert!(
                node.ends_with("\r\n\r\n") && node.contains("coco-accounts"),
                "{node}"
            );
            assert_eq!(door.until(), claims()["exp"].as_u64());
            assert_eq!(take(&mut door, " and").0, "");
            let mut node = BytesMut::new();
            door.node_said(answer.as_bytes(), &mut node);
            let late = take(&mut door, " late").0;
            assert_eq!(
                format!("{}{late}", String::from_utf8_lossy(&node)),
                expected
            );
        }
        // Behind another request the node's answer could be taken for another's.
        let mut door = Door::new(Who::Users(users));
        let token = issuer.token(&claims());
        take(
            &mut door,
            &post(&format!("authorization: Bearer {token}\r\n")),
        );
        assert!(take(&mut door, &upgrade).1.starts_with("HTTP/1.1 400 "));
    }
}
