//! Tries a cheat on the running network, and keeps what was said word for word.

use alloy_primitives::{Address, TxKind};
use serde_json::{Value, json};

use super::actions::{self, Action, created, perform};
use super::cheat_list::{Aim, CHEATS, Cheat, Way, asked};
use super::heard::Ear;
use super::roles::Kind;
use super::rpc::request;
use super::world::{Seat, What, World};
use crate::failure::Failure;

/// A request and its reply, as they went over the wire.
struct Exchange {
    /// Who asked, and about what.
    label: String,
    request: String,
    reply: String,
}

/// What came out.
struct Outcome {
    exchanges: Vec<Exchange>,
    /// Nothing was learnt.
    held: bool,
    why: String,
}

/// What there is to try.
pub(crate) fn list() -> Value {
    let cheats = CHEATS.iter();
    json!(
        cheats
            .map(|cheat| json!({ "name": cheat.name, "title": cheat.title, "idea": cheat.idea }))
            .collect::<Vec<_>>()
    )
}

/// A role tries one on the business of two others.
pub(crate) async fn attempt(world: &World, thief: &Seat, name: &str) -> Result<Value, Failure> {
    let mut cheats = CHEATS.iter();
    let cheat = cheats
        .find(|cheat| cheat.name == name)
        .ok_or_else(|| Failure::input(format!("there is no cheat {name:?}")))?;
    if thief.is.kind == Kind::Auditor {
        return Err(Failure::input(
            "an auditor need not cheat: it reads everything, and the ledger records what it read",
        ));
    }
    let (victim, aim) = aim(world, thief)?;
    let outcome = match cheat.way {
        Way::Twice => twice(thief, cheat, &aim).await?,
        Way::Bloom => bloom(thief, victim, &aim).await?,
        Way::OwnReceipt => own_receipt(world, thief).await?,
        Way::Filter => filter(thief, victim, &aim).await?,
        Way::Helper => helper(thief, &aim).await?,
        Way::Subscription => subscription(world, thief, victim, &aim).await?,
    };
    let exchanges = outcome.exchanges.into_iter().map(|exchange| {
        json!({ "label": exchange.label, "request": exchange.request, "reply": exchange.reply })
    });
    Ok(json!({
        "name": cheat.name,
        "thief": thief.is.name,
        "victim": victim.is.name,
        "held": outcome.held,
        "why": outcome.why,
        "exchanges": exchanges.collect::<Vec<_>>(),
    }))
}

/// An order between two others: the first such transaction.
fn aim<'a>(world: &'a World, thief: &Seat) -> Result<(&'a Seat, Aim), Failure> {
    let deeds = world.deeds().clone();
    let order = deeds.iter().find_map(|deed| match &deed.what {
        What::Order { supplier, item }
            if deed.by != thief.is.name && *supplier != thief.is.name =>
        {
            Some((deed, supplier, *item))
        }
        _ => None,
    });
    let (deed, supplier, item) =
        order.ok_or_else(|| Failure::failed("there is no order between two others"))?;
    let victim = world.seat(&deed.by)?;
    let hash = deed.hash.parse();
    let aim = Aim {
        contracts: world.contracts(),
        hash: hash.map_err(|_| Failure::failed("the hash of the order is none"))?,
        block: deed.block,
        retailer: victim.wallet.address(),
        supplier: world.seat(supplier)?.wallet.address(),
        item,
    };
    Ok((victim, aim))
}

async fn ask(
    seat: &Seat,
    label: String,
    method: &str,
    params: &Value,
) -> Result<Exchange, Failure> {
    let request = request(method, params).to_string();
    let reply = seat.rpc.post(request.clone()).await?;
    Ok(Exchange {
        label,
        request,
        reply,
    })
}

const ABSENT: &str = "about what does not exist";
const OTHERS: &str = "about what is another's";

