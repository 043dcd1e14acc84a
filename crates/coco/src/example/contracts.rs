//! The example's contracts, as `examples/supply-chain` has compiled them, and what they say.
//!
//! The artefacts stand beside their sources, with the compiler's version; `npm run check` there shows that
//! the sources give these bytes. `Stock` is OpenZeppelin's ERC-20 with a constructor (docs/decisions).

use alloy_primitives::{Address, B256};
use serde::Deserialize;
use serde_json::Value;

use super::abi::{address, number, small, topic, words};

const TRADE: &str = include_str!("../../../../examples/supply-chain/artefacts/Trade.json");
const STOCK: &str = include_str!("../../../../examples/supply-chain/artefacts/Stock.json");
const POLICY: &str = include_str!("../../../../examples/supply-chain/artefacts/ERC20Policy.json");

/// System contracts: docs/ethereum-principals.md.
pub(crate) const SYSTEM_POLICY: Address =
    alloy_primitives::address!("00000000000000000000000000000000c0c00005");

#[derive(Deserialize)]
struct Artefact {
    bytecode: String,
}

fn code(artefact: &str) -> Vec<u8> {
    let artefact: Artefact = serde_json::from_str(artefact).expect("checked by a test");
    hex::decode(artefact.bytecode.trim_start_matches("0x")).expect("checked by a test")
}

/// What creates the stock token, every holder having `amount`.
pub(crate) fn stock(holders: &[Address], amount: u64) -> Vec<u8> {
    let mut init = code(STOCK);
    // (address[], uint256): where the list begins, the amount, the list.
    let head = [number(64), number(amount), number(holders.len() as u64)]; // as wide
    init.extend(head.iter().flat_map(|word| word.0));
    init.extend(holders.iter().flat_map(|holder| address(holder).0));
    init
}

/// What creates the policy that answers for the token.
pub(crate) fn policy(token: &Address) -> Vec<u8> {
    let mut init = code(POLICY);
    init.extend(address(token).0);
    init
}

/// What creates the trade contract.
pub(crate) fn trade(token: &Address) -> Vec<u8> {
    let mut init = code(TRADE);
    init.extend(address(token).0);
    init
}

/// What a log of the two contracts says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Price {
        supplier: Address,
        retailer: Address,
        item: u64,
        price: u64,
    },
    Ordered {
        id: B256,
        retailer: Address,
        supplier: Address,
        item: u64,
        quantity: u64,
        price: u64,
    },
    /// Handed to the carrier, or delivered.
    Moved {
        id: B256,
        retailer: Address,
        supplier: Address,
        carrier: Address,
        item: u64,
        quantity: u64,
        delivered: bool,
    },
    Stock {
        from: Address,
        to: Address,
        amount: u64,
    },
}

const PRICE_SET: &str = "PriceSet(address,address,uint32,uint128)";
const ORDERED: &str = "Ordered(bytes32,address,address,uint32,uint32,uint128)";
const SHIPPED: &str = "Shipped(bytes32,address,address,address,uint32,uint32)";
const DELIVERED: &str = "Delivered(bytes32,address,address,address,uint32,uint32)";
const TRANSFER: &str = "Transfer(address,address,uint256)";

/// Reads a log as JSON-RPC gives it; `None`: something else.
pub(crate) fn read(log: &Value) -> Option<Said> {
    let topics = log["topics"].as_array()?.iter();
    let topics: Vec<B256> = topics
        .map(|topic| topic.as_str()?.parse().ok())
        .collect::<Option<_>>()?;
    let data = words(log["data"].as_str()?)?;
    let (first, named) = topics.split_first()?;
    let named: Vec<Address> = named
        .iter()
        .map(|topic| Address::from_word(*topic))
        .collect();
    let is = |signature| *first == topic(signature);
    match (&named[..], &data[..]) {
        ([supplier, retailer], [item, price]) if is(PRICE_SET) => Some(Said::Price {
            supplier: *supplier,
            retailer: *retailer,
            item: small(item)?,
            price: small(price)?,
        }),
        ([retailer, supplier], [id, item, quantity, price]) if is(ORDERED) => Some(Said::Ordered {
            id: *id,
            retailer: *retailer,
            supplier: *supplier,
            item: small(item)?,
            quantity: small(quantity)?,
            price: small(price)?,
        }),
        ([retailer, supplier, carrier], [id, item, quantity]) if is(SHIPPED) || is(DELIVERED) => {
            Some(Said::Moved {
                id: *id,
                retailer: *retailer,
                supplier: *supplier,
                carrier: *carrier,
                item: small(item)?,
                quantity: small(quantity)?,
                delivered: is(DELIVERED),
            })
        }
        ([from, to], [amount]) if is(TRANSFER) => Some(Said::Stock {
            from: *from,
            to: *to,
            amount: small(amount)?,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_artefacts_are_code() {
        let token = Address::repeat_byte(1);
        for init in [stock(&[token, token], 5), policy(&token), trade(&token)] {
            assert!(init.len() > 1_000);
            assert!(init.len() < 49_152, "EIP-3860's limit");
        }
        assert!(stock(&[token], 5).ends_with(&address(&token).0));
    }

    #[test]
    fn a_log_of_anybody_else_says_nothing() {
        let price = serde_json::json!({
            "topics": [topic(PRICE_SET), address(&Address::repeat_byte(1)), address(&Address::repeat_byte(2))],
            "data": super::super::abi::hexadecimal(&[number(1).0, number(1250).0].concat()),
        });
        assert!(matches!(
            read(&price),
            Some(Said::Price {
                item: 1,
                price: 1250,
                ..
            })
        ));
        for (key, value) in [
            ("data", serde_json::json!("0x")),
            ("data", serde_json::json!("0xzz")),
            ("topics", serde_json::json!([])),
            ("topics", serde_json::json!(["0x00"])),
        ] {
            let mut other = price.clone();
            other[key] = value;
            assert_eq!(read(&other), None, "{other}");
        }
    }
}
