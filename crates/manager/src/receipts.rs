//! Receipts for single transactions, made when a client asks: from the leaves that are still in
//! memory, or for old ones from the entries around them in the host's files.
//!
//! A receipt needs the entry itself (claim and place), the first signature entry that follows (the
//! signed root) and the leaves that join them. Only committed entries are read, each is compared
//! with what was committed before it is looked at, and the whole receipt is verified before it
//! leaves: so commit evidence never goes out before its commit, and an entry that was rolled back
//! has no receipt, whatever a host keeps of it.
//!
//! Source: DESIGN section 5; docs/receipts.md.

use std::collections::{BTreeMap, BTreeSet};

use boundary::manager_to_worker;
use bytes::Bytes;
use crypto::{CertificateRequest, PublicKey};
use ledger::{Frontier, Header, Kind, Leaf, RootSignature, Tree, inspect, verify_root};
use types::{Digest, Height, Index, Millis, NodeId};

use crate::Output;
use crate::node::{Node, Reading, log};
use crate::workers::send_worker;

/// Most receipts under way for one worker; it keeps clients beyond that waiting itself.
const JOBS_MAX: usize = 64;

/// Reads of the host that are under way for receipts at once: they share the disk with everything else.
const READS_MAX: usize = 4;

/// Most entries and bytes of one read. A signature follows a batch or two, so one read is the rule.
const READ_ENTRIES: u64 = 16;
const READ_BYTES_MAX: u64 = 1 << 20;

/// Most entries that are read for one receipt: far more than a leader ever leaves unsigned.
const ENTRIES_MAX: u64 = 4096;

/// How long a receipt waits for the signature that covers it. A healthy leader signs at once.
const WAIT_MS: u64 = 10_000;

const NOT_HERE: &str =
    "this part of the ledger is not on this node yet: ask another node, or again later";

/// The receipts under way on a node.
#[derive(Default)]
pub struct Receipts {
    jobs: BTreeMap<u64, Job>,
    last: u64,
    reading: usize,
    /// Jobs whose next read has to wait for others.
    queued: BTreeSet<u64>,
    /// Certificates for signers, made once in the life of a manager.
    endorsements: BTreeMap<NodeId, Bytes>,
}

/// One receipt that a worker asked for.
struct Job {
    worker: u64,
    place: usize,
    request: u64,
    height: Height,
    since: Millis,
    gathering: Gathering,
    reading: bool,
}

/// What has been read for one receipt.
struct Gathering {
    index: Index,
    position: u32,
    leaf: Option<Leaf>,
    /// Leaves of the entries from `first` up to before `next`; those without leaves are left out.
    leaves: BTreeMap<Index, Vec<Digest>>,
    first: Index,
    next: Index,
    signature: Option<(RootSignature, NodeId)>,
    /// The tree before `first`, once it is known.
    base: Option<Frontier>,
    /// A part of the entries before `first`: from where it began, the next, and its own finds.
    before: Option<Before>,
}

/// Entries before the receipt's own, being read in their order.
struct Before {
    first: Index,
    next: Index,
    leaves: BTreeMap<Index, Vec<Digest>>,
    base: Option<Frontier>,
}

/// What a gathering needs next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Read {
        first: Index,
        last: Index,
    },
    /// No signature is committed behind the entry yet.
    Wait,
    Complete,
    TooFar,
}

impl Gathering {
    fn new(index: Index, position: u32) -> Self {
        Self {
            index,
            position,
            leaf: None,
            leaves: BTreeMap::new(),
            first: index,
            next: index,
            signature: None,
            base: None,
            before: None,
        }
    }