async fn twice(thief: &Seat, cheat: &Cheat, aim: &Aim) -> Result<Outcome, Failure> {
    let nothing = || Failure::failed(format!("{} asks nothing", cheat.name));
    let (method, params) = asked(cheat.name, aim, false).ok_or_else(nothing)?;
    let (_, twins) = asked(cheat.name, &aim.twin(), true).ok_or_else(nothing)?;
    let real = ask(thief, OTHERS.into(), method, &params).await?;
    let twin = ask(thief, ABSENT.into(), method, &twins).await?;
    Ok(same(real, twin))
}

fn same(real: Exchange, twin: Exchange) -> Outcome {
    let held = real.reply == twin.reply;
    let why = match held {
        true => "The same bytes as for something that does not exist: nothing was learnt.",
        false => "The answers differ: something was learnt.",
    };
    Outcome {
        exchanges: vec![real, twin],
        held,
        why: why.into(),
    }
}

fn result(exchange: &Exchange) -> Value {
    let mut reply: Value = serde_json::from_str(&exchange.reply).unwrap_or_default();
    reply["result"].take()
}

async fn bloom(thief: &Seat, victim: &Seat, aim: &Aim) -> Result<Outcome, Failure> {
    let params = json!([format!("{:#x}", aim.block), false]);
    let method = "eth_getBlockByNumber";
    let mine = ask(
        thief,
        "the header, as the cheater gets it".into(),
        method,
        &params,
    )
    .await?;
    let theirs = ask(
        victim,
        "the header, as the victim gets it".into(),
        method,
        &params,
    )
    .await?;
    let (a, b) = (result(&mine), result(&theirs));
    let empty = |header: &Value| {
        let bloom = header["logsBloom"].as_str().unwrap_or("1");
        bloom
            .trim_start_matches("0x")
            .bytes()
            .all(|byte| byte == b'0')
            && header["gasUsed"] == "0x0"
    };
    let held = a["hash"] == b["hash"] && a["hash"].is_string() && empty(&a) && empty(&b);
    Ok(Outcome {
        exchanges: vec![mine, theirs],
        held,
        why: "One header for all, and its bloom and gas are empty although the block has an order in it.".into(),
    })
}

async fn own_receipt(world: &World, thief: &Seat) -> Result<Outcome, Failure> {
    let own = world
        .deeds()
        .iter()
        .rev()
        .find(|deed| deed.by == thief.is.name)
        .cloned();
    let own = own.ok_or_else(|| Failure::failed("the role has sent nothing yet"))?;
    let label = "the cheater's own receipt".into();
    let told = ask(
        thief,
        label,
        "eth_getTransactionReceipt",
        &json!([own.hash]),
    )
    .await?;
    let receipt = result(&told);
    let number = |value: &Value| super::abi::quantity(value);
    let place = number(&receipt["transactionIndex"]).unwrap_or(0);
    let logs = receipt["logs"].as_array().cloned().unwrap_or_default();
    let sparse = logs
        .iter()
        .zip(place * 65_536..)
        .all(|(log, expected)| number(&log["logIndex"]) == Some(expected));
    let held =
        receipt["status"] == "0x1" && receipt["cumulativeGasUsed"] == receipt["gasUsed"] && sparse;
    Ok(Outcome {
        exchanges: vec![told],
        held,
        why: "Cumulative gas is the transaction's own, and indexes begin at a multiple of 65,536: they count \
              visible logs and no others."
            .into(),
    })
}

