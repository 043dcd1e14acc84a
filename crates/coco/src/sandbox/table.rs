//! What a running sandbox prints: where everything is and how to talk to it.

use serde_json::{Value, json};

use super::Shown;
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
    for (protocol, address) in shown.gateways {
        println!(
            "  {protocol:9} http://{address}{}",
            if protocol == "ethereum" {
                format!("  ws://{address}  chain id {}", dev::CHAIN_ID)
            } else {
                String::new()
            }
        );
    }
    println!(
        "            the gateway acts as {} and holds its key; tools need none\n",
        plan.participants[0].0
    );
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
    for (name, files) in &plan.participants {
        println!("  participant  {name}: {}", files.identity.display());
    }
    println!("  enclaves     software TEE: {}", protection(shown.missing));
    if shown
        .gateways
        .iter()
        .any(|(protocol, _)| protocol == "ethereum")
    {
        println!(
            "\nAccounts with 10,000 ETH each, of the mnemonic \"{}\".\nEverybody knows these keys: use them here only.",
            dev::MNEMONIC
        );
        let accounts = dev::ACCOUNTS.iter().enumerate().map(|(number, account)| {
            vec![
                format!("({number})"),
                account.address.to_owned(),
                account.private_key.to_owned(),
            ]
        });
        print::table(&accounts.collect::<Vec<_>>());
    }
    let kept = if shown.kept { "kept" } else { "removed" };
    println!(
        "\nCtrl-C stops everything; {} is {kept} then.",
        shown.directory.display()
    );
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
        "gateways": shown.gateways.iter().map(|(protocol, address)| {
            json!({ "protocol": protocol, "address": address })
        }).collect::<Vec<_>>(),
        "nodes": plan.nodes.iter().map(|node| json!({
            "owner": node.owner, "address": node.address, "directory": node.directory,
            "admin": node.admin_address(), "metrics": format!("127.0.0.1:{}", node.metrics_port),
            "protocols": node.ports, "identity": node.files.identity,
        })).collect::<Vec<_>>(),
        "participants": plan.participants.iter().map(|(name, files)| {
            json!({ "name": name, "identity": files.identity })
        }).collect::<Vec<_>>(),
        "accounts": dev::ACCOUNTS.iter().map(|account| {
            json!({ "address": account.address, "private_key": account.private_key })
        }).collect::<Vec<_>>(),
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
