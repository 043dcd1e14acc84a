//! A load without an end: over a fixed set of accounts or keys, for as long as is wanted.
//!
//! What a node refuses because it is busy comes again later, so that an account's nonces have no gap;
//! the refused arrival counts as refused. What was acknowledged is remembered by account (its next
//! nonce) or key (the number of its last write), so that it can be held against what every node has
//! afterwards, without a list that grows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::drive::{Answered, Listed, Request, Work, contains, drive};
use crate::ethereum::Senders;
use crate::measure::{Endpoint, microseconds};
use crate::pace::Pace;
use crate::signed::Signed;
use crate::tally::Tally;
use crate::verdict::{self, Asking};
use crate::wire::Wire;
use crate::{Options, Problem, Workload, load};

/// How long a node may take until it has what another acknowledged.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is sent and what was acknowledged so far.
pub(crate) struct Endless<'a> {
    options: &'a Options,
    kind: Kind<'a>,
    /// Transactions (writes) of each connection that were begun.
    begun: Vec<usize>,
    /// Number of each connection's transactions that were refused, to be sent again first.
    again: Vec<BTreeMap<usize, Bytes>>,
    /// The transactions of each unanswered request.
    flying: BTreeMap<usize, Vec<(usize, Bytes)>>,
    next_request: usize,
    /// No new ones after this moment.
    until: Option<Instant>,
    pub(crate) tally: Tally,
}

enum Kind<'a> {
    Ethereum {
        senders: &'a Senders<'a>,
        signed: Option<Signed>,
        /// Of each account, as far as acknowledgements go.
        next_nonces: Vec<u64>,
    },
    Kv {
        keys: usize,
        /// Text from which values are cut.
        filler: String,
        /// Of each key: number of the last acknowledged write, plus 1.
        written: Vec<usize>,
    },
}

impl<'a> Endless<'a> {
    /// Over `options.senders` accounts or keys.
    pub(crate) fn new(options: &'a Options, senders: &'a Senders<'a>) -> Self {
        let kind = if options.workload == Workload::Kv {
            let filler = Options {
                value_bytes: 64 << 10,
                ..options.clone()
            };
            let keys = options.senders.max(options.connections);
            Kind::Kv {
                keys,
                filler: load::value(&filler, 0),
                written: vec![0; keys],
            }
        } else {
            Kind::Ethereum {
                senders,
                signed: None,
                next_nonces: vec![0; senders.addresses().len()],
            }
        };
        Self {
            options,
            kind,
            begun: vec![0; options.connections],
            again: vec![BTreeMap::new(); options.connections],
            flying: BTreeMap::new(),
            next_request: 0,
            until: None,
            tally: Tally::new(),
        }
    }

    /// Signs at least so many more transactions, where there is something to sign.
    pub(crate) fn sign(&mut self, transactions: usize) -> Result<(), Problem> {
        if let Kind::Ethereum {
            senders, signed, ..
        } = &mut self.kind
        {
            let each = transactions.div_ceil(self.options.connections);
            *signed = Some(Signed::make(senders, &self.begun, each)?);
        }
        Ok(())
    }

    /// Sends at a pace, for so long (an open pace ends by itself), and gives what came of it.
    pub(crate) fn run(
        &mut self,
        wires: &mut [Wire],
        pace: Pace,
        length: Option<Duration>,
    ) -> Result<Tally, Problem> {
        self.until = length.map(|length| Instant::now() + length);
        self.tally = Tally::new();
        drive(wires, pace, self)?;
        Ok(std::mem::replace(&mut self.tally, Tally::new()))
    }

    /// The value of a write: its number, and text that differs from one to the next.
    fn value(&self, filler: &str, number: usize) -> String {
        let length = self.options.value_bytes.clamp(NUMBER_DIGITS, filler.len());
        let at = number * 31 % (filler.len() - length + 1);
        format!("{number:016x}{}", &filler[at..at + length - NUMBER_DIGITS])
    }