async fn filter(thief: &Seat, victim: &Seat, aim: &Aim) -> Result<Outcome, Failure> {
    let params = json!([{ "address": aim.contracts.trade, "fromBlock": "0x0" }]);
    let made = ask(
        victim,
        "the victim makes a filter".into(),
        "eth_newFilter",
        &params,
    )
    .await?;
    let id = result(&made);
    let number = id.as_str().unwrap_or_default().to_owned();
    // A number of the same length that nobody was given.
    let guessed: String = match number.split_at_checked(number.len().saturating_sub(4)) {
        Some((head, "0000")) => format!("{head}1111"),
        Some((head, _)) => format!("{head}0000"),
        None => number.clone(),
    };
    let victims = ask(
        victim,
        "the victim reads it".into(),
        "eth_getFilterLogs",
        &json!([number]),
    )
    .await?;
    let real = ask(thief, OTHERS.into(), "eth_getFilterLogs", &json!([number])).await?;
    let twin = ask(thief, ABSENT.into(), "eth_getFilterLogs", &json!([guessed])).await?;
    let found = result(&victims).as_array().map_or(0, Vec::len);
    let mut outcome = same(real, twin);
    outcome.held &= found > 0;
    // What the victim reads is the victim's: the page shows how much, and not what.
    let victims = Exchange {
        reply: format!("{found} logs"),
        ..victims
    };
    outcome.exchanges.splice(0..0, [made, victims]);
    Ok(outcome)
}

async fn helper(thief: &Seat, aim: &Aim) -> Result<Outcome, Failure> {
    let mut told = Vec::new();
    for (label, aim) in [(OTHERS, aim), (ABSENT, &aim.twin())] {
        let init = hex::decode(aim.spy().trim_start_matches("0x"))
            .map_err(|_| Failure::failed("the spy is no code"))?;
        let spy: Address = created(&actions::send(thief, TxKind::Create, init).await?)?;
        told.push(ask(thief, label.into(), "eth_getCode", &json!([spy, "latest"])).await?);
    }
    let twin = told
        .pop()
        .ok_or_else(|| Failure::failed("nothing was told"))?;
    let real = told
        .pop()
        .ok_or_else(|| Failure::failed("nothing was told"))?;
    let mut outcome = same(real, twin);
    outcome.held &= outcome
        .exchanges
        .iter()
        .all(|e| result(e).as_str().is_some_and(|code| code.len() > 2));
    outcome.why = match outcome.held {
        true => {
            "The token refused the spy: whoever asks through a contract is still the one who asks."
        }
        false => "The spy came back with something.",
    }
    .into();
    Ok(outcome)
}

async fn subscription(
    world: &World,
    thief: &Seat,
    victim: &Seat,
    aim: &Aim,
) -> Result<Outcome, Failure> {
    let gates = [thief.gate.clone(), victim.gate.clone()];
    let ears = tokio::task::spawn_blocking(move || -> Result<_, Failure> {
        Ok([Ear::open(&gates[0])?, Ear::open(&gates[1])?])
    });
    let mut ears = joined(ears.await)??;
    let mut seats = world.roles().iter();
    let supplier = seats
        .find(|seat| seat.wallet.address() == aim.supplier)
        .ok_or_else(|| Failure::failed("the supplier is gone"))?;
    let order = Action::Order {
        role: victim.is.name.into(),
        supplier: supplier.is.name.into(),
        item: aim.item,
        quantity: 1,
    };
    let done = perform(world, &order).await?;
    let block = done.block;
    let heard = tokio::task::spawn_blocking(move || -> Result<_, Failure> {
        Ok([ears[0].hear(block)?, ears[1].hear(block)?])
    });
    let [(mine, all), (theirs, _)] = joined(heard.await)??;
    let request = request("eth_subscribe", &json!(["logs", {}])).to_string();
    let lines: Vec<String> = all.iter().map(Value::to_string).collect();
    Ok(Outcome {
        held: mine.is_empty() && theirs.len() == 1,
        why: format!(
            "The victim ordered in block {block} and was told {} log; the cheater was told the block and {} logs.",
            theirs.len(),
            mine.len()
        ),
        exchanges: vec![
            Exchange {
                label: "everything that the cheater was told".into(),
                request: request.clone(),
                reply: lines.join("\n"),
            },
            Exchange {
                label: "what the victim was told".into(),
                request,
                reply: format!("{} log of block {block}", theirs.len()),
            },
        ],
    })
}

fn joined<T>(done: Result<T, tokio::task::JoinError>) -> Result<T, Failure> {
    done.map_err(|error| Failure::failed(error.to_string()))
}
