//! `coco receipt`: fetches the ledger's proof of a transaction, and verifies one offline.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use client::{Claim, Identity, ReceiptFile, Receipts, Trust, Unproven, Wanted, read_certificate};
use ledger::{Kind, Receipt, verify_receipt_of_network};
use serde_json::{Value, json};
use types::{Digest, Height, Millis};

use crate::failure::{Code, Doing, Failure};
use crate::keys::write_public;
use crate::print;

#[derive(Debug, Subcommand)]
pub(crate) enum ReceiptCommand {
    /// Asks a node for the receipt of a transaction, verifies it and writes it to a file
    Get(Get),
    /// Verifies a receipt with the network's certificate alone, and tells what it proves
    Verify(Verify),
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub(crate) struct Get {
    /// An actor's identity
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
    /// The pinned network identity certificate
    #[arg(long, value_name = "FILE")]
    network: PathBuf,
    /// A node's address for the protocol's clients; give several to fail over
    #[arg(long = "vn", value_name = "HOST:PORT", required = true, num_args = 1..)]
    nodes: Vec<String>,
    /// Asks the node for evidence that satisfies this constitution
    #[arg(long, value_name = "FILE")]
    constitution: Option<PathBuf>,
    /// The protocol
    #[arg(long, value_enum)]
    protocol: Protocol,
    /// Ethereum: the transaction's hash
    #[arg(long, value_name = "HASH", group = "which")]
    transaction: Option<Digest>,
    /// Key-value protocol: the place, as the answer to the write told it
    #[arg(long, value_name = "HEIGHT/POSITION", group = "which", value_parser = place)]
    at: Option<(Height, u32)>,
    /// Key-value protocol: the id that the same actor gave the request
    #[arg(long, value_name = "ID", group = "which")]
    request: Option<String>,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Also writes the COSE receipt alone, for other verifiers
    #[arg(long, value_name = "FILE")]
    cose: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Ethereum,
    Kv,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The receipt: a file of `coco receipt get`, or a COSE receipt alone
    file: PathBuf,
    /// The pinned network identity certificate
    #[arg(long, value_name = "FILE")]
    network: PathBuf,
    /// The claim digest that it must be for; needed for a COSE receipt alone
    #[arg(long, value_name = "DIGEST")]
    claim: Option<Digest>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &ReceiptCommand) -> Result<(), Failure> {
    match command {
        ReceiptCommand::Get(arguments) => get(arguments),
        ReceiptCommand::Verify(arguments) => verify(arguments),
    }
}

fn get(arguments: &Get) -> Result<(), Failure> {
    let (protocol, wanted) = arguments.wanted()?;
    let network = read_certificate(&arguments.network)?;
    let identity = Identity::read(&arguments.identity)?;
    let mut trust = Trust::pinned(network.clone());
    if let Some(path) = &arguments.constitution {
        trust = trust.with_constitution(crate::network::read(path)?);
    }
    let nodes = arguments.nodes.clone();
    let mut receipts = Receipts::open(&identity, trust, protocol, nodes)?;
    let file = receipts.fetch(&wanted)?;
    let proven = check(&file, &network).map_err(|unproven| {
        let text = format!("the node's receipt is not valid: {unproven}. Ask another node");
        Failure::new(Code::Wrong, text)
    })?;
    if !wanted_is(&wanted, &file) {
        let text = "the node's receipt is valid, and of another transaction: ask another node";
        return Err(Failure::new(Code::Wrong, text));
    }
    write_public(&arguments.out, &file.to_json())?;
    if let Some(path) = &arguments.cose {
        std::fs::write(path, &file.receipt).doing(|| format!("write {}", path.display()))?;
    }
    tell(Some(&file), &proven, arguments.json);
    Ok(())
}

impl Get {
    fn wanted(&self) -> Result<(&'static str, Wanted), Failure> {
        match (self.protocol, self.transaction, self.at, &self.request) {
            (Protocol::Ethereum, Some(hash), ..) => Ok(("ethereum", Wanted::Transaction(hash))),
            (Protocol::Kv, _, Some((height, position)), _) => {
                Ok(("kv", Wanted::Place { height, position }))
            }
            (Protocol::Kv, _, _, Some(id)) => Ok(("kv", Wanted::Request(id.clone()))),
            (Protocol::Ethereum, ..) => Err(Failure::input(
                "with --protocol ethereum, name the transaction by --transaction",
            )),
            (Protocol::Kv, ..) => Err(Failure::input(
                "with --protocol kv, name the transaction by --at or by --request",
            )),
        }
    }
}

/// A node may answer with a good receipt for something else.
fn wanted_is(wanted: &Wanted, file: &ReceiptFile) -> bool {
    match wanted {
        Wanted::Transaction(hash) => file.protocol == "ethereum" && file.claim.unit == *hash,
        Wanted::Place { height, position } => {
            file.protocol == "kv" && (file.height, file.position) == (*height, *position)
        }
        Wanted::Request(id) => {
            file.protocol == "kv" && file.claim.request_id() == Some(id.as_bytes())
        }
    }
}

fn verify(arguments: &Verify) -> Result<(), Failure> {
    let network = read_certificate(&arguments.network)?;
    let bytes =
        std::fs::read(&arguments.file).doing(|| format!("read {}", arguments.file.display()))?;
    let wrong = |unproven: Unproven| {
        let code = match unproven {
            Unproven::File(_) => Code::Input,
            _ => Code::Wrong,
        };
        Failure::new(code, format!("{}: {unproven}", arguments.file.display()))
    };
    if !bytes.starts_with(b"{") {
        let claim = arguments.claim.ok_or_else(|| {
            Failure::input(
                "a COSE receipt alone is verified for a claim: give its digest by --claim",
            )
        })?;
        let proven =
            verify_receipt_of_network(&bytes, &network, claim).map_err(|bad| wrong(bad.into()))?;
        tell(None, &proven, arguments.json);
        return Ok(());
    }
    let file = ReceiptFile::parse(&bytes).map_err(wrong)?;
    if arguments
        .claim
        .is_some_and(|claim| claim != file.claim.digest)
    {
        return Err(wrong(Unproven::Claim("it is not the one of --claim")));
    }
    let proven = check(&file, &network).map_err(wrong)?;
    tell(Some(&file), &proven, arguments.json);
    Ok(())
}

/// All that the file says, Keccak included.
fn check(file: &ReceiptFile, network: &crypto::Certificate) -> Result<Receipt, Unproven> {
    let proven = file.verify(network)?;
    let hash = || alloy_primitives::keccak256(&file.claim.transaction);
    if file.protocol == "ethereum" && hash().0 != file.claim.unit.0 {
        return Err(Unproven::Claim("the transaction has another hash"));
    }
    Ok(proven)
}

fn tell(file: Option<&ReceiptFile>, proven: &Receipt, as_json: bool) {
    let facts = facts(file, proven);
    if as_json {
        let named = facts
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        return print::json(&Value::Object(named.collect()));
    }
    println!("the receipt is valid");
    for (name, value) in facts {
        println!("  {name:<12} {}", crate::status::cell(&value));
    }
}

/// What is proven, in the order in which people ask.
fn facts(file: Option<&ReceiptFile>, proven: &Receipt) -> Vec<(&'static str, Value)> {
    let (leaf, statement) = (&proven.leaf, &proven.statement);
    let mut facts = vec![("network", json!(statement.network))];
    if let Some(file) = file {
        let unit = match file.protocol.as_str() {
            "ethereum" => format!("0x{}", file.claim.unit),
            _ => file.claim.unit.to_string(),
        };
        facts.push(("protocol", json!(file.protocol)));
        facts.push(("transaction", json!(unit)));
        facts.extend(of_protocol(&file.protocol, &file.claim));
    }
    if let Kind::Application { height, .. } = leaf.header.kind {
        facts.push(("batch", json!(height)));
    }
    facts.extend([
        ("position", json!(leaf.position)),
        ("term", json!(leaf.header.term)),
        ("entry", json!(leaf.header.index)),
        ("time", json!(date(leaf.header.time))),
        ("time_ms", json!(leaf.header.time)),
        ("signed_entry", json!(statement.index)),
        ("signed_time", json!(date(statement.time))),
        ("signer", json!(proven.signer.fingerprint())),
        ("claim", json!(leaf.claim)),
    ]);
    facts
}

/// What the protocol's own receipt says, as far as it is known here.
fn of_protocol(protocol: &str, claim: &Claim) -> Vec<(&'static str, Value)> {
    match protocol {
        // adapter-ethereum, `receipt`: version, flags, gas used.
        "ethereum" => match claim.result.first_chunk::<10>() {
            Some([1, flags, gas @ ..]) => {
                let outcome = match flags & 5 {
                    1 => "success",
                    4 => "halted",
                    _ => "reverted",
                };
                vec![
                    ("outcome", json!(outcome)),
                    ("gas_used", json!(u64::from_be_bytes(*gas))),
                ]
            }
            _ => Vec::new(),
        },
        "kv" => {
            let id = claim.request_id().map(String::from_utf8_lossy);
            vec![("actor", json!(claim.actor)), ("request", json!(id))]
        }
        _ => Vec::new(),
    }
}

fn place(text: &str) -> Result<(Height, u32), String> {
    let parsed = text.split_once('/').and_then(|(height, position)| {
        Some((Height(height.parse().ok()?), position.parse().ok()?))
    });
    parsed.ok_or_else(|| "write it as HEIGHT/POSITION, such as 12/0".to_owned())
}

/// RFC 3339, in UTC. Howard Hinnant's "days to civil".
fn date(at: Millis) -> String {
    let (days, ms) = (at.0 / 86_400_000, at.0 % 86_400_000);
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    let ms = ms % 1_000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_001, "2000-02-29T00:00:00.001Z"),
            (1_700_000_000_000, "2023-11-14T22:13:20.000Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        ] {
            assert_eq!(date(Millis(ms)), text);
        }
    }

    #[test]
    fn a_place_is_a_height_and_a_position() {
        assert_eq!(place("12/3"), Ok((Height(12), 3)));
        assert!(place("12").is_err() && place("12/-1").is_err() && place("a/b").is_err());
    }
}
