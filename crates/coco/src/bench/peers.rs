//! The same load on somebody else's node.

use ::bench::{Load, Options, Peer, Report, Subject, measure_etcd, measure_peer, members};

use super::{Bench, network, told};
use crate::failure::Failure;

pub(super) async fn run(
    arguments: &Bench,
    options: &Options,
    url: &str,
) -> Result<Report, Failure> {
    let mut runs = Vec::new();
    let mut name = String::new();
    for number in 1..=arguments.runs.max(1) {
        let (given, url) = (options.clone(), url.to_owned());
        let measuring = tokio::task::spawn_blocking(move || {
            if url.starts_with("etcd:") {
                let members = members(&url)?;
                let name = format!("etcd, {} members", members.len());
                return Ok((name, measure_etcd(&given, &members)?));
            }
            let peer = Peer::find(&url)?;
            eprintln!("run {number}: {} at {url}", peer.version);
            let fitted = peer.fit(&given)?;
            let load = Load::prepare(&fitted)?;
            let run = measure_peer(&fitted, &load, &peer, &mut |doing| {
                eprintln!("run {number}: {doing}");
            })?;
            Ok((peer.version, run))
        });
        let (found, run) = network::interruptible(number, measuring).await?;
        name = found;
        runs.push(told(number, run));
    }
    Ok(Report::new(options, Subject::Peer(name), runs))
}