    /// `recent`: the tree of the running node, which may still have the leaves.
    fn step(&mut self, committed: Index, recent: &Tree) -> Step {
        if self.next.0 - self.first.0 > ENTRIES_MAX {
            return Step::TooFar;
        }
        let Some((signature, _)) = &self.signature else {
            let last = Index((self.next.0 + READ_ENTRIES - 1).min(committed.0));
            return if self.next > last {
                Step::Wait
            } else {
                Step::Read {
                    first: self.next,
                    last,
                }
            };
        };
        let size = signature.statement.size;
        if self.base.is_some() || recent.path(self.index, self.position, size).is_some() {
            return Step::Complete;
        }
        if self.first == Index(1) {
            self.base = Some(Frontier::default());
            return Step::Complete;
        }
        let first = &self.first;
        let before = self.before.get_or_insert_with(|| {
            let from = Index(first.0.saturating_sub(READ_ENTRIES).max(1));
            Before {
                first: from,
                next: from,
                leaves: BTreeMap::new(),
                base: None,
            }
        });
        Step::Read {
            first: before.next,
            last: first.previous(),
        }
    }

    /// An entry that was asked for: committed, and compared with what was committed.
    fn take(
        &mut self,
        header: &Header,
        bytes: &Bytes,
        keys: &impl Keys,
        protocol: u16,
        height: Height,
    ) -> Result<(), String> {
        let index = header.index;
        let entry = inspect(bytes).map_err(|e| e.to_string())?;
        let root = match header.kind {
            Kind::Signature => {
                let key = keys.of(header.sealer).ok_or("its signer is unknown")?;
                Some(verify_root(&key, header, &entry.public).map_err(|e| e.to_string())?)
            }
            _ => None,
        };
        if let Some(before) = &mut self.before {
            if index != before.next {
                return Err("the host left an entry out".into());
            }
            before.next = index.next();
            match root {
                Some(root) => {
                    before.leaves.clear();
                    before.base = Some(root.frontier);
                }
                None if entry.leaves.is_empty() => {}
                None => {
                    before.leaves.insert(index, entry.leaves.to_vec());
                }
            }
            if before.next == self.first {
                let mut before = self.before.take().expect("looked at above");
                self.leaves.append(&mut before.leaves);
                self.first = before.first;
                self.base = before.base;
            }
            return Ok(());
        }
        if self.signature.is_some() {
            return Ok(()); // read along, not needed
        }
        if index != self.next {
            return Err("the host left an entry out".into());
        }
        self.next = index.next();
        if index == self.index {
            if header.kind != (Kind::Application { protocol, height }) {
                return Err("it is not that batch".into());
            }
            self.leaf = Some(keys.leaf(header, bytes, self.position)?);
        }
        match root {
            Some(root) => self.signature = Some((root, header.sealer)),
            None if entry.leaves.is_empty() => {}
            None => {
                self.leaves.insert(index, entry.leaves.to_vec());
            }
        }
        Ok(())
    }

    /// The receipt, verified.
    fn finish(
        &self,
        recent: &Tree,
        signer: &PublicKey,
        endorsement: &[u8],
    ) -> Result<Vec<u8>, String> {
        let (signature, _) = self.signature.as_ref().ok_or("no signature was read")?;
        let leaf = self.leaf.as_ref().ok_or("its entry was not read")?;
        let size = signature.statement.size;
        let path = match &self.base {
            Some(base) => {
                let mut tree = Tree::new(base.clone());
                for (index, leaves) in &self.leaves {
                    tree.append(*index, leaves.iter().copied());
                }
                tree.path(self.index, self.position, size)
            }
            None => recent.path(self.index, self.position, size),
        };
        let path = path.ok_or("the leaves do not lead to the signed root")?;
        let receipt = ledger::receipt(&signature.cose, leaf, &path, Some(endorsement))
            .map_err(|e| e.to_string())?;
        ledger::verify_receipt(&receipt, signer, leaf.claim).map_err(|e| e.to_string())?;
        Ok(receipt)
    }
}

/// What a gathering asks of the node.
trait Keys {
    fn of(&self, node: NodeId) -> Option<PublicKey>;
    /// Opens an entry for one leaf of it.
    fn leaf(&self, header: &Header, bytes: &Bytes, position: u32) -> Result<Leaf, String>;
}