    /// Which key the write `number` of a connection goes to.
    fn key(&self, keys: usize, lane: usize, number: usize) -> usize {
        let own = (keys - lane).div_ceil(self.options.connections);
        lane + number % own * self.options.connections
    }

    fn take(&mut self, lane: usize) -> Option<(usize, Bytes)> {
        if let Some(first) = self.again[lane].pop_first() {
            return Some(first);
        }
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return None;
        }
        let number = self.begun[lane];
        let raw = match &mut self.kind {
            Kind::Ethereum { signed, .. } => signed.as_mut()?.next(lane)?,
            Kind::Kv { .. } => Bytes::new(),
        };
        self.begun[lane] += 1;
        Some((number, raw))
    }

    /// A request of as many as may be together.
    fn request(
        &mut self,
        lane: usize,
        take: impl Fn(&mut Self, usize) -> Option<(usize, Bytes)>,
    ) -> Option<Request> {
        let mut taken = Vec::with_capacity(self.options.batch);
        while taken.len() < self.options.batch {
            match take(self, lane) {
                Some(one) => taken.push(one),
                None => break,
            }
        }
        if taken.is_empty() {
            return None;
        }
        let bytes = match &self.kind {
            Kind::Ethereum { .. } => {
                let raws = taken.iter().map(|(_, raw)| raw);
                load::send_raw(&self.options.form.path, raws)
            }
            Kind::Kv { keys, filler, .. } => {
                let command = |(number, _): &(usize, Bytes)| {
                    let key = load::key(self.key(*keys, lane, *number));
                    (key, self.value(filler, *number))
                };
                let commands: Vec<(String, String)> = taken.iter().map(command).collect();
                load::write(&commands)
            }
        };
        let first = self.next_request;
        self.next_request += 1;
        let transactions = taken.len();
        self.flying.insert(first, taken);
        Some(Request {
            lane,
            bytes,
            first,
            transactions,
        })
    }

    fn acknowledge(&mut self, lane: usize, number: usize) {
        match &mut self.kind {
            Kind::Ethereum {
                senders,
                next_nonces,
                ..
            } => {
                let (sender, nonce) = senders.turn(lane, number);
                next_nonces[sender] = next_nonces[sender].max(nonce + 1);
            }
            Kind::Kv { keys, .. } => {
                let keys = *keys;
                let key = self.key(keys, lane, number);
                if let Kind::Kv { written, .. } = &mut self.kind {
                    written[key] = written[key].max(number + 1);
                }
            }
        }
    }

    /// Holds what was acknowledged against what every node has; gives the number of accounts or keys
    /// that were compared on each.
    ///
    /// # Errors
    /// [`Problem::Wrong`] if a node lacks something that was acknowledged.
    pub(crate) fn verify(&self, endpoints: &[Endpoint]) -> Result<usize, Problem> {
        for endpoint in endpoints {
            let deadline = Instant::now() + PATIENCE;
            // A follower learns of a commit a moment after the client.
            while let Some(lacks) = self.lacking(endpoint)? {
                if Instant::now() > deadline {
                    return Err(Problem::Wrong(format!("{}: {lacks}", endpoint.name)));
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        Ok(match &self.kind {
            Kind::Ethereum { next_nonces, .. } => next_nonces.len(),
            Kind::Kv { written, .. } => written.iter().filter(|w| **w > 0).count(),
        })
    }

    fn lacking(&self, endpoint: &Endpoint) -> Result<Option<String>, Problem> {
        let (name, found, acknowledged): (_, Vec<u64>, Vec<u64>) = match &self.kind {
            Kind::Ethereum {
                senders,
                next_nonces,
                ..
            } => {
                let mut asking = Asking::open(endpoint.auditing(), "/")?;
                let found = asking.nonces(senders.addresses())?;
                ("account", found, next_nonces.clone())
            }
            Kind::Kv { written, .. } => {
                let found = last_writes(endpoint, written.len())?;
                let written = written.iter().map(|number| *number as u64); // as wide
                ("key", found, written.collect())
            }
        };
        let lacking = |(_, (found, wanted)): &(usize, (&u64, &u64))| found < wanted;
        let mut behind = found.iter().zip(&acknowledged).enumerate().filter(lacking);
        let first = behind.next();
        Ok(first.map(|(place, (found, wanted))| {
            format!(
                "{} of {} {name}s lack something that was acknowledged: {name} {place} has {found}, and {wanted} were acknowledged",
                1 + behind.count(),
                acknowledged.len()
            )
        }))
    }
}

/// Digits of a write's number at the beginning of its value.
const NUMBER_DIGITS: usize = 16;

/// The number of the last write of each key, plus 1, as a node has it.
fn last_writes(endpoint: &Endpoint, keys: usize) -> Result<Vec<u64>, Problem> {
    let mut wires = [Wire::open(&endpoint.way)?];
    let request = |place| Request {
        lane: 0,
        bytes: load::http(
            "GET",
            &format!("/kv/{}", load::key(place)),
            "text/plain",
            b"",
        ),
        first: place,
        transactions: 1,
    };
    let requests: Vec<Request> = (0..keys).map(request).collect();
    let mut work = Listed::new(&requests, 1, None);
    drive(&mut wires, Pace::Closed { in_flight: 64 }, &mut work)?;
    let mut found = vec![0; keys];
    for answer in work.into_answers() {
        let body = &answer.response.body;
        let digits = body.get(..NUMBER_DIGITS).unwrap_or_default();
        let number = std::str::from_utf8(digits).unwrap_or_default();
        if answer.response.status == 200
            && let Ok(number) = u64::from_str_radix(number, 16)
        {
            found[answer.request.first] = number + 1;
        }
    }
    Ok(found)
}

impl Work for Endless<'_> {
    fn next(&mut self, lane: usize) -> Result<Option<Request>, Problem> {
        Ok(self.request(lane, Self::take))
    }

    fn next_urgent(&mut self, lane: usize) -> Result<Option<Request>, Problem> {
        Ok(self.request(lane, |work, lane| work.again[lane].pop_first()))
    }

    fn is_urgent(&self, lane: usize) -> bool {
        !self.again[lane].is_empty()
    }

    fn left(&self) -> usize {
        let refused: usize = self.again.iter().map(BTreeMap::len).sum();
        refused + self.flying.values().map(Vec::len).sum::<usize>()
    }

    fn gives_up(&mut self, arrivals: usize) -> bool {
        self.tally.unsent += (arrivals * self.options.batch) as u64; // as wide
        true
    }

    fn obstacle(&self) -> String {
        format!(
            "{} left, {} requests are unanswered; {:?}",
            self.left(),
            self.flying.len(),
            self.tally.kinds()
        )
    }

    fn answered(&mut self, answered: Answered) -> Result<(), Problem> {
        let taken = self
            .flying
            .remove(&answered.request.first)
            .expect("a request is answered once");
        let lane = answered.request.lane;
        let took = microseconds(answered.ended.saturating_duration_since(answered.began));
        let response = &answered.response;
        // What has no error in it needs no look at each of its parts.
        if response.status == 200 && !contains(&response.body, b"\"error\"") {
            self.tally
                .committed(answered.ended, took, taken.len() as u64); // as wide
            for (number, _) in taken {
                self.acknowledge(lane, number);
            }
            return Ok(());
        }
        let reasons = verdict::refusals(self.options.workload, &answered);
        for ((number, raw), reason) in taken.into_iter().zip(reasons) {
            match reason {
                None => {
                    self.tally.committed(answered.ended, took, 1);
                    self.acknowledge(lane, number);
                }
                Some(reason) => {
                    self.tally.refused(answered.ended, &reason);
                    match disposition(&reason) {
                        Disposition::Again => {
                            self.again[lane].insert(number, raw);
                        }
                        Disposition::There => self.acknowledge(lane, number),
                        Disposition::Wrong => {
                            return Err(Problem::Wrong(format!(
                                "a transaction was refused for another reason than too much work: {reason}"
                            )));
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// What is to be done about a refused transaction.
#[derive(Debug, PartialEq, Eq)]
enum Disposition {
    Again,
    /// An earlier attempt got in, although its answer said that this was unknown.
    There,
    Wrong,
}

fn disposition(reason: &str) -> Disposition {
    let there = ["nonce too low", "already known"];
    if there.iter().any(|words| reason.contains(words)) {
        return Disposition::There;
    }
    let busy = [
        "HTTP 429",
        "HTTP 503",
        "HTTP 504",
        "JSON-RPC -32005",
        "outcome",
    ];
    if busy.iter().any(|words| reason.contains(words)) {
        return Disposition::Again;
    }
    Disposition::Wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use http1::ClientResponse;

    fn answer(request: Request, status: u16, body: &str) -> Answered {
        let now = Instant::now();
        Answered {
            request,
            began: now,
            ended: now,
            response: ClientResponse {
                status,
                headers: vec![],
                body: body.to_owned().into(),
                keep_alive: true,
            },
        }
    }

    fn options(workload: Workload, batch: usize) -> Options {
        Options {
            batch,
            connections: 2,
            senders: 6,
            value_bytes: 40,
            ..Options::new(workload, 100)
        }
    }

    #[test]
    fn what_was_refused_comes_first_and_in_order() {
        let options = options(Workload::Transfer, 2);
        let senders = Senders::new(&options, 100);
        let mut work = Endless::new(&options, &senders);
        work.sign(20).expect("signed");
        let [one, two] = [(); 2].map(|()| work.next(0).expect("made").expect("enough"));
        let sent = one.bytes.clone();
        let busy = r#"{"id":0,"error":{"code":-32005,"message":"busy"}}"#;
        work.answered(answer(two, 200, r#"[{"result":"0x1"},{"result":"0x2"}]"#))
            .expect("taken");
        work.answered(answer(one, 200, &format!("[{busy},{busy}]")))
            .expect("taken");
        assert_eq!((work.tally.total(), work.tally.refused_total()), (2, 2));
        let again = work.next(0).expect("made").expect("enough");
        assert_eq!(again.bytes, sent);
        // Accounts 0, 2 and 4 take turns: transaction 2 was of account 4, transaction 3 of account 0.
        let Kind::Ethereum { next_nonces, .. } = &work.kind else {
            panic!("of Ethereum");
        };
        assert_eq!(next_nonces[..], [2, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn a_refusal_that_is_not_for_load_ends_the_measurement() {
        let options = options(Workload::Kv, 1);
        let senders = Senders::new(&options, 1);
        let mut work = Endless::new(&options, &senders);
        let request = work.next(1).expect("made").expect("no end");
        work.answered(answer(request, 429, r#"{"error":"busy"}"#))
            .expect("only busy");
        let request = work.next(1).expect("made").expect("no end");
        let problem = work.answered(answer(request, 403, r#"{"error":"no"}"#));
        assert!(matches!(problem, Err(Problem::Wrong(_))), "{problem:?}");
        assert_eq!(
            disposition("JSON-RPC -32000: nonce too low"),
            Disposition::There
        );
    }

    #[test]
    fn a_value_begins_with_the_number_of_its_write() {
        let options = options(Workload::Kv, 1);
        let senders = Senders::new(&options, 1);
        let work = Endless::new(&options, &senders);
        let Kind::Kv { filler, .. } = &work.kind else {
            panic!("of key-value");
        };
        let value = work.value(filler, 0x2f);
        assert_eq!(
            (value.len(), &value[..NUMBER_DIGITS]),
            (40, "000000000000002f")
        );
        assert_ne!(value[16..], work.value(filler, 0x30)[16..]);
    }
}
