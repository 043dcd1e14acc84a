//! `coco sim --regions`: what distance and number of nodes cost.

use std::path::Path;

use serde_json::{Value, json};
use sim::regions::{Answer, Costs, Map, Question, Timing, ask};

use crate::failure::{Doing, Failure};
use crate::print;

/// Regions of which the world is taken, besides one site: two continents' distance, and all.
const SPREADS: [usize; 3] = [1, 3, 8];

/// Of one site, and of a network across continents: no election while the leader is well.
const ONE_SITE: Timing = Timing {
    heartbeat_ms: 50,
    election_ms: 300,
};
const CONTINENTS: Timing = Timing {
    heartbeat_ms: 150,
    election_ms: 1_500,
};

pub(crate) struct Wish<'a> {
    /// Numbers of nodes.
    pub(crate) nodes: &'a [usize],
    pub(crate) rate: f64,
    pub(crate) map: Option<&'a Path>,
    pub(crate) seed: u64,
    pub(crate) json: bool,
}

pub(crate) fn run(wish: &Wish<'_>) -> Result<(), Failure> {
    let maps: Vec<Map> = match wish.map {
        Some(path) => vec![read(path)?],
        None => SPREADS.map(|count| Map::world().first(count)).to_vec(),
    };
    let mut found = Vec::new();
    for map in &maps {
        for nodes in wish.nodes {
            eprintln!("{nodes} nodes in {} regions", map.names.len());
            let question = Question {
                map: map.clone(),
                costs: Costs::default(),
                nodes: *nodes,
                leader: 0,
                rate: wish.rate,
                seconds: 10.0,
                timing: if map.names.len() == 1 {
                    ONE_SITE
                } else {
                    CONTINENTS
                },
                seed: wish.seed,
            };
            let answer = ask(&question).map_err(Failure::input)?;
            found.push((question, answer));
        }
    }
    if wish.json {
        print::json(&Value::Array(found.iter().map(to_json).collect()));
        return Ok(());
    }
    println!(
        "{} transactions a second over all nodes, the leader in the first region; a model: see docs/performance.md\n\n  \
         regions  nodes   committed/s   p50, ms   p99, ms   nearest / farthest client, ms   batch   leader's processor, line   failover, ms",
        wish.rate
    );
    for (question, answer) in &found {
        let medians = answer.p50_by_region_ms.iter().filter(|ms| **ms > 0.0);
        println!(
            "  {:>7}{:>7}{:>14.0}{:>10.0}{:>10.0}{:>19.0} / {:<10.0}{:>8.0}{:>17.0} %, {:.0} %{:>15.0}",
            question.map.names.len(),
            question.nodes,
            answer.throughput_per_s,
            answer.p50_ms,
            answer.p99_ms,
            medians.clone().copied().fold(f64::INFINITY, f64::min),
            medians.copied().fold(0.0, f64::max),
            answer.batch,
            100.0 * answer.leader_processor,
            100.0 * answer.leader_line,
            answer.failover_ms,
        );
    }
    Ok(())
}

fn to_json((question, answer): &(Question, Answer)) -> Value {
    json!({
        "regions": question.map.names, "nodes": question.nodes, "rate": question.rate,
        "throughput_per_s": answer.throughput_per_s, "p50_ms": answer.p50_ms, "p99_ms": answer.p99_ms,
        "p50_by_region_ms": answer.p50_by_region_ms, "batch": answer.batch,
        "leader_processor": answer.leader_processor, "leader_line": answer.leader_line,
        "failover_ms": answer.failover_ms,
    })
}

/// `{"names": ["here", "there"], "round_trip_ms": [[0.5, 80], [80, 0.5]]}`
fn read(path: &Path) -> Result<Map, Failure> {
    let text = std::fs::read(path).doing(|| format!("read {}", path.display()))?;
    let bad = || {
        Failure::input(format!(
            "{}: a map is {{\"names\": [\"here\", \"there\"], \"round_trip_ms\": [[0.5, 80], [80, 0.5]]}}",
            path.display()
        ))
    };
    let json: Value = serde_json::from_slice(&text).map_err(|_| bad())?;
    let list = |value: &Value| value.as_array().cloned().ok_or_else(bad);
    let mut map = Map {
        names: Vec::new(),
        round_trip_ms: Vec::new(),
    };
    for name in list(&json["names"])? {
        map.names.push(name.as_str().ok_or_else(bad)?.to_owned());
    }
    for row in list(&json["round_trip_ms"])? {
        let row = list(&row)?.iter().map(Value::as_f64).collect();
        map.round_trip_ms.push(Option::ok_or_else(row, bad)?);
    }
    if map.is_whole() { Ok(map) } else { Err(bad()) }
}
