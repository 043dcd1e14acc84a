//! The key-value protocol, of which some units ask the oracle before they do what they do.

use core::ops::RangeInclusive;
use std::sync::Arc;

use adapter::{
    Access, Action, Batch, Caller, Claim, Descriptor, Domain, Exec, ExternalCall, Filed, Lost,
    Machine, Outcome, Reject, Settings, Ticket, Unit, View, answer_to,
};
use bytes::Bytes;
use types::Digest;

/// One unit in so many asks; every second of them twice.
const ASKS: u8 = 3;

/// The protocol of a run with an outside.
pub fn asking() -> Arc<dyn Machine> {
    Arc::new(Asking(adapter_kv::machine()))
}

struct Asking(Arc<dyn Machine>);

impl Asking {
    fn domain(&self) -> Domain {
        self.0.describe().domains[0].domain
    }
}

/// What a unit asks as its call of this number; `None` for no further one.
fn question(unit: &Unit, place: usize) -> Option<ExternalCall> {
    let [first, second, ..] = unit.id.0;
    let calls = match first % ASKS {
        0 => 1 + usize::from(second % 2),
        _ => 0,
    };
    (place < calls).then(|| ExternalCall {
        endpoint: "oracle".into(),
        caller: Bytes::from_static(b"sim"),
        method: "POST".into(),
        target: "/ask?what".into(),
        headers: vec![("accept".into(), "text/plain".into())],
        body: format!("{} {place}", unit.id).into(),
    })
}

impl Machine for Asking {
    fn execute(&self, unit: &Unit, exec: &mut dyn Exec) -> Result<Outcome, Lost> {
        for place in 0.. {
            let Some(call) = question(unit, place) else {
                break;
            };
            let said = match answer_to(&unit.answers, place, &call) {
                None => return Ok(Outcome::Suspended(Box::new(call))),
                Some(Ok(reply)) => [format!("{} ", reply.status).as_bytes(), &reply.body].concat(),
                Some(Err(failure)) => format!("{failure:?}").into(),
            };
            let key = [b"\xffasked ", &unit.id.0[..], &[place as u8]].concat(); // one or two
            exec.put(self.domain(), key.into(), said.into());
        }
        self.0.execute(unit, exec)
    }

    fn describe(&self) -> Descriptor {
        self.0.describe()
    }

    fn genesis(&self, settings: &Settings, exec: &mut dyn Exec) -> Result<(), Reject> {
        self.0.genesis(settings, exec)
    }

    fn found(&self, network: &[u8; 32], exec: &mut dyn Exec) {
        self.0.found(network, exec);
    }

    fn formats(&self) -> RangeInclusive<u32> {
        self.0.formats()
    }

    fn migrate(&self, from: u32, exec: &mut dyn Exec) -> Result<(), Reject> {
        self.0.migrate(from, exec)
    }

    fn admit(&self, view: &dyn View, caller: &Caller, raw: &Bytes) -> Result<Ticket, Reject> {
        self.0.admit(view, caller, raw)
    }

    fn seal(
        &self,
        units: &[Unit],
        outcomes: &[Outcome],
        exec: &mut dyn Exec,
    ) -> Result<Claim, Lost> {
        self.0.seal(units, outcomes, exec)
    }

    fn claim_digest(&self, unit: &Unit, receipt: &Bytes) -> Digest {
        self.0.claim_digest(unit, receipt)
    }

    fn file(&self, batch: &Batch) -> Filed {
        self.0.file(batch)
    }

    fn authorize(
        &self,
        view: &dyn View,
        caller: &Caller,
        action: Action<'_>,
    ) -> Result<Access, Lost> {
        self.0.authorize(view, caller, action)
    }
}
