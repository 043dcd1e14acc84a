//! What the page may have a role do: five things, with numbers that are looked at. This process signs
//! them; it signs nothing else, so it is no oracle for whoever reaches its port.

use alloy_primitives::{Address, B256, TxKind};
use serde::Deserialize;
use serde_json::{Value, json};

use super::abi::{address, input, number, quantity};
use super::roles::{ITEMS, Kind};
use super::world::{Deed, Seat, What, World};
use crate::failure::{Code, Failure};

/// Highest price, in cents.
const PRICE_MAX: u64 = 1_000_000;

/// Most sacks of one order.
const QUANTITY_MAX: u64 = 10_000;

/// One of the things.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Action {
    /// A supplier tells a retailer what an item costs.
    Price {
        role: String,
        retailer: String,
        item: u32,
        price: u64,
    },
    Order {
        role: String,
        supplier: String,
        item: u32,
        quantity: u64,
    },
    Ship {
        role: String,
        id: B256,
    },
    Deliver {
        role: String,
        id: B256,
    },
}

/// What became of a transaction.
pub(crate) struct Done {
    pub(crate) hash: String,
    pub(crate) block: u64,
    pub(crate) receipt: Value,
}

/// Does it, as the role whose it is.
pub(crate) async fn perform(world: &World, action: &Action) -> Result<Done, Failure> {
    let (role, what, data) = prepare(world, action)?;
    let done = send(role, TxKind::Call(world.contracts().trade), data).await?;
    if done.receipt["status"] != "0x1" {
        return Err(Failure::new(
            Code::Refused,
            "the contract refused it: without a price there is no order, and each step is that of one party",
        ));
    }
    world.note(Deed {
        by: role.is.name.to_owned(),
        what,
        hash: done.hash.clone(),
        block: done.block,
    })?;
    Ok(done)
}

fn prepare<'a>(world: &'a World, action: &Action) -> Result<(&'a Seat, What, Vec<u8>), Failure> {
    let of = |name: &str, kind: Kind| {
        let seat = world.seat(name)?;
        if seat.is.kind != kind {
            return Err(Failure::input(format!("{name} is no {}", kind.name())));
        }
        Ok(seat)
    };
    let account = |seat: &Seat| address(&seat.wallet.address());
    Ok(match action {
        Action::Price {
            role,
            retailer,
            item,
            price,
        } => {
            let to = of(retailer, Kind::Retailer)?;
            within("price", *price, PRICE_MAX)?;
            let words = [account(to), listed(*item)?, number(*price)];
            let what = What::Price {
                retailer: retailer.clone(),
            };
            let data = input("setPrice(address,uint32,uint128)", &words);
            (of(role, Kind::Supplier)?, what, data)
        }
        Action::Order {
            role,
            supplier,
            item,
            quantity,
        } => {
            let from = of(supplier, Kind::Supplier)?;
            within("quantity", *quantity, QUANTITY_MAX)?;
            let words = [account(from), listed(*item)?, number(*quantity)];
            let what = What::Order {
                supplier: supplier.clone(),
                item: *item,
            };
            let data = input("order(address,uint32,uint32)", &words);
            (of(role, Kind::Retailer)?, what, data)
        }
        Action::Ship { role, id } => {
            let carrier = world
                .roles()
                .iter()
                .find(|seat| seat.is.kind == Kind::Carrier)
                .ok_or_else(|| Failure::failed("there is no carrier"))?;
            let data = input("ship(bytes32,address)", &[*id, account(carrier)]);
            (of(role, Kind::Supplier)?, What::Ship, data)
        }
        Action::Deliver { role, id } => {
            let data = input("deliver(bytes32)", &[*id]);
            (of(role, Kind::Carrier)?, What::Deliver, data)
        }
    })
}

/// Signs and sends a transaction of a role through its own gateway, and waits until it is durable.
pub(crate) async fn send(seat: &Seat, to: TxKind, data: Vec<u8>) -> Result<Done, Failure> {
    let _turn = seat.turn.lock().await;
    let nonce = nonce(seat).await?;
    let raw = seat.wallet.sign(nonce, to, data);
    let receipt = seat
        .rpc
        .call("eth_sendRawTransactionSync", json!([raw]))
        .await?;
    done(receipt)
}

/// The next nonce of a role.
pub(crate) async fn nonce(seat: &Seat) -> Result<u64, Failure> {
    let params = json!([seat.wallet.address(), "latest"]);
    let nonce = seat.rpc.call("eth_getTransactionCount", params).await?;
    quantity(&nonce).ok_or_else(|| Failure::failed("the node gave no nonce"))
}

/// Reads a receipt.
pub(crate) fn done(receipt: Value) -> Result<Done, Failure> {
    let hash = receipt["transactionHash"].as_str();
    let block = quantity(&receipt["blockNumber"]);
    match (hash, block) {
        (Some(hash), Some(block)) => Ok(Done {
            hash: hash.to_owned(),
            block,
            receipt,
        }),
        _ => Err(Failure::failed(format!(
            "the node gave no receipt: {receipt}"
        ))),
    }
}

/// The contract that a receipt tells of.
pub(crate) fn created(done: &Done) -> Result<Address, Failure> {
    let address = done.receipt["contractAddress"].as_str();
    address
        .filter(|_| done.receipt["status"] == "0x1")
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Failure::failed(format!("a contract was not created: {}", done.receipt)))
}

fn listed(item: u32) -> Result<B256, Failure> {
    match ITEMS.iter().any(|(number, _)| *number == item) {
        true => Ok(number(item.into())),
        false => Err(Failure::input(format!("there is no item {item}"))),
    }
}

fn within(what: &str, value: u64, max: u64) -> Result<(), Failure> {
    match (1..=max).contains(&value) {
        true => Ok(()),
        false => Err(Failure::input(format!("{what}: a number from 1 to {max}"))),
    }
}
