//! The targets, by what faces the bytes.

use crate::Target;

mod boundary;
mod consensus;
mod ethereum;
mod governance;
mod http;
mod keyvalue;
mod ledger;
mod manager;
mod tee;
mod threshold;
mod worker;

const fn target(
    name: &'static str,
    bytes_max: usize,
    run: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
) -> Target {
    Target {
        name,
        run,
        seeds,
        bytes_max,
    }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    // Host and manager, manager and worker, launcher and manager.
    target(
        "boundary_host_to_manager",
        4096,
        boundary::host_to_manager,
        boundary::to_manager,
    ),
    target(
        "boundary_manager_to_host",
        4096,
        boundary::manager_to_host,
        boundary::to_host,
    ),
    target(
        "boundary_manager_to_worker",
        4096,
        boundary::manager_to_worker,
        boundary::to_worker,
    ),
    target(
        "boundary_worker_to_manager",
        4096,
        boundary::worker_to_manager,
        boundary::from_worker,
    ),
    target(
        "boundary_platform",
        4096,
        boundary::platform,
        boundary::from_platform,
    ),
    // What the host's disk and an auditor's files hold.
    target("ledger_entry", 4096, ledger::entry, ledger::entries),
    target("ledger_open", 4096, ledger::open, ledger::contents),
    target("ledger_chunk", 8192, ledger::chunk, ledger::chunks),
    target("ledger_audit", 8192, ledger::audit, ledger::chunks),
    target("ledger_root", 4096, ledger::root, ledger::roots),
    target("ledger_receipt", 4096, ledger::receipt, ledger::receipts),
    target(
        "kv_write_set",
        4096,
        keyvalue::write_set,
        keyvalue::write_sets,
    ),
    target("worker_body", 4096, worker::body, worker::bodies),
    // What a system outside says.
    target("worker_reply", 4096, worker::reply, worker::replies),
    // What another node says.
    target("manager_peer", 4096, manager::peer, manager::peers),
    target(
        "consensus_message",
        4096,
        consensus::message,
        consensus::messages,
    ),
    target(
        "governance_command",
        8192,
        governance::command,
        governance::commands,
    ),
    target(
        "governance_constitution",
        8192,
        governance::constitution,
        governance::constitutions,
    ),
    target("governance_toml", 8192, governance::toml, governance::tomls),
    target(
        "governance_tuple",
        4096,
        governance::tuple,
        governance::tuples,
    ),
    target("tee_software", 4096, tee::software, tee::statements),
    target("tee_snp", 8192, tee::snp, tee::reports),
    target("tee_dcap", 16384, tee::dcap, tee::quotes),
    target(
        "channel_certificate",
        4096,
        tee::certificate,
        tee::certificates,
    ),
    target("channel_handshake", 4096, tee::handshake, tee::handshakes),
    // What a client says.
    target("http_server", 4096, http::server, http::requests),
    target("http_client", 4096, http::client, http::responses),
    target("http_websocket", 4096, http::websocket, http::frames),
    target("manager_admin", 4096, manager::admin, manager::requests),
    target(
        "kv_submission",
        4096,
        keyvalue::submission,
        keyvalue::submissions,
    ),
    target("kv_routes", 4096, keyvalue::routes, keyvalue::requests),
    target(
        "ethereum_transaction",
        4096,
        ethereum::transaction,
        ethereum::transactions,
    ),
    target(
        "ethereum_receipt",
        4096,
        ethereum::receipt,
        ethereum::receipts,
    ),
    target(
        "ethereum_settings",
        4096,
        ethereum::settings,
        ethereum::documents,
    ),
    target("ethereum_rpc", 4096, ethereum::rpc, ethereum::calls),
    // A founding manager that is told anything.
    target("manager_host", 4096, manager::host, manager::told_by_host),
    target(
        "manager_worker",
        4096,
        manager::worker,
        manager::told_by_worker,
    ),
    // Snapshots, and what members sign.
    target(
        "ledger_snapshot",
        4096,
        ledger::snapshot_file,
        ledger::snapshot_files,
    ),
    target("worker_restore", 4096, worker::restore, worker::snapshots),
    target(
        "manager_snapshot",
        4096,
        manager::snapshot,
        manager::snapshots,
    ),
    target(
        "governance_state",
        8192,
        governance::state,
        governance::states,
    ),
    target(
        "governance_message",
        4096,
        governance::message,
        governance::messages,
    ),
    // Keys that the actors hold together, and files between them.
    target(
        "threshold_message",
        8192,
        threshold::message,
        threshold::messages,
    ),
    target("client_parts", 8192, threshold::file, threshold::files),
    target(
        "client_share_key",
        2048,
        threshold::share_key,
        threshold::share_keys,
    ),
];
