//! `coco gateway`: a front-end system for tools that speak plain HTTP or WebSocket on this machine.
//!
//! Each local connection gets an attested channel of its own to a VN, under the actor's identity,
//! and from then on bytes go through as they are: no request is parsed, so that WebSocket and
//! whatever a protocol adds work, too. Some channels are opened in advance ([`spares`]), because a
//! tool that connects for every command would wait for a handshake each time.
//!
//! With `--users` the tools are end users: [`door`] asks each request for a token of the organisation's
//! identity provider ([`users`]) and sends it on for that user's accounts. With `--account` all of them
//! are the same accounts of the actor.
//!
//! Fail-over: a VN that is lost before the first byte of an answer is replaced by another, and what
//! was asked is asked again there, if asking twice is the same as once ([`again`]). Lost later, the
//! local connection ends, and the tool sees that as it would see any server go.

mod again;
mod door;
mod pump;
mod spares;
mod users;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy_primitives::Address;
use clap::Args;
use client::{Entrance, Problem, Signer, Surface, Trust, read_certificate};
use tokio::net::TcpListener;

use crate::failure::{Doing, Failure};
use door::Door;
pub(crate) use door::Who;
use spares::Spares;
use users::Users;

/// Most accounts of one principal, as the nodes read them.
const ACCOUNTS_MAX: usize = 16;

#[derive(Debug, Args)]
pub(crate) struct Gateway {
    /// Key and certificate chain of the actor for whom the tools act (PEM), or the pkcs11: URI of a key in a
    /// hardware security module
    #[arg(long, value_name = "FILE|URI")]
    identity: String,
    /// Certificate chain of a key in a module (PEM), if the module does not keep it
    #[arg(long, value_name = "FILE")]
    certificates: Option<PathBuf>,
    /// The pinned network identity certificate (PEM)
    #[arg(long, value_name = "FILE")]
    network: PathBuf,
    /// A VN's address for the protocol's clients; give several to fail over
    #[arg(long = "vn", value_name = "HOST:PORT", required = true, num_args = 1..)]
    nodes: Vec<String>,
    /// Asks each VN for evidence that satisfies this constitution
    #[arg(long, value_name = "FILE")]
    constitution: Option<PathBuf>,
    /// The protocol to talk to, as the constitution names it
    #[arg(long, default_value = "ethereum")]
    protocol: String,
    /// Asks each request for a token of an identity provider, and goes on for its user's accounts (TOML)
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// Goes on for this account of the actor, whoever connects; give several for several
    #[arg(long = "account", value_name = "ADDRESS", num_args = 1.., conflicts_with = "users")]
    accounts: Vec<Address>,
    /// Where local tools connect
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8545")]
    listen: SocketAddr,
}

/// What a running gateway needs.
pub(crate) struct Settings {
    pub(crate) entrance: Entrance,
    pub(crate) nodes: Vec<String>,
    pub(crate) protocol: String,
    /// For whose accounts requests go on; without, whoever connects is the actor, and no request is parsed.
    pub(crate) who: Option<Who>,
}

/// Runs until Ctrl-C.
pub(crate) fn run(arguments: &Gateway) -> Result<(), Failure> {
    if !arguments.listen.ip().is_loopback() {
        return Err(Failure::input(format!(
            "--listen {}: whoever can connect acts as the identity's actor, so only loopback \
             addresses are taken, such as 127.0.0.1:8545",
            arguments.listen
        )));
    }
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO)
        .init();
    let signer = Signer::open(
        &arguments.identity,
        arguments.certificates.as_deref(),
        &mut || {
            let text = "a passphrase protects the key, and a gateway works unattended: give it an identity \
                        of its own (`coco member identity`), or a key in a module";
            Err(Problem::Identity(text.into()))
        },
    )?;
    let name = signer.chain()[0].subject().to_owned();
    if arguments.accounts.len() > ACCOUNTS_MAX {
        let text = format!("--account: at most {ACCOUNTS_MAX} accounts");
        return Err(Failure::input(text));
    }
    let who = match &arguments.users {
        Some(file) => Some(Who::Users(Arc::new(Users::read(file)?))),
        None if arguments.accounts.is_empty() => None,
        None => Some(Who::Accounts(arguments.accounts.clone().into())),
    };
    let settings = Settings {
        entrance: entrance(
            signer,
            &arguments.network,
            arguments.constitution.as_deref(),
            &arguments.protocol,
        )?,
        nodes: arguments.nodes.clone(),
        protocol: arguments.protocol.clone(),
        who,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .doing(|| "start the gateway's threads".to_owned())?;
    runtime.block_on(async {
        if let Some(Who::Users(users)) = &settings.who {
            users.fetch().await?;
            tokio::spawn(users.clone().keep());
        }
        let listener = listen(arguments.listen).await?;
        println!(
            "http://{0} and ws://{0} lead to {1} at {2}, as {3}",
            arguments.listen,
            arguments.protocol,
            arguments.nodes.join(", "),
            name
        );
        tokio::select! {
            () = serve(listener, settings) => Ok(()),
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    })
}

fn entrance(
    signer: Signer,
    network: &Path,
    constitution: Option<&Path>,
    protocol: &str,
) -> Result<Entrance, Failure> {
    let mut trust = Trust::pinned(read_certificate(network)?);
    if let Some(path) = constitution {
        trust = trust.with_constitution(crate::network::read(path)?);
    }
    Ok(Entrance::with_signer(
        signer,
        trust,
        &Surface::Application(protocol.to_owned()),
    )?)
}

/// Opens the local port.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Failure::machine(format!(
            "port {} on {} is in use by another program. Stop it (`ss -ltnp 'sport = :{}'` names \
             it), or choose another port with --listen or --rpc-port",
            address.port(),
            address.ip(),
            address.port()
        )),
        _ => Failure::machine(format!("listen on {address}: {error}")),
    })
}

/// Serves local connections for ever.
pub(crate) async fn serve(listener: TcpListener, settings: Settings) {
    let spares = Arc::new(Spares::new(settings.entrance, settings.nodes));
    tokio::spawn(spares.clone().keep());
    let protocol: Arc<str> = settings.protocol.into();
    loop {
        match listener.accept().await {
            Ok((local, _)) => {
                let door = settings.who.clone().map(Door::new);
                tokio::spawn(pump::serve(local, spares.clone(), protocol.clone(), door));
            }
            // Out of descriptors, most likely; those in use will come back.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}

#[cfg(test)]
mod tests;
