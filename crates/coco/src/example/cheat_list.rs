//! The ways around access control that other systems left open, and what each asks.
//!
//! Nearly all are one request about something that is another's, beside the same request about something
//! that does not exist. The rule of the network is that the answers are the same bytes.

use alloy_primitives::{Address, B256, U256, keccak256};
use serde_json::{Value, json};

use super::abi::{address, hexadecimal, input, number};
use super::world::Contracts;

/// What a cheat is aimed at, and its twin that does not exist.
pub(crate) struct Aim {
    pub(crate) contracts: Contracts,
    /// A transaction that is none of the cheater's business, and its block.
    pub(crate) hash: B256,
    pub(crate) block: u64,
    pub(crate) retailer: Address,
    pub(crate) supplier: Address,
    /// What was ordered.
    pub(crate) item: u32,
}

/// How it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// [`asked`] twice, for the aim and for its twin.
    Twice,
    /// By itself: `super::cheats`.
    Bloom,
    OwnReceipt,
    Filter,
    Helper,
    Subscription,
}

/// A way to cheat.
pub(crate) struct Cheat {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) idea: &'static str,
    pub(crate) way: Way,
}

/// All of them, in the order of the page.
pub(crate) const CHEATS: &[Cheat] = &[
    twice(
        "transaction",
        "Look the transaction up",
        "Its hash leaked. Ask for the transaction itself.",
    ),
    twice(
        "receipt",
        "Read somebody else's receipt",
        "A receipt has the logs, and with them the price.",
    ),
    twice(
        "raw-transaction",
        "Fetch the raw transaction",
        "The signed bytes hold everything.",
    ),
    twice(
        "proof",
        "Ask for the proof of inclusion",
        "A receipt of the ledger proves what happened, and so shows it.",
    ),
    twice(
        "position",
        "Walk through the block",
        "Not by hash, but by block and place in it.",
    ),
    twice(
        "block-receipts",
        "Read all receipts of the block",
        "One call that lists what a block did.",
    ),
    twice(
        "logs",
        "Search the event log",
        "Filter events of the contract for the victim's address.",
    ),
    Cheat {
        name: "bloom",
        title: "Test the bloom filter",
        idea: "A header's bloom tells which addresses have events in the block: guess, and confirm.",
        way: Way::Bloom,
    },
    Cheat {
        name: "log-index",
        title: "Count the gaps",
        idea: "Log indexes and cumulative gas of one's own receipt tell what others did in the block before.",
        way: Way::OwnReceipt,
    },
    twice(
        "balance-of",
        "Ask the token",
        "The token is public code. Call balanceOf for the victim.",
    ),
    twice(
        "spoofed-from",
        "Pretend to be the victim",
        "A simulated call may state any sender; most nodes believe it.",
    ),
    twice(
        "call-without-to",
        "Bring your own code",
        "A call without a recipient runs any code in the node: read BALANCE and EXTCODEHASH.",
    ),
    twice(
        "creation-call",
        "Bring code that asks the token",
        "The same, with a call to the token from inside.",
    ),
    twice(
        "code-override",
        "Replace the contract's code",
        "A state override runs other code over the contract's storage.",
    ),
    twice(
        "data-and-input",
        "Say two things at once",
        "data is harmless, input is not: which one is checked, which one runs?",
    ),
    twice(
        "storage",
        "Read the storage slot",
        "The layout is public: compute where the price is, and read it.",
    ),
    twice(
        "balance",
        "Look at the account",
        "Balance of the victim's account.",
    ),
    twice(
        "nonce",
        "Count the victim's transactions",
        "The nonce grows with each: business by the hour.",
    ),
    twice(
        "estimate",
        "Measure the gas",
        "An estimate runs the call: does it cost more when there is something?",
    ),
    twice(
        "merkle-proof",
        "Ask for a Merkle proof",
        "eth_getProof shows balance, nonce and storage, proven.",
    ),
    twice(
        "trace",
        "Trace the transaction",
        "debug_traceTransaction shows every step.",
    ),
    twice(
        "access-list",
        "Have an access list made",
        "It lists the slots that a call touches.",
    ),
    twice(
        "simulation",
        "Simulate a whole block",
        "eth_simulateV1 takes overrides, transfers and any sender.",
    ),
    twice(
        "recorded",
        "Read the auditor's log",
        "What the auditor read tells what there is.",
    ),
    Cheat {
        name: "filter",
        title: "Use another's filter",
        idea: "The victim made a filter. Fetch what it found by its number.",
        way: Way::Filter,
    },
    Cheat {
        name: "helper",
        title: "Send a spy",
        idea: "A real transaction: a contract that asks the token and keeps the answer as its own code.",
        way: Way::Helper,
    },
    Cheat {
        name: "subscription",
        title: "Listen in",
        idea: "Subscribe to every block and log, while the victim trades.",
        way: Way::Subscription,
    },
];

