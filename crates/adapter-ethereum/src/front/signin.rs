//! Who asks, beyond the TLS session: signing in, and what a request carries to show it.
//!
//! ```text
//! GET  /siwe                        {"nonce", "chainId", "domains", "issuedAt", "expirationTime"}
//! POST /siwe  {"message", "signature"}   {"token", "expires", "accounts", "actor"}
//! ```
//! A token narrows the session that carries it: it speaks for its accounts and for nothing else of the
//! session's actor. A session without an actor's certificate may sign in, ask with a token or a signed
//! query, and send transactions of its own accounts.

mod carried;
mod exchange;
mod siwe;
mod token;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use adapter::{Caller, Lost, Request, Response, StreamId, View};
use alloy_primitives::{Address, B256, U256, keccak256};
use serde::{Deserialize, Serialize};
use types::{ActorId, Millis};

use crate::block;
use crate::principal::{Carrier, Principal, Roles};
use crate::state::{META, META_RULES, META_SIGN_IN};
use crate::system::{self, entry, token_is_revoked};
pub(crate) use carried::Carried;
pub(crate) use exchange::SignIn as SigningIn;
use token::Keys;

/// Path of signing in.
pub(crate) const PATH: &str = "/siwe";

/// `signIn` in the network's settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SignIn {
    /// Domains whose messages are believed, as browsers show them: host, and port unless it is the usual
    /// one; `host:*` takes any port.
    pub(crate) domains: Vec<String>,
    /// How long a token counts at most.
    #[serde(default = "token_seconds")]
    pub(crate) token_seconds: u64,
}

fn token_seconds() -> u64 {
    3600
}

/// Longest life of a token that settings may allow: a week.
const TOKEN_SECONDS_MAX: u64 = 7 * 86_400;

const DOMAINS_MAX: usize = 64;

impl SignIn {
    /// The part of the settings' document; `None`: nobody signs in.
    ///
    /// # Errors
    /// What cannot be used.
    pub(crate) fn parse(document: &[u8]) -> Result<Option<Self>, String> {
        #[derive(Deserialize)]
        struct Document {
            #[serde(rename = "signIn")]
            sign_in: Option<SignIn>,
        }
        let document: Document = serde_json::from_slice(document).map_err(|e| e.to_string())?;
        if let Some(sign_in) = &document.sign_in {
            if sign_in.domains.is_empty() || sign_in.domains.len() > DOMAINS_MAX {
                return Err(format!("signIn.domains: name 1 to {DOMAINS_MAX} domains"));
            }
            if !(60..=TOKEN_SECONDS_MAX).contains(&sign_in.token_seconds) {
                return Err(format!("signIn.tokenSeconds: 60 to {TOKEN_SECONDS_MAX}"));
            }
        }
        Ok(document.sign_in)
    }

    /// What genesis wrote.
    pub(crate) fn of(view: &dyn View) -> Result<Option<Self>, Lost> {
        Ok(view.get(META, META_SIGN_IN)?.map(|bytes| {
            serde_json::from_slice(&bytes).expect("settings are written by this adapter only")
        }))
    }
}

/// Keys, dice and the sockets whose credentials came with their upgrade.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    keys: OnceLock<Keys>,
    pub(crate) sockets: BTreeMap<StreamId, Socket>,
    made: u64,
    seed: [u8; 32],
    /// The registry's version when the sockets were last looked at, and when that was.
    looked: (U256, Millis),
}

/// A WebSocket and who opened it.
#[derive(Debug, Clone)]
pub(crate) struct Socket {
    pub(crate) caller: Caller,
    pub(crate) carried: Carried,
}

/// Why a request has no principal. What is said helps whoever sent it and nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denied {
    Lost(Lost),
    /// In words.
    Because(&'static str),
}

impl From<Lost> for Denied {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

impl Desk {
    /// `seed` is different for every start.
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// The key that all VNs have. Only the first counts.
    pub(crate) fn keyed(&mut self, key: &[u8; 32]) {
        let _ = self.keys.set(Keys::new(key));
    }

    /// Without a network's key, tokens are good for this VN alone.
    fn keys(&self) -> &Keys {
        self.keys.get_or_init(|| Keys::new(&self.seed))
    }

    /// Whether a token is of this network's making; whether it still counts, each request asks.
    pub(crate) fn is_ours(&self, token: &str) -> bool {
        self.keys().open(token).is_some()
    }

    /// 32 bytes that were never given before.
    fn dice(&mut self) -> B256 {
        self.made += 1;
        let label = b"coco ethereum sign-in v1".as_slice();
        keccak256([label, &self.seed, &self.made.to_be_bytes()].concat())
    }

