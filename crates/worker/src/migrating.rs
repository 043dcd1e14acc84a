//! The way from one data format to the next: a batch without units, made once and applied by all.
//!
//! Members vote the format (`set-protocol-version`). The leader's worker sees that its state has an older
//! one, lets what is in flight be committed, and proposes what [`adapter::Machine::migrate`] writes as an
//! ordinary batch that also names both formats. Other workers apply it and do not execute. A vote of
//! several steps is as many batches.
//!
//! A worker whose code does not know the format takes no units when it leads. When it follows it stays
//! below the migration and turns clients away: what it knows of the state behind it would be wrong.

use adapter::{Kind, Lost, Reject, View};
use boundary::WorkerToManager;
use bytes::{Bytes, BytesMut};
use kv::{WriteSet, put_block16};
use sha2::{Digest as _, Sha256};
use types::limits::ENTRY_BYTES_MAX;

use crate::body::{Body, Migration};
use crate::convert;
use crate::core::{Core, Role, send};
use crate::execution::Execution;
use crate::leading::{ENTRY_OVERHEAD_BYTES, Made};

const CONTEXT: &[u8] = b"coco/worker/migration/1";

impl Core {
    /// The members voted this data format; 0 says nothing.
    pub(crate) fn vote_format(&mut self, format: u32, out: &mut Vec<WorkerToManager>) {
        if format <= self.voted_format {
            return;
        }
        self.voted_format = format;
        if !self.machine.formats().contains(&format) {
            let text = format!(
                "{}: this node takes no units when it leads, and serves none of this protocol's clients behind the migration",
                self.unknown(format)
            );
            send(out, convert::log(1, text));
        }
    }

    fn unknown(&self, format: u32) -> String {
        let known = self.machine.formats();
        format!(
            "the members voted data format {format} of {}, and this code knows {} to {}; start this node with code that knows it",
            self.machine.describe().protocol,
            known.start(),
            known.end()
        )
    }

    /// Why no units are taken here, if the data format is in the way.
    pub(crate) fn takes_no_units(&self) -> Option<Reject> {
        let stuck = match &self.role {
            Role::Leading(leading) => leading.stuck.as_ref(),
            Role::Following(_) => None,
        };
        let reason = stuck.or(self.stays.as_ref())?;
        Some(Reject::new(Kind::Busy, reason.clone()))
    }

    /// Whether this worker can apply a batch of another leader, as far as data formats go.
    pub(crate) fn goes_along(&mut self, body: &Body, out: &mut Vec<WorkerToManager>) -> bool {
        let Some(Migration { from, to }) = body.migration else {
            return true;
        };
        let text = if from != self.store.format() {
            format!(
                "batch {} cannot be applied: it migrates from data format {from}, and this state has {}",
                body.env.height,
                self.store.format()
            )
        } else if !self.machine.formats().contains(&to) {
            let reason = self.unknown(to);
            self.stays = Some(reason.clone());
            format!("{reason}; its state stays below batch {}", body.env.height)
        } else {
            return true;
        };
        send(out, convert::log(1, text));
        false
    }

    /// Leads the state to the next data format, when nothing is in flight.
    pub(crate) fn migrate(&mut self, out: &mut Vec<WorkerToManager>) {
        let Role::Leading(leading) = &self.role else {
            return;
        };
        if self.draining
            || leading.stuck.is_some()
            || leading.in_flight_max == 0
            || !leading.in_flight.is_empty()
        {
            return;
        }
        let from = self.store.format();
        let step = Migration { from, to: from + 1 };
        match self.migration(step) {
            Ok((made, writes, claims, body)) => {
                self.send_proposal(made, &writes, claims, body, out);
            }
            Err(reason) => {
                send(out, convert::log(1, reason.clone()));
                let Role::Leading(leading) = &mut self.role else {
                    unreachable!("it leads")
                };
                leading.stuck = Some(reason);
            }
        }
    }

    fn migration(&self, step: Migration) -> Result<(Made, WriteSet, Bytes, Bytes), String> {
        let Role::Leading(leading) = &self.role else {
            unreachable!("only a leader makes batches")
        };
        let Migration { from, to } = step;
        if !self.machine.formats().contains(&to) {
            return Err(self.unknown(to));
        }
        let protocol = self.machine.describe().protocol;
        let cannot = |why: &str| {
            format!(
                "the state of {protocol} cannot be brought from data format {from} to {to}: {why}"
            )
        };
        let env = self.next_env(leading);
        let mut execution = Execution::recording(self.store.top(), env).in_format(to);
        self.machine
            .migrate(from, &mut execution)
            .map_err(|reject| cannot(&reject.message))?;
        let claim = self
            .machine
            .seal(&[], &[], &mut execution)
            .map_err(|Lost| cannot("this node is being stopped"))?;
        let done = execution.finish();
        let body = Body::encode_migration(
            &done.env,
            step,
            &claim,
            &done.events,
            &done.recorded,
            &done.writes,
        );
        if body.len() > ENTRY_BYTES_MAX - ENTRY_OVERHEAD_BYTES {
            return Err(cannot("it changes more than one ledger entry can hold"));
        }
        let leaf = leaf(protocol, step, &done.writes);
        let made = Made {
            env: done.env,
            units: Vec::new(),
            claim,
            events: done.events,
            body_bytes: body.len(),
            format: Some(to),
            part: None,
        };
        Ok((made, done.writes, Bytes::copy_from_slice(&leaf), body))
    }
}

/// What the ledger's tree holds of a migration, in the place of a transaction's claim.
fn leaf(protocol: &str, step: Migration, writes: &WriteSet) -> [u8; 32] {
    let mut encoded = BytesMut::with_capacity(writes.encoded_bytes());
    writes.encode(&mut encoded);
    let mut name = BytesMut::new();
    put_block16(&mut name, protocol.as_bytes());
    Sha256::new()
        .chain_update(CONTEXT)
        .chain_update(&name)
        .chain_update(step.from.to_be_bytes())
        .chain_update(step.to.to_be_bytes())
        .chain_update(Sha256::digest(&encoded))
        .finalize()
        .into()
}