const fn twice(name: &'static str, title: &'static str, idea: &'static str) -> Cheat {
    Cheat {
        name,
        title,
        idea,
        way: Way::Twice,
    }
}

impl Aim {
    /// The same of what does not exist. Addresses keep their zero bytes, which call data is charged by.
    pub(crate) fn twin(&self) -> Self {
        Self {
            contracts: self.contracts,
            hash: keccak256(self.hash),
            block: self.block,
            retailer: reversed(&self.retailer),
            supplier: reversed(&self.supplier),
            item: self.item,
        }
    }

    /// Where Trade keeps the price that the supplier gave the retailer for the item.
    pub(crate) fn price_slot(&self) -> U256 {
        let of = |key: B256, map: B256| keccak256([key.0, map.0].concat());
        let supplier = of(address(&self.supplier), number(0));
        let retailer = of(address(&self.retailer), supplier);
        of(number(self.item.into()), retailer).into()
    }

    fn balance_of(&self) -> String {
        hexadecimal(&input("balanceOf(address)", &[address(&self.retailer)]))
    }

    /// Creation code that asks the token for the retailer's balance, and becomes the answer.
    pub(crate) fn spy(&self) -> String {
        // mem[0..36] = balanceOf(retailer); STATICCALL; return success and answer.
        format!(
            "0x6370a0823160e01b5f5273{}600452602060406024\
             5f73{}5afa60205260406020f3",
            hex::encode(self.retailer),
            hex::encode(self.contracts.stock)
        )
    }
}

fn reversed(address: &Address) -> Address {
    let mut bytes = address.0.0;
    bytes.reverse();
    Address::new(bytes)
}