    /// Sockets whose credentials hold no more: looked at when the registry changes, and every second for
    /// those that expire.
    pub(crate) fn ended(&mut self, view: &dyn View, clock: Millis) -> Vec<StreamId> {
        if self.sockets.is_empty() {
            return Vec::new();
        }
        let Ok(version) = system::version(view) else {
            return Vec::new();
        };
        if version == self.looked.0 && clock.since(self.looked.1) < 1000 {
            return Vec::new();
        }
        self.looked = (version, clock);
        let void = |socket: &Socket| {
            let principal = self.principal(view, clock, &socket.caller, &socket.carried, b"");
            matches!(principal, Err(Denied::Because(_)))
        };
        let ended: Vec<_> = self
            .sockets
            .iter()
            .filter(|(_, socket)| void(socket))
            .map(|(stream, _)| *stream)
            .collect();
        for stream in &ended {
            self.sockets.remove(stream);
        }
        ended
    }

    /// Who asks, by the session and by what the request carries.
    pub(crate) fn principal(
        &self,
        view: &dyn View,
        clock: Millis,
        caller: &Caller,
        carried: &Carried,
        body: &[u8],
    ) -> Result<Principal, Denied> {
        let now = now(view, clock)?;
        let (accounts, expiry) = match carried {
            Carried::Nothing if caller.is_nobody() => {
                return Err(Denied::Because(
                    "sign in first: GET /siwe, then show the token as Authorization: Bearer",
                ));
            }
            Carried::Nothing => return Ok(Principal::of(caller)),
            Carried::Refused(reason) => return Err(Denied::Because(reason)),
            Carried::Token(text) => {
                let void = Denied::Because("the token is not valid: sign in again");
                let Some(token) = self.keys().open(text) else {
                    return Err(void);
                };
                if now >= token.expiry {
                    return Err(void);
                }
                for (account, generation) in &token.accounts {
                    let known = entry(view, account)?;
                    let bound = known.actor.or(Some(caller.actor)) == Some(token.actor);
                    if known.generation != *generation
                        || !bound
                        || token_is_revoked(view, account, &token.id)?
                    {
                        return Err(void);
                    }
                }
                let accounts = token.accounts.into_iter().map(|(account, _)| account);
                (accounts.collect::<Vec<_>>(), Some(token.expiry))
            }
            Carried::Query(query) => {
                let chain_id = chain_id(view)?;
                let account = query
                    .account(chain_id, body, now)
                    .map_err(Denied::Because)?;
                (vec![account], Some(query.deadline()))
            }
            Carried::Accounts(accounts) => {
                for account in accounts {
                    if caller.is_nobody() || entry(view, account)?.actor != Some(caller.actor) {
                        return Err(Denied::Because(
                            "coco-accounts: name accounts that the registry binds to this session's actor",
                        ));
                    }
                }
                (accounts.clone(), None)
            }
        };
        speaking_for(view, caller, accounts, expiry)
    }
}

/// The principal of proved accounts.
fn speaking_for(
    view: &dyn View,
    caller: &Caller,
    accounts: Vec<Address>,
    expiry: Option<Millis>,
) -> Result<Principal, Denied> {
    let mut actor: Option<ActorId> = None;
    let mut roles = Roles::default();
    for account in &accounts {
        let known = entry(view, account)?;
        // An account that is bound to nobody is its session's actor's.
        let of = known.actor.unwrap_or(caller.actor);
        roles = roles.with(match known.actor {
            Some(_) => Roles(known.roles).granted().with(Roles::DEPLOYER),
            None => Roles::DEPLOYER,
        });
        if *actor.get_or_insert(of) != of {
            return Err(Denied::Because("the accounts belong to several actors"));
        }
    }
    match actor {
        Some(actor) if actor != NOBODY => Ok(Principal {
            actor,
            carrier: Carrier::Account,
            accounts: accounts.into_iter().collect(),
            roles,
            expiry,
        }),
        _ => Err(Denied::Because(
            "the account is bound to no actor: an actor's session submits IDENTITY.bind first",
        )),
    }
}

const NOBODY: ActorId = ActorId([0; 32]);

/// The clock, and never before the ledger's time.
fn now(view: &dyn View, clock: Millis) -> Result<Millis, Lost> {
    let head = block::header(view, view.height().0)?;
    let ledger = head.map_or(0, |head| head.header.timestamp.saturating_mul(1000));
    Ok(Millis(clock.0.max(ledger)))
}

fn chain_id(view: &dyn View) -> Result<u64, Lost> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Chain {
        #[serde(with = "crate::settings::quantity")]
        chain_id: u64,
    }
    let bytes = view.get(META, META_RULES)?.ok_or(Lost)?;
    let chain: Chain =
        serde_json::from_slice(&bytes).expect("rules are written by this adapter only");
    Ok(chain.chain_id)
}

/// True for requests of signing in.
pub(crate) fn is_ours(request: &Request) -> bool {
    request.target.split('?').next() == Some(PATH)
}

/// The answer to a request without a principal, in a form that JSON-RPC libraries show.
pub(crate) fn unauthorized(reason: &str) -> Response {
    let error = serde_json::json!({"code": -32003, "message": format!("unauthorized: {reason}")});
    let body = serde_json::json!({"jsonrpc": "2.0", "id": null, "error": error});
    let mut response = Response::json(401, body.to_string());
    response.headers.extend([
        ("access-control-allow-origin", "*".to_owned()),
        ("www-authenticate", "Bearer realm=\"coco\"".to_owned()),
    ]);
    response
}