impl Keys for (&governance::State, &ledger::SealKeyring) {
    fn of(&self, node: NodeId) -> Option<PublicKey> {
        self.0.node(node).map(|node| node.key)
    }

    fn leaf(&self, header: &Header, bytes: &Bytes, position: u32) -> Result<Leaf, String> {
        let key = self.of(header.sealer).ok_or("its sealer is unknown")?;
        let opened = self.1.open(bytes, &key).map_err(|e| e.to_string())?;
        let claim = usize::try_from(position)
            .ok()
            .and_then(|position| opened.claims.get(position))
            .ok_or("the batch has no such transaction")?;
        let evidence = self.1.evidence(header).map_err(|e| e.to_string())?;
        Ok(evidence.leaf(header, position, *claim))
    }
}

impl Node {
    /// A worker wants a receipt for one of its clients, who may have it.
    pub fn receipt(
        &mut self,
        worker: u64,
        place: usize,
        asked: &boundary::ReceiptRequest,
        out: &mut Vec<Output>,
    ) {
        let tell = |out: &mut Vec<Output>, now, failure: &str| {
            answer(out, now, worker, asked.request, Err(failure));
        };
        let under_way = self
            .receipts
            .jobs
            .values()
            .filter(|job| job.worker == worker);
        if under_way.count() >= JOBS_MAX {
            return tell(
                out,
                self.clock,
                "too many receipts are under way: ask again later",
            );
        }
        let height = Height(asked.height);
        if height == Height::ZERO || height > self.protocols[place].committed() {
            return tell(out, self.clock, "no such batch is committed");
        }
        let Some(index) = self.protocols[place].index_of(height) else {
            return tell(out, self.clock, NOT_HERE);
        };
        self.receipts.last += 1;
        let job = self.receipts.last;
        self.receipts.jobs.insert(
            job,
            Job {
                worker,
                place,
                request: asked.request,
                height,
                since: self.now,
                gathering: Gathering::new(index, asked.position),
                reading: false,
            },
        );
        self.receipt_step(job, out);
    }

    fn receipt_step(&mut self, number: u64, out: &mut Vec<Output>) {
        let Some(job) = self.receipts.jobs.get_mut(&number) else {
            return;
        };
        if job.reading {
            return;
        }
        match job.gathering.step(self.order.committed, &self.order.tree) {
            Step::Wait => {}
            Step::TooFar => self.receipt_done(number, Err("no signature is near this entry"), out),
            Step::Read { .. } if self.receipts.reading >= READS_MAX => {
                self.receipts.queued.insert(number);
            }
            Step::Read { first, last } => {
                job.reading = true;
                self.receipts.reading += 1;
                let why = Reading::Receipt { job: number };
                self.read(why, first, last, READ_BYTES_MAX, out);
            }
            Step::Complete => self.receipt_complete(number, out),
        }
    }

    /// What the host had; each entry was compared with what was committed.
    pub fn receipt_read(
        &mut self,
        number: u64,
        entries: &[(Header, Bytes)],
        out: &mut Vec<Output>,
    ) {
        self.receipts.reading -= 1;
        if let Some(job) = self.receipts.jobs.get_mut(&number) {
            job.reading = false;
            let protocol = &self.protocols[job.place];
            let keys = (&self.state, &self.keyring.seals);
            let mut taken = if entries.is_empty() {
                Err(NOT_HERE.to_owned())
            } else {
                Ok(())
            };
            for (header, bytes) in entries {
                taken = taken.and_then(|()| {
                    job.gathering
                        .take(header, bytes, &keys, protocol.place, job.height)
                });
            }
            match taken {
                Ok(()) => self.receipt_step(number, out),
                Err(reason) => self.receipt_done(number, Err(&reason), out),
            }
        }
        while self.receipts.reading < READS_MAX
            && let Some(next) = self.receipts.queued.pop_first()
        {
            self.receipt_step(next, out);
        }
    }

