//! Networks that exist for one run of a measurement.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ::bench::{Door, Endpoint, Options, Way};
use client::{Admin, Entrance, Identity, Surface, Trust};

use super::Bench;
use crate::failure::{Doing, Failure};
use crate::gateway;
use crate::images::Images;
use crate::sandbox::{self, Children, Part, Plan, Profile, Sandbox, Wish};

/// Of a confidential network: who sends, and who looks whether everything is right.
const OBSERVED: &[Part] = &[
    Part {
        name: "tailspin",
        auditor: false,
        accounts: &[],
    },
    Part {
        name: "wingtip",
        auditor: true,
        accounts: &[],
    },
];

/// What a measurement is given.
pub(super) struct Up {
    pub(super) endpoints: Vec<Endpoint>,
    /// When the network was begun: before its keys were made.
    pub(super) began: Instant,
}

/// Starts a network, gives it to `then` on a thread that may block, and ends it.
pub(super) async fn with<T: Send + 'static>(
    arguments: &Bench,
    options: &Options,
    genesis: &BTreeMap<String, String>,
    number: usize,
    then: impl FnOnce(Up) -> Result<T, ::bench::Problem> + Send + 'static,
) -> Result<T, Failure> {
    let began = Instant::now();
    let protocols = [options.workload.protocol().to_owned()];
    let images = Images::find(arguments.images.as_deref())?;
    let directory = sandbox::Directory::open(None)?;
    let plan = sandbox::make(
        &Wish {
            nodes: usize::from(arguments.nodes),
            protocols: &protocols,
            directory: directory.path(),
            profile: arguments.profile,
            parts: match arguments.profile {
                Profile::Transparent => sandbox::OPEN,
                Profile::Confidential => OBSERVED,
            },
            genesis,
            // No states are kept: a figure is of what a network does by default.
            ethereum: &serde_json::Map::new(),
        },
        &images,
    )?;
    let wanted = Sandbox::quiet(arguments.nodes, &protocols, arguments.images.as_deref());
    let mut children = Children::start(&plan, &wanted)?;
    let identity = plan.participants[0].files.identity.clone();
    let measured = async {
        let up = tokio::select! {
            up = sandbox::wait_until_all_vote(&plan, &identity) => up?,
            failure = children.first_end() => return Err(failure),
            _ = tokio::signal::ctrl_c() => return Err(Failure::failed("interrupted")),
        };
        eprintln!(
            "run {number}: {} nodes up in {:.1} s",
            arguments.nodes,
            began.elapsed().as_secs_f64()
        );
        let trust = Trust::pinned(up.certificate.clone());
        let processes = children.processes();
        let mut endpoints = endpoints(&plan, &processes, &trust, &protocols[0])?;
        if arguments.http {
            for endpoint in &mut endpoints {
                endpoint.front = Some(front(endpoint, &protocols[0]).await?);
            }
        }
        let up = Up { endpoints, began };
        let measuring = tokio::task::spawn_blocking(move || then(up));
        interruptible(number, measuring).await
    };
    let measured = measured.await;
    children.stop().await;
    measured
}

/// Waits for a measurement, unless somebody presses Ctrl-C.
pub(super) async fn interruptible<T>(
    number: usize,
    measuring: impl Future<Output = Result<Result<T, ::bench::Problem>, tokio::task::JoinError>>,
) -> Result<T, Failure> {
    let measured = tokio::select! {
        measured = measuring => measured,
        _ = tokio::signal::ctrl_c() => return Err(Failure::failed("interrupted")),
    };
    let measured = measured.map_err(|error| Failure::failed(error.to_string()))?;
    measured.map_err(|problem| {
        let mut failure = Failure::from(problem);
        failure.text = format!("run {number}: {}", failure.text);
        failure
    })
}

/// A gateway to one node, in this process: the load then comes by plain HTTP.
async fn front(endpoint: &Endpoint, protocol: &str) -> Result<Way, Failure> {
    let Door::Attested(entrance) = &endpoint.way.door else {
        return Err(Failure::failed("a node of ours has an attested door"));
    };
    let listener = gateway::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let address = listener
        .local_addr()
        .doing(|| "read the gateway's address".to_owned())?;
    let settings = gateway::Settings {
        entrance: entrance.clone(),
        nodes: vec![endpoint.way.address.clone()],
        protocol: protocol.to_owned(),
        who: None,
    };
    tokio::spawn(gateway::serve(listener, settings));
    Ok(Way {
        door: Door::Plain,
        address: address.to_string(),
    })
}

/// Where the nodes are, and which of them leads.
fn endpoints(
    plan: &Plan,
    processes: &BTreeMap<String, u32>,
    trust: &Trust,
    protocol: &str,
) -> Result<Vec<Endpoint>, Failure> {
    let surface = Surface::Application(protocol.to_owned());
    let door = |participant: usize| {
        let identity = Identity::read(&plan.participants[participant].files.identity)?;
        Ok::<_, Failure>((Entrance::new(&identity, trust.clone(), &surface)?, identity))
    };
    let (sending, identity) = door(0)?;
    // See `OBSERVED`.
    let (auditing, _) = door(plan.participants.len() - 1)?;
    let mut endpoints = Vec::new();
    for node in &plan.nodes {
        let mut admin = Admin::open(&identity, trust.clone(), vec![node.admin_address()])?;
        let status = admin.status()?;
        let way = |entrance: &Entrance| Way {
            door: Door::Attested(entrance.clone()),
            address: format!("127.0.0.1:{}", node.ports[protocol]),
        };
        endpoints.push(Endpoint {
            name: node.owner.clone(),
            way: way(&sending),
            front: None,
            auditing: Some(way(&auditing)),
            leads: status["leader"] == status["node"],
            process: processes.get(&node.owner).copied(),
        });
    }
    Ok(endpoints)
}

/// `90s`, `30m`, `2h`, or seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("a number and s, m or h, such as 90s or 30m".into()),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "a number and s, m or h, such as 90s or 30m".to_owned())?;
    match number.checked_mul(seconds) {
        Some(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => Err("a second at least and a day at most".into()),
    }
}

#[test]
fn durations_have_units() {
    assert_eq!(duration("30m"), Ok(Duration::from_secs(1_800)));
    assert_eq!(duration("60"), Ok(Duration::from_secs(60)));
    assert!(duration("0s").is_err() && duration("5x").is_err() && duration("m").is_err());
}
