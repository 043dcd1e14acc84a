//! What has happened on the network before anybody looks: contracts, price lists, orders, deliveries.

use alloy_primitives::{Address, TxKind, U256};
use serde_json::json;

use super::abi::{address, input, number};
use super::actions::{self, Action, Done, created, done, perform};
use super::contracts::{self, SYSTEM_POLICY, Said};
use super::roles::Kind;
use super::rpc::Rpc;
use super::wallet::Wallet;
use super::world::{Contracts, Deed, Seat, What, World};
use crate::failure::Failure;

/// Sacks that every supplier has at first.
pub(crate) const STOCK: u64 = 10_000;

/// What one retailer pays, in cents.
type Price = (&'static str, u64);

/// Supplier, item, what each retailer pays. They differ, and nobody else knows.
const PRICES: &[(&str, u32, [Price; 2])] = &[
    ("litware", 1, [("tailspin", 41_200), ("wingtip", 39_900)]),
    ("litware", 2, [("tailspin", 9_850), ("wingtip", 10_400)]),
    ("proseware", 2, [("tailspin", 9_990), ("wingtip", 9_600)]),
    ("proseware", 3, [("tailspin", 28_500), ("wingtip", 30_250)]),
    (
        "fourthcoffee",
        1,
        [("tailspin", 43_000), ("wingtip", 40_500)],
    ),
    (
        "fourthcoffee",
        3,
        [("tailspin", 27_900), ("wingtip", 27_900)],
    ),
];

/// How far an order has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Ordered,
    Shipped,
    Delivered,
}

/// Retailer, supplier, item, sacks.
const ORDERS: &[(&str, &str, u32, u64, Stage)] = &[
    ("tailspin", "litware", 1, 120, Stage::Delivered),
    ("wingtip", "proseware", 3, 60, Stage::Delivered),
    ("tailspin", "proseware", 2, 80, Stage::Shipped),
    ("wingtip", "litware", 1, 300, Stage::Ordered),
    ("wingtip", "fourthcoffee", 1, 45, Stage::Shipped),
    ("tailspin", "fourthcoffee", 3, 150, Stage::Ordered),
];

/// Creates the contracts.
///
/// The account that does it is made here and forgotten at the end: a contract's creator could attach
/// another policy, and nobody should be able to but the members together.
pub(crate) async fn deploy(member: &Rpc, seats: &[Seat]) -> Result<Contracts, Failure> {
    let creator = Wallet::random()?;
    let suppliers: Vec<Address> = seats
        .iter()
        .filter(|seat| seat.is.kind == Kind::Supplier)
        .map(|seat| seat.wallet.address())
        .collect();
    let send = async |nonce, to, data| -> Result<Done, Failure> {
        let raw = creator.sign(nonce, to, data);
        let receipt = member
            .call("eth_sendRawTransactionSync", json!([raw]))
            .await?;
        done(receipt)
    };
    let stock = created(&send(0, TxKind::Create, contracts::stock(&suppliers, STOCK)).await?)?;
    let policy = created(&send(1, TxKind::Create, contracts::policy(&stock)).await?)?;
    // The token was created with nonce 0.
    let words = [address(&stock), address(&policy), number(0)];
    let data = input("attach(address,address,uint64)", &words);
    let attached = send(2, TxKind::Call(SYSTEM_POLICY), data).await?;
    if attached.receipt["status"] != "0x1" {
        return Err(Failure::failed("the policy was not attached to the token"));
    }
    let trade = created(&send(3, TxKind::Create, contracts::trade(&stock)).await?)?;
    Ok(Contracts {
        trade,
        stock,
        policy,
    })
}

/// Prices, orders, shipments, deliveries.
pub(crate) async fn fill(world: &World) -> Result<(), Failure> {
    let Contracts { trade, stock, .. } = world.contracts();
    for seat in world
        .roles()
        .iter()
        .filter(|seat| seat.is.kind == Kind::Supplier)
    {
        let data = input(
            "approve(address,uint256)",
            &[address(&trade), U256::MAX.into()],
        );
        let done = actions::send(seat, TxKind::Call(stock), data).await?;
        world.note(Deed {
            by: seat.is.name.into(),
            what: What::Approve,
            hash: done.hash,
            block: done.block,
        })?;
    }
    for (supplier, item, prices) in PRICES {
        for (retailer, price) in prices {
            let action = Action::Price {
                role: (*supplier).into(),
                retailer: (*retailer).into(),
                item: *item,
                price: *price,
            };
            perform(world, &action).await?;
        }
    }
    for (retailer, supplier, item, quantity, stage) in ORDERS {
        let order = Action::Order {
            role: (*retailer).into(),
            supplier: (*supplier).into(),
            item: *item,
            quantity: *quantity,
        };
        let ordered = perform(world, &order).await?;
        let id = ordered.receipt["logs"]
            .as_array()
            .into_iter()
            .flatten()
            .find_map(|log| match contracts::read(log) {
                Some(Said::Ordered { id, .. }) => Some(id),
                _ => None,
            })
            .ok_or_else(|| Failure::failed("the order has no number"))?;
        if *stage == Stage::Ordered {
            continue;
        }
        let role = (*supplier).into();
        perform(world, &Action::Ship { role, id }).await?;
        if *stage == Stage::Delivered {
            let role = "adatum".into();
            perform(world, &Action::Deliver { role, id }).await?;
        }
    }
    Ok(())
}
