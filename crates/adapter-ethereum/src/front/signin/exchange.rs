//! GET and POST of [`super::PATH`].

use std::sync::Arc;

use adapter::{Caller, Context, Exchange, Progress, Request, Response};
use alloy_primitives::hex;
use serde::Deserialize;
use serde_json::json;
use types::Millis;

use super::carried::wallet_signature;
use super::siwe::{MESSAGE_BYTES_MAX, Message, signing_hash};
use super::token::{CHALLENGE_MS, Token};
use super::{NOBODY, chain_id, now};
use crate::front::Shared;
use crate::system::entry;
use crate::transaction::recover;

/// One step of signing in.
pub(crate) struct SignIn {
    pub(crate) shared: Arc<Shared>,
    pub(crate) caller: Caller,
    pub(crate) request: Request,
}

#[derive(Deserialize)]
struct Signed {
    message: String,
    signature: String,
}

/// Status and reason.
type Refused = (u16, &'static str);

const REBUILT: Refused = (503, "this node's state is being rebuilt: try again");

impl SignIn {
    fn answer(&self, context: &dyn Context) -> Result<serde_json::Value, Refused> {
        let view = context.view();
        let Some(settings) = super::SignIn::of(view).map_err(|_| REBUILT)? else {
            return Err((404, "this network has no sign-in"));
        };
        let now = now(view, context.now()).map_err(|_| REBUILT)?;
        let chain_id = chain_id(view).map_err(|_| REBUILT)?;
        match self.request.method.as_str() {
            "GET" => {
                let mut desk = self.shared.desk();
                let dice = desk.dice();
                let nonce = desk
                    .keys()
                    .challenge(now, *dice.first_chunk().expect("32 bytes"));
                Ok(json!({
                    "nonce": nonce,
                    "chainId": chain_id,
                    "domains": settings.domains,
                    "issuedAt": written(now),
                    "expirationTime": written(now.plus(settings.token_seconds * 1000)),
                    "answerWithinSeconds": CHALLENGE_MS / 1000,
                }))
            }
            "POST" => self.token(context, &settings, now, chain_id),
            _ => Err((405, "sign in by GET and POST")),
        }
    }

    fn token(
        &self,
        context: &dyn Context,
        settings: &super::SignIn,
        now: Millis,
        chain_id: u64,
    ) -> Result<serde_json::Value, Refused> {
        if self.request.body.len() > 2 * MESSAGE_BYTES_MAX {
            return Err((413, "the message is too long"));
        }
        let signed: Signed = serde_json::from_slice(&self.request.body)
            .map_err(|_| (400, "expected {\"message\": .., \"signature\": ..}"))?;
        let message = Message::parse(&signed.message).map_err(|wrong| (400, wrong))?;
        if !settings
            .domains
            .iter()
            .any(|domain| covers(domain, message.domain))
        {
            return Err((403, "the message is not for a domain of this network"));
        }
        if message.chain_id != chain_id {
            return Err((403, "the message is for another chain"));
        }
        let mut desk = self.shared.desk();
        let Some(given) = desk.keys().challenged(message.nonce, now) else {
            return Err((
                403,
                "the nonce is not of this network, or too old: GET a new one",
            ));
        };
        if message.not_before.is_some_and(|start| now < start)
            || message.expiration.is_some_and(|end| end <= now)
        {
            return Err((403, "the message does not count now"));
        }
        let signer = hex::decode(&signed.signature)
            .ok()
            .and_then(|bytes| wallet_signature(&bytes))
            .and_then(|signature| recover(&signature, signing_hash(&signed.message)));
        if signer != Some(message.account) {
            return Err((403, "the message is not signed by its account"));
        }
        let known = entry(context.view(), &message.account).map_err(|_| REBUILT)?;
        let actor = known.actor.unwrap_or(self.caller.actor);
        if actor == NOBODY {
            return Err((
                403,
                "the account is bound to no actor: an actor's session submits IDENTITY.bind first",
            ));
        }
        // Counted from the challenge: whoever replays the exchange gains no time.
        let latest = given.plus(settings.token_seconds * 1000);
        let expiry = message.expiration.map_or(latest, |end| end.min(latest));
        let token = Token {
            id: desk.dice(),
            actor,
            expiry,
            accounts: vec![(message.account, known.generation)],
        };
        let nonce = *desk.dice().first_chunk().expect("32 bytes");
        Ok(json!({
            "token": desk.keys().seal(&token, nonce),
            "id": token.id,
            "expires": written(expiry),
            "accounts": [message.account],
            "actor": format!("0x{}", hex::encode(actor.0)),
        }))
    }
}

/// Whether a domain of the settings is this one; `host:*` is the host with any port.
fn covers(listed: &str, domain: &str) -> bool {
    let Some(host) = listed.strip_suffix(":*") else {
        return listed == domain;
    };
    domain.strip_prefix(host).is_some_and(|rest| {
        let port = rest.strip_prefix(':');
        rest.is_empty() || port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

/// In RFC 3339's form.
fn written(time: Millis) -> String {
    let (days, of_day) = (time.0 / 86_400_000, time.0 % 86_400_000);
    let (year, month, day) = super::siwe::civil(days);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, milli) = (of_day / 1000 % 60, of_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

impl Exchange for SignIn {
    fn poll(&mut self, context: &mut dyn Context) -> Progress {
        let (status, body) = match self.answer(context) {
            Ok(body) => (200, body),
            Err((status, reason)) => (status, json!({ "error": reason })),
        };
        let mut response = Response::json(status, body.to_string());
        response.headers.extend([
            ("access-control-allow-origin", "*".to_owned()),
            ("cache-control", "no-store".to_owned()),
        ]);
        Progress::Ready(response)
    }
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn a_domain_is_listed_with_its_port_or_with_any() {
        assert!(covers("app.example", "app.example") && covers("localhost:*", "localhost:3000"));
        assert!(covers("localhost:*", "localhost"));
        for other in ["app.example:81", "app.example.evil", "evil.app.example"] {
            assert!(!covers("app.example", other), "{other}");
        }
        for other in ["localhost.evil", "localhost:3000.evil", "localhost:@evil"] {
            assert!(!covers("localhost:*", other), "{other}");
        }
    }
}
