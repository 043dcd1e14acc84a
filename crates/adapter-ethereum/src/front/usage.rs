//! What each principal used in the present second: on a confidential network all that it asks, on a
//! transparent one the gas of traces and simulated blocks.
//!
//! One that asks for too much is told to wait and takes nothing from the others.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use types::{ActorId, Millis};

use super::envelope::RpcError;
use crate::access::Limits;
use crate::principal::Principal;

/// Principals that are kept count of; then those of earlier seconds are forgotten.
const PRINCIPALS_MAX: usize = 10_000;

#[derive(Debug, Clone, Copy, Default)]
struct Window {
    second: u64,
    calls: u64,
    gas: u64,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Usage(BTreeMap<(ActorId, BTreeSet<Address>), Window>);

impl Usage {
    fn window(&mut self, principal: &Principal, now: Millis) -> &mut Window {
        let second = now.0 / 1000;
        if self.0.len() >= PRINCIPALS_MAX {
            self.0.retain(|_, window| window.second == second);
        }
        let key = (principal.actor, principal.accounts.clone());
        let window = self.0.entry(key).or_default();
        if window.second != second {
            *window = Window {
                second,
                ..Window::default()
            };
        }
        window
    }

    /// Counts the calls of a request.
    pub(crate) fn calls(
        &mut self,
        principal: &Principal,
        limits: &Limits,
        now: Millis,
        calls: usize,
    ) -> Result<(), RpcError> {
        let window = self.window(principal, now);
        window.calls = window.calls.saturating_add(calls as u64); // usize is at most 64 bits
        if window.calls > u64::from(limits.calls_per_second) {
            let most = limits.calls_per_second;
            return Err(RpcError::limit(format!(
                "you may ask {most} calls a second: try again later"
            )));
        }
        Ok(())
    }

    /// Counts the gas of a simulation that ran.
    pub(crate) fn gas(&mut self, principal: &Principal, now: Millis, gas: u64) {
        let window = self.window(principal, now);
        window.gas = window.gas.saturating_add(gas);
    }

    /// Whether one more simulation may run.
    pub(crate) fn may_simulate(
        &mut self,
        principal: &Principal,
        limits: &Limits,
        now: Millis,
    ) -> Result<(), RpcError> {
        if self.window(principal, now).gas >= limits.simulation_gas_per_second {
            let most = limits.simulation_gas_per_second;
            return Err(RpcError::limit(format!(
                "you may simulate {most} gas a second: try again later"
            )));
        }
        Ok(())
    }
}
