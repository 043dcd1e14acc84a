//! One request before it is known who asks: that is decided when it is first polled, on the state of
//! that moment.

use std::sync::Arc;

use adapter::{Caller, Context, Exchange, Progress, StreamId};
use alloy_primitives::B256;
use bytes::Bytes;
use serde_json::{Value, json};

use super::envelope::RpcError;
use super::rpc::Rpc;
use super::signin::{Carried, Denied, unauthorized};
use super::simulate::Meter;
use super::{Session, Shared};
use crate::transaction::Transaction;

/// See the module's head.
pub(super) struct Asked {
    shared: Arc<Shared>,
    caller: Caller,
    carried: Carried,
    socket: Option<StreamId>,
    body: Bytes,
    pub(super) linear: bool,
    rpc: Option<Rpc>,
}

impl Asked {
    pub(super) fn new(
        shared: Arc<Shared>,
        caller: Caller,
        carried: Carried,
        socket: Option<StreamId>,
        body: Bytes,
    ) -> Self {
        Self {
            shared,
            caller,
            carried,
            socket,
            body,
            linear: false,
            rpc: None,
        }
    }

    fn begin(&mut self, context: &dyn Context) -> Result<Rpc, Denied> {
        let principal = self.shared.desk().principal(
            context.view(),
            context.now(),
            &self.caller,
            &self.carried,
            &self.body,
        )?;
        let session = Session {
            memory: Default::default(),
            caller: self.caller.clone(),
            socket: self.socket,
            meter: Meter::of(principal.actor),
            principal,
            shared: self.shared.clone(),
        };
        let mut rpc = Rpc::new(session, &std::mem::take(&mut self.body));
        rpc.linear = self.linear;
        Ok(rpc)
    }
}

impl Exchange for Asked {
    fn poll(&mut self, context: &mut dyn Context) -> Progress {
        if let Some(rpc) = &mut self.rpc {
            return rpc.poll(context);
        }
        match self.begin(context) {
            Ok(rpc) => self.rpc.insert(rpc).poll(context),
            Err(Denied::Because(reason)) => Progress::Ready(unauthorized(reason)),
            Err(Denied::Lost(_)) => Progress::Ready(unauthorized(
                "this node's state is being rebuilt: try again",
            )),
        }
    }
}

/// `coco_principal`: on whose behalf this session is answered.
pub(super) fn principal(session: &Session) -> Value {
    let principal = &session.principal;
    json!({
        "actor": B256::new(principal.actor.0),
        "accounts": principal.accounts,
        "roles": format!("{:#x}", principal.roles.0),
        "expiry": principal.expiry.map(|time| format!("{:#x}", time.0 / 1000)),
    })
}

/// Why the session may not send this transaction. One without an actor sends those of its own accounts; a
/// transaction that cannot be read is refused by whoever reads it.
pub(super) fn refused(session: &Session, raw: &Bytes, context: &dyn Context) -> Option<RpcError> {
    if !session.caller.is_nobody() {
        return None;
    }
    let rules = session.shared.machine.rules(context.view()).ok()?;
    let transaction = Transaction::admit(raw, &rules).ok()?;
    if session.principal.owns(&transaction.sender) {
        return None;
    }
    let message = "without an actor's certificate, send transactions of the account that signed in";
    Some(RpcError::new(-32003, message))
}