    fn receipt_complete(&mut self, number: u64, out: &mut Vec<Output>) {
        let gathering = &self.receipts.jobs[&number].gathering;
        let signer = gathering.signature.as_ref().map(|(_, signer)| *signer);
        let Some((key, endorsement)) = signer.and_then(|signer| self.endorsement(signer)) else {
            return self.receipt_done(number, Err("its signer is unknown"), out);
        };
        let gathering = &self.receipts.jobs[&number].gathering;
        match gathering.finish(&self.order.tree, &key, &endorsement) {
            Ok(receipt) => self.receipt_done(number, Ok(receipt.into()), out),
            Err(reason) => {
                log(
                    out,
                    1,
                    "receipts",
                    &format!("entry {} gave no receipt: {reason}", gathering.index),
                );
                self.receipt_done(number, Err("this node could not make the receipt"), out);
            }
        }
    }

    fn receipt_done(&mut self, number: u64, result: Result<Bytes, &str>, out: &mut Vec<Output>) {
        self.receipts.queued.remove(&number);
        if let Some(job) = self.receipts.jobs.remove(&number)
            && self.protocols[job.place].running() == Some(job.worker)
        {
            answer(out, self.clock, job.worker, job.request, result);
        }
    }

    /// More is committed: perhaps a signature that receipts wait for.
    pub fn resume_receipts(&mut self, out: &mut Vec<Output>) {
        let waiting: Vec<u64> = self.receipts.jobs.keys().copied().collect();
        for number in waiting {
            if !self.receipts.queued.contains(&number) {
                self.receipt_step(number, out);
            }
        }
    }

    /// Answers those that have waited too long for a signature.
    pub fn expire_receipts(&mut self, out: &mut Vec<Output>) {
        let now = self.now;
        let late: Vec<u64> = self
            .receipts
            .jobs
            .iter()
            .filter(|(_, job)| !job.reading && now.since(job.since) > WAIT_MS)
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            let reason =
                "the signature over this transaction is not committed yet: ask again later";
            self.receipt_done(number, Err(reason), out);
        }
    }

    /// The certificate by which the network stands for the key of a node, present or former. What
    /// it says depends on the ledger only, so every node says the same. It has no name and no
    /// evidence, so it opens no channel.
    fn endorsement(&mut self, node: NodeId) -> Option<(PublicKey, Bytes)> {
        let node = self.state.node(node)?;
        if let Some(known) = self.receipts.endorsements.get(&node.id) {
            return Some((node.key, known.clone()));
        }
        let network = self.state.network_certificate()?;
        let serial =
            crypto::sha256(&[b"coco receipt signer", &node.key.fingerprint().0[..]].concat());
        let request = CertificateRequest {
            common_name: &format!("node {} of {}, for receipts", node.id, node.owner),
            dns_names: Vec::new(),
            not_before: network.not_before(),
            not_after: network.not_after(),
            authority: false,
            extensions: Vec::new(),
            serial: *serial.0.first_chunk().expect("32 bytes begin with 16"),
        };
        let issued = crypto::issue(
            &node.key,
            &request,
            self.keyring.network_key()?,
            Some(network),
        );
        let der = Bytes::copy_from_slice(issued.der());
        self.receipts.endorsements.insert(node.id, der.clone());
        Some((node.key, der))
    }
}

fn answer(
    out: &mut Vec<Output>,
    now: Millis,
    worker: u64,
    request: u64,
    result: Result<Bytes, &str>,
) {
    let (receipt, failure) = match result {
        Ok(receipt) => (receipt, String::new()),
        Err(failure) => (Bytes::new(), failure.to_owned()),
    };
    let reply = boundary::ReceiptReply {
        request,
        receipt,
        failure,
    };
    send_worker(out, now, worker, manager_to_worker::Message::Receipt(reply));
}