/// What is asked, of the aim; `twin` says that it is the one that does not exist.
pub(crate) fn asked(name: &str, aim: &Aim, twin: bool) -> Option<(&'static str, Value)> {
    let Contracts { trade, stock, .. } = aim.contracts;
    let nowhere = |contract: &Address| if twin { reversed(contract) } else { *contract };
    let block = format!("{:#x}", aim.block);
    let hash = aim.hash;
    Some(match name {
        "transaction" => ("eth_getTransactionByHash", json!([hash])),
        "receipt" => ("eth_getTransactionReceipt", json!([hash])),
        "raw-transaction" => ("eth_getRawTransactionByHash", json!([hash])),
        "proof" => ("coco_getReceipt", json!([hash])),
        "position" => {
            let place = if twin { "0x7" } else { "0x0" };
            (
                "eth_getTransactionByBlockNumberAndIndex",
                json!([block, place]),
            )
        }
        // The first block is empty for everybody.
        "block-receipts" => (
            "eth_getBlockReceipts",
            json!([if twin { "0x0" } else { &block }]),
        ),
        "logs" => {
            let topics = json!([null, address(&aim.retailer)]);
            (
                "eth_getLogs",
                json!([{ "address": trade, "fromBlock": block, "toBlock": block, "topics": topics }]),
            )
        }
        "balance-of" => (
            "eth_call",
            json!([{ "to": stock, "data": aim.balance_of() }, "latest"]),
        ),
        "spoofed-from" => {
            let call = json!({ "from": aim.retailer, "to": stock, "data": aim.balance_of() });
            ("eth_call", json!([call, "latest"]))
        }
        "call-without-to" => {
            let victim = hex::encode(aim.retailer);
            let code = format!("0x73{victim}315f5273{victim}3f60205260405ff3");
            ("eth_call", json!([{ "data": code }, "latest"]))
        }
        "creation-call" => ("eth_call", json!([{ "data": aim.spy() }, "latest"])),
        "code-override" => {
            // PUSH32 slot SLOAD PUSH0 MSTORE PUSH1 20 PUSH0 RETURN
            let code = format!("0x7f{:064x}545f5260205ff3", aim.price_slot());
            let to = nowhere(&trade);
            let overrides = serde_json::Map::from_iter([(to.to_string(), json!({ "code": code }))]);
            ("eth_call", json!([{ "to": to }, "latest", overrides]))
        }
        "data-and-input" => {
            let name = hexadecimal(&input("name()", &[]));
            (
                "eth_call",
                json!([{ "to": stock, "data": name, "input": aim.balance_of() }, "latest"]),
            )
        }
        "storage" => {
            let slot = format!("{:#066x}", aim.price_slot());
            ("eth_getStorageAt", json!([nowhere(&trade), slot, "latest"]))
        }
        "balance" => ("eth_getBalance", json!([aim.retailer, "latest"])),
        "nonce" => ("eth_getTransactionCount", json!([aim.retailer, "latest"])),
        "estimate" => (
            "eth_estimateGas",
            json!([{ "to": stock, "data": aim.balance_of() }]),
        ),
        "merkle-proof" => {
            let slot = format!("{:#066x}", aim.price_slot());
            ("eth_getProof", json!([nowhere(&trade), [slot], "latest"]))
        }
        "trace" => ("debug_traceTransaction", json!([hash, {}])),
        "access-list" => {
            let call = json!({ "from": aim.retailer, "to": stock, "data": aim.balance_of() });
            ("eth_createAccessList", json!([call, "latest"]))
        }
        "simulation" => {
            let call = json!({ "from": aim.retailer, "to": stock, "data": aim.balance_of() });
            (
                "eth_simulateV1",
                json!([{ "blockStateCalls": [{ "calls": [call] }] }, "latest"]),
            )
        }
        // Nothing was read in the first block.
        "recorded" => {
            let from = if twin { "0x1" } else { &block };
            let to = if twin { "0x1" } else { "latest" };
            ("coco_readings", json!([from, to]))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aim() -> Aim {
        let contract = |byte| Address::repeat_byte(byte);
        Aim {
            contracts: Contracts {
                trade: contract(0xa1),
                stock: contract(0xa2),
                policy: contract(0xa3),
            },
            hash: B256::repeat_byte(1),
            block: 9,
            retailer: "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
                .parse()
                .expect("an address"),
            supplier: "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
                .parse()
                .expect("an address"),
            item: 1,
        }
    }

    #[test]
    fn every_cheat_that_is_tried_twice_asks_two_things_by_one_method() {
        let (aim, twin) = (aim(), aim().twin());
        for cheat in CHEATS {
            let pair = (
                asked(cheat.name, &aim, false),
                asked(cheat.name, &twin, true),
            );
            match (cheat.way, pair) {
                (Way::Twice, (Some((method, params)), Some((again, twins)))) => {
                    assert_eq!(method, again);
                    assert_ne!(params, twins, "{}", cheat.name);
                }
                (Way::Twice, _) => panic!("{} asks nothing", cheat.name),
                (_, pair) => assert_eq!(pair, (None, None), "{}", cheat.name),
            }
        }
        let mut names: Vec<_> = CHEATS.iter().map(|cheat| cheat.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CHEATS.len());
    }

    #[test]
    fn a_twin_costs_the_same_call_data() {
        let zeros = |address: &Address| address.iter().filter(|byte| **byte == 0).count();
        let (aim, twin) = (aim(), aim().twin());
        assert_eq!(zeros(&aim.retailer), zeros(&twin.retailer));
        assert_ne!(aim.retailer, twin.retailer);
    }
}
