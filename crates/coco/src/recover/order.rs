//! `coco recover order`: M actors let a network that lost its quorum go on with fewer nodes than its rule
//! asks for.
//!
//! Each actor signs on its own machine, after its own copy of the ledger was audited: the first names who goes
//! on and the last signed root that it saw, the others sign the same. The survivors' operators give the file
//! to their nodes. Source: DESIGN section 6; docs/recovery.md.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use client::{restart_order_from_pem, restart_order_to_pem};
use crypto::Context;
use governance::{NodeSlot, Refused, RestartOrder, SignedMessage, State, Window};
use types::Millis;

use super::{Of, believed};
use crate::failure::{Code, Failure};
use crate::governing::Key;
use crate::keys::{now, write_public};
use crate::network::read_text;

/// A clock may be this much ahead of a survivor's.
const EARLY_MS: u64 = 5 * 60_000;

#[derive(Debug, Args)]
pub(crate) struct Order {
    #[command(flatten)]
    of: Of,
    /// Who goes on: all places whose nodes still have their disks
    #[arg(long = "survivor", value_name = "OWNER@HOST:PORT", num_args = 1.., value_parser = slot, conflicts_with = "with")]
    survivors: Vec<NodeSlot>,
    /// Signs the same as other actors have; the file that is written has their signatures, too
    #[arg(long, value_name = "FILE", required_unless_present = "survivors")]
    with: Option<PathBuf>,
    #[command(flatten)]
    key: Key,
    /// Name of the actor that signs, as the constitution lists it; default: the certificate's
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Hours in which the survivors may act on it
    #[arg(long, default_value_t = 168, value_parser = clap::value_parser!(u64).range(1..=720))]
    valid_hours: u64,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

fn slot(text: &str) -> Result<NodeSlot, String> {
    let (owner, address) = text
        .split_once('@')
        .ok_or("expected OWNER@HOST:PORT, as the constitution lists the node")?;
    Ok(NodeSlot {
        owner: owner.into(),
        address: address.into(),
    })
}

pub(super) fn run(arguments: &Order) -> Result<(), Failure> {
    let constitution = arguments.of.constitution()?;
    let copy = arguments.of.audit(&constitution, false)?;
    let signed = copy.signed.as_ref().ok_or_else(|| {
        Failure::new(
            Code::Refused,
            "no signed root was checked in this copy: an order names one, so that nothing before it is given up",
        )
    })?;
    believed(&copy.verdict, signed.index)?;
    let mut orders = match &arguments.with {
        Some(path) => restart_order_from_pem(&read_text(path)?)?,
        None => Vec::new(),
    };
    let signer = arguments.key.open()?;
    let actor = arguments.actor.clone();
    let actor = actor.unwrap_or_else(|| signer.chain()[0].subject().to_owned());
    let window = Window {
        from: Millis(now().0.saturating_sub(EARLY_MS)),
        until: now().plus(arguments.valid_hours * 3_600_000),
    };
    let order = match orders.first() {
        Some(first) => {
            let first = first.peek_restart_order();
            let first = first.map_err(|refused| Failure::input(refused.to_string()))?;
            if first.last > signed.index {
                eprintln!(
                    "note          the order is from entry {} on, and this copy proves entries up to {} only",
                    first.last, signed.index
                );
            }
            RestartOrder {
                actor,
                window,
                ..first
            }
        }
        None => RestartOrder {
            network: constitution.network_id(),
            restarts: copy.state.restarts(),
            survivors: arguments.survivors.iter().cloned().collect(),
            term: signed.term,
            last: signed.index,
            actor,
            window,
        },
    };
    let object = signer.sign1(Context::RestartOrder, &order.to_cbor())?;
    orders.push(SignedMessage::new(object, signer.chain()));
    let missing = missing(&copy.state, &orders)?;
    write_public(&arguments.out, &restart_order_to_pem(&orders))?;
    tell(&copy.state, &order, missing);
    println!("written       {}", arguments.out.display());
    Ok(())
}

/// How many actors must still sign. Nothing else may be wrong with an order.
fn missing(state: &State, orders: &[SignedMessage]) -> Result<usize, Failure> {
    match state.restart_order(orders, now()) {
        Ok(_) => Ok(0),
        Err(Refused::OrderUnfinished { missing }) => Ok(missing),
        Err(refused) => Err(Failure::new(Code::Refused, refused.to_string())),
    }
}

fn tell(state: &State, order: &RestartOrder, missing: usize) {
    let voters: BTreeSet<NodeSlot> = state
        .voters()
        .map(|node| NodeSlot {
            owner: node.owner.clone(),
            address: node.address.clone(),
        })
        .collect();
    println!("goes on       {}", names(&order.survivors));
    println!(
        "given up      {}",
        names(voters.difference(&order.survivors))
    );
    println!(
        "kept          entries 1-{}: a signed root proves them, and no older ledger is gone on from",
        order.last
    );
    println!("may be lost   {}", lost(&voters, &order.survivors));
    let more = match missing {
        0 => "they are as many as open the keys: every survivor is given the file (node.toml: restart_order)".to_owned(),
        more => format!("{more} more actors must sign the same (--with FILE)"),
    };
    println!("signed by     {}; {more}", order.actor);
}

fn names<'a>(slots: impl IntoIterator<Item = &'a NodeSlot>) -> String {
    let named: Vec<_> = slots
        .into_iter()
        .map(|slot| format!("{} of {}", slot.address, slot.owner))
        .collect();
    if named.is_empty() {
        "nobody".to_owned()
    } else {
        named.join(", ")
    }
}

/// What these survivors may not hold though it was acknowledged.
fn lost(voters: &BTreeSet<NodeSlot>, survivors: &BTreeSet<NodeSlot>) -> String {
    let (all, quorum) = (voters.len(), voters.len() / 2 + 1);
    let here = voters.intersection(survivors).count();
    if all - here >= quorum {
        "later transactions that were acknowledged: those who are given up were a quorum by themselves".to_owned()
    } else {
        format!(
            "later transactions that were acknowledged, if {} of the survivors' hosts or more present an older disk; else nothing",
            quorum + here - all
        )
    }
}
