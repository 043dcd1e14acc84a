//! What one role sees of the network at a height: asked through its own gateway, with ordinary methods.
//!
//! The block's header is the same for everybody. Everything below it is made from the logs that the
//! role's node showed, up to that block; so two views of one height can stand side by side.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256};
use serde_json::{Value, json};

use super::abi::quantity;
use super::contracts::{self, Said};
use super::world::{Seat, World};
use crate::failure::Failure;

/// Blocks that a node searches for one request.
const BLOCKS_MAX: u64 = 5_000;

/// Blocks that a view goes back: load makes many, and a page waits for this.
const HISTORY_BLOCKS_MAX: u64 = 200_000;

/// The view of a role at `height`, or at its node's newest block.
pub(crate) async fn view(
    world: &World,
    seat: &Seat,
    height: Option<u64>,
) -> Result<Value, Failure> {
    let head = seat.rpc.call("eth_blockNumber", json!([])).await?;
    let head = quantity(&head).ok_or_else(|| Failure::failed("the node gave no height"))?;
    let height = height.map_or(head, |wanted| wanted.min(head));
    let block = json!([format!("{height:#x}"), true]);
    let block = seat.rpc.call("eth_getBlockByNumber", block).await?;
    let logs = logs(world, seat, height).await?;
    let mut seen = Seen::default();
    for log in &logs {
        if let Some(said) = contracts::read(log) {
            let block = quantity(&log["blockNumber"]).unwrap_or_default();
            seen.add(said, block, log);
        }
    }
    Ok(json!({
        "role": seat.is.name,
        "height": height,
        "head": head,
        "block": block,
        "logs": logs.len(),
        "seen": seen.tell(world),
    }))
}

async fn logs(world: &World, seat: &Seat, height: u64) -> Result<Vec<Value>, Failure> {
    let contracts = world.contracts();
    let mut all = Vec::new();
    let mut from = height.saturating_sub(HISTORY_BLOCKS_MAX);
    while from <= height {
        let to = height.min(from + BLOCKS_MAX - 1);
        let filter = json!([{
            "address": [contracts.trade, contracts.stock],
            "fromBlock": format!("{from:#x}"), "toBlock": format!("{to:#x}"),
        }]);
        let found = seat.rpc.call("eth_getLogs", filter).await?;
        all.extend(found.as_array().into_iter().flatten().cloned());
        from = to + 1;
    }
    Ok(all)
}

/// An order, as far as this role is told.
#[derive(Debug)]
struct Order {
    retailer: Address,
    supplier: Address,
    carrier: Option<Address>,
    item: u64,
    quantity: u64,
    price: Option<u64>,
    stage: &'static str,
    block: u64,
}

/// What logs add up to.
#[derive(Debug, Default)]
struct Seen {
    prices: BTreeMap<(Address, Address, u64), u64>,
    orders: BTreeMap<B256, Order>,
    /// In the order of the ledger.
    places: Vec<B256>,
    stock: BTreeMap<Address, i128>,
    moves: Vec<Value>,
}

impl Seen {
    fn add(&mut self, said: Said, block: u64, log: &Value) {
        match said {
            Said::Price {
                supplier,
                retailer,
                item,
                price,
            } => {
                self.prices.insert((supplier, retailer, item), price);
            }
            Said::Ordered {
                id,
                retailer,
                supplier,
                item,
                quantity,
                price,
            } => {
                let order = Order {
                    retailer,
                    supplier,
                    carrier: None,
                    item,
                    quantity,
                    price: Some(price),
                    stage: "ordered",
                    block,
                };
                self.places.push(id);
                self.orders.insert(id, order);
            }
            Said::Moved {
                id,
                retailer,
                supplier,
                carrier,
                item,
                quantity,
                delivered,
            } => {
                if !self.orders.contains_key(&id) {
                    self.places.push(id);
                }
                let order = self.orders.entry(id).or_insert(Order {
                    retailer,
                    supplier,
                    carrier: None,
                    item,
                    quantity,
                    price: None,
                    stage: "",
                    block,
                });
                order.carrier = Some(carrier);
                order.stage = if delivered { "delivered" } else { "shipped" };
            }
            Said::Stock { from, to, amount } => {
                *self.stock.entry(from).or_default() -= i128::from(amount);
                *self.stock.entry(to).or_default() += i128::from(amount);
                self.moves.push(json!({
                    "from": from, "to": to, "amount": amount, "block": block,
                    "transaction": log["transactionHash"],
                }));
            }
        }
    }

    fn tell(&self, world: &World) -> Value {
        let who = |account: &Address| {
            let mut seats = world.roles().iter();
            seats
                .find(|seat| seat.wallet.address() == *account)
                .map_or_else(|| json!(account), |seat| json!(seat.is.name))
        };
        let prices = self.prices.iter().map(|((supplier, retailer, item), price)| {
            json!({ "supplier": who(supplier), "retailer": who(retailer), "item": item, "price": price })
        });
        let orders = self.places.iter().map(|id| {
            let order = &self.orders[id];
            json!({
                "id": id, "retailer": who(&order.retailer), "supplier": who(&order.supplier),
                "carrier": order.carrier.as_ref().map(who), "item": order.item, "quantity": order.quantity,
                "price": order.price, "stage": order.stage, "block": order.block,
            })
        });
        // Nobody sees all moves but an auditor, so only its own stock is what a role can add up.
        let stock = self
            .stock
            .iter()
            .filter(|(account, _)| !account.is_zero())
            .map(|(account, sum)| json!({ "who": who(account), "change": sum.to_string() }));
        let moves = self.moves.iter().map(|entry| {
            let mut entry = entry.clone();
            for end in ["from", "to"] {
                let account: Option<Address> =
                    entry[end].as_str().and_then(|text| text.parse().ok());
                entry[end] = account.map_or(Value::Null, |account| who(&account));
            }
            entry
        });
        json!({
            "prices": prices.collect::<Vec<_>>(),
            "orders": orders.collect::<Vec<_>>(),
            "stock": stock.collect::<Vec<_>>(),
            "moves": moves.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_carrier_sees_an_order_without_its_price_and_its_parties_with_it() {
        let [retailer, supplier, carrier] = [1, 2, 3].map(Address::repeat_byte);
        let id = B256::repeat_byte(9);
        let ordered = Said::Ordered {
            id,
            retailer,
            supplier,
            item: 1,
            quantity: 5,
            price: 100,
        };
        let moved = |delivered| Said::Moved {
            id,
            retailer,
            supplier,
            carrier,
            item: 1,
            quantity: 5,
            delivered,
        };
        let after = |all: Vec<Said>| {
            let mut seen = Seen::default();
            for said in all {
                seen.add(said, 7, &Value::Null);
            }
            let order = &seen.orders[&id];
            assert_eq!(seen.places, [id]);
            (order.price, order.stage, order.carrier)
        };
        assert_eq!(after(vec![ordered.clone()]), (Some(100), "ordered", None));
        let all = vec![ordered, moved(false), moved(true)];
        assert_eq!(after(all), (Some(100), "delivered", Some(carrier)));
        assert_eq!(after(vec![moved(false)]), (None, "shipped", Some(carrier)));
    }
}
