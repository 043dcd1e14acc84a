//! What a running sandbox prints: where everything is and how to talk to it.

use serde_json::{Value, json};

use super::Shown;
use super::cast::{Profile, actor};
use super::gates::Gate;
use super::plan::Plan;
use crate::dev;
use crate::print;

/// For people.
pub(super) fn show(shown: &Shown<'_>) {
    let plan = shown.plan;
    println!(
        "Coco {} sandbox, up in {:.1} s\n",
        env!("CARGO_PKG_VERSION"),
        shown.took.as_secs_f64()
    );
    let is_confidential = plan.profile == Profile::Confidential;
    for gate in shown.gates {
        println!("{}", line(gate));
    }
    if is_confidential {
        println!(
            "            Each gateway holds its participant's key and speaks for its accounts: two of them show\n            \
             different parts of the same block. Tools need no key but their accounts'.\n"
        );
    } else {
        println!(
            "            the gateway acts as {} and holds its key; tools need none\n",
            plan.participants[0].name
        );
    }
    let mut rows = vec![
        [
            "member",
            "node",
            "admin",
            "metrics",
            "protocols",
            "ledger and log",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for node in &plan.nodes {
        let ports: Vec<String> = node
            .ports
            .iter()
            .map(|(p, port)| format!("{p} {port}"))
            .collect();
        rows.push(vec![
            node.owner.clone(),
            node.address.clone(),
            node.admin_port.to_string(),
            node.metrics_port.to_string(),
            ports.join(", "),
            node.directory.display().to_string(),
        ]);
    }
    print::table(&rows);
    println!(
        "\n  network      {} (digest {})",
        plan.constitution.network,
        plan.constitution.digest()
    );
    println!(
        "  pinned       {} (SHA-256 {})",
        shown.network_file.display(),
        shown.network.fingerprint()
    );
    println!("  constitution {}", plan.constitution_file.display());
    println!("  profile      {}", plan.profile.name());
    for participant in &plan.participants {
        let auditor = if participant.auditor {
            " (auditor: reads everything, and each reading is recorded)"
        } else {
            ""
        };
        println!(
            "  participant  {}{auditor}: {}",
            participant.name,
            participant.files.identity.display()
        );
    }
    println!("  enclaves     software TEE: {}", protection(shown.missing));
    if let Some(gate) = shown.gates.iter().find(|gate| gate.protocol == "ethereum") {
        if is_confidential {
            println!("\n{}", sign_in(plan, gate));
        }
        accounts(plan);
    }
    let kept = if shown.kept { "kept" } else { "removed" };
    println!(
        "\nCtrl-C stops everything; {} is {kept} then.",
        shown.directory.display()
    );
}

fn line(gate: &Gate) -> String {
    let Gate {
        protocol, address, ..
    } = gate;
    let more = match protocol.as_str() {
        "ethereum" => format!("  ws://{address}  chain id {}", dev::CHAIN_ID),
        _ => String::new(),
    };
    let who = match gate.accounts.len() {
        0 => String::new(),
        _ => format!("  as {}", gate.actor),
    };
    format!("  {protocol:9} http://{address}{more}{who}")
}

/// How a wallet comes without a gateway.
fn sign_in(plan: &Plan, gate: &Gate) -> String {
    let port = plan.nodes[0].ports[&gate.protocol];
    format!(
        "Without a gateway, a wallet signs in at any node (EIP-4361; the nodes' certificates are the network's own):\n  \
         curl -k https://127.0.0.1:{port}/siwe            a challenge; sign a message with its nonce, POST it there,\n  \
         http(s)://coco:TOKEN@127.0.0.1:{port}            and show the token you got with each request.\n  \
         docs/sandbox.md has the whole of it."
    )
}

fn accounts(plan: &Plan) {
    println!(
        "\nAccounts with 10,000 ETH each, of the mnemonic \"{}\".\nEverybody knows these keys: use them here only.",
        dev::MNEMONIC
    );
    let accounts = dev::ACCOUNTS.iter().enumerate().map(|(number, account)| {
        let mut row = vec![
            format!("({number})"),
            account.address.to_owned(),
            account.private_key.to_owned(),
        ];
        row.extend(owner(plan, number).map(str::to_owned));
        row
    });
    print::table(&accounts.collect::<Vec<_>>());
}

/// Whose the account is.
fn owner(plan: &Plan, account: usize) -> Option<&str> {
    let mut all = plan.participants.iter();
    all.find(|participant| participant.accounts.contains(&account))
        .map(|participant| participant.name.as_str())
}

/// For programs.
pub(super) fn json(shown: &Shown<'_>) -> Value {
    let plan = shown.plan;
    json!({
        "network": plan.constitution.network_id(),
        "constitution": plan.constitution_file,
        "digest": plan.constitution.digest(),
        "network_certificate": shown.network_file,
        "directory": shown.directory,
        "profile": plan.profile.name(),
        "gateways": shown.gates.iter().map(|gate| json!({
            "protocol": gate.protocol, "address": gate.address, "actor": gate.actor, "accounts": gate.accounts,
        })).collect::<Vec<_>>(),
        "nodes": plan.nodes.iter().map(|node| json!({
            "owner": node.owner, "address": node.address, "directory": node.directory,
            "admin": node.admin_address(), "metrics": format!("127.0.0.1:{}", node.metrics_port),
            "protocols": node.ports, "identity": node.files.identity,
        })).collect::<Vec<_>>(),
        "participants": plan.participants.iter().map(|participant| json!({
            "name": participant.name, "identity": participant.files.identity, "auditor": participant.auditor,
            "actor": actor(&participant.name),
        })).collect::<Vec<_>>(),
        "accounts": dev::ACCOUNTS.iter().enumerate().map(|(number, account)| json!({
            "address": account.address, "private_key": account.private_key, "owner": owner(plan, number),
        })).collect::<Vec<_>>(),
        "missing_features": shown.missing,
    })
}

/// What the enclaves are protected from here.
fn protection(missing: &[String]) -> String {
    let others: Vec<&str> = missing
        .iter()
        .map(String::as_str)
        .filter(|name| *name != "shared-user")
        .collect();
    let shared = missing.iter().any(|name| name == "shared-user");
    let mut text = String::from(if shared {
        "shared-user, so this protects nothing from programs of your user; start it as root for users of their own"
    } else {
        "launcher and enclaves run as users of their own"
    });
    if others.is_empty() {
        text.push_str("; nothing of the lock-down is missing");
    } else {
        text.push_str(&format!(
            "; missing of the lock-down: {}",
            others.join(", ")
        ));
    }
    text
}
