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

/// Most entries and bytes of one read. A signature follows a few batches, so one read is the rule.
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

    /// Too many reads wait for keys already.
    pub fn receipt_refused(&mut self, number: u64, out: &mut Vec<Output>) {
        self.receipts.reading -= 1;
        let reason = "the session keys are not here, and too many reads wait for them: try again later, or at another node";
        self.receipt_done(number, Err(reason), out);
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

    /// Whether somebody here asked for what only a signature gives.
    pub fn receipts_wait(&self) -> bool {
        !self.receipts.jobs.is_empty()
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

#[cfg(test)]
mod tests {
    use crypto::{Entropy, SigningKey, Zeroizing, sha256};
    use ledger::{Content, SealKeyring, Sealer, sign_root};
    use types::{Epoch, NetworkId, Term};

    use super::*;

    /// First and last entry of each read.
    type Asked = Vec<(u64, u64)>;

    const NETWORK: NetworkId = NetworkId([7; 32]);

    /// A ledger as a leader makes it; whether it is committed, the test says.
    struct Made {
        term: Term,
        key: SigningKey,
        keyring: SealKeyring,
        sealer: Sealer,
        entries: Vec<Bytes>,
        tree: Tree,
        /// Entry of each batch.
        batches: Vec<Index>,
    }

    impl Keys for Made {
        fn of(&self, node: NodeId) -> Option<PublicKey> {
            (node == NodeId(1)).then(|| *self.key.public())
        }

        fn leaf(&self, header: &Header, bytes: &Bytes, position: u32) -> Result<Leaf, String> {
            let opened = self.keyring.open(bytes, self.key.public());
            let opened = opened.map_err(|e| e.to_string())?;
            let claim = opened.claims.get(position as usize).ok_or("no such")?;
            let evidence = self.keyring.evidence(header).map_err(|e| e.to_string())?;
            Ok(evidence.leaf(header, position, *claim))
        }
    }

    impl Made {
        /// `b3` is a batch of three, `s` a signature, `t` an entry without transactions.
        fn script(script: &str) -> Self {
            let key = SigningKey::generate(&mut Entropy::new(&[1; 32]));
            let mut keyring = SealKeyring::new();
            keyring.insert(Epoch(1), Zeroizing::new([1; 32]));
            let mut made = Self {
                term: Term(2),
                sealer: Sealer::new(NodeId(1), key.public()),
                key,
                keyring,
                entries: Vec::new(),
                tree: Tree::default(),
                batches: Vec::new(),
            };
            made.go_on(script);
            made
        }

        fn go_on(&mut self, script: &str) {
            for word in script.split_whitespace() {
                let kind = match word.split_at(1) {
                    ("b", _) => Kind::Application {
                        protocol: 0,
                        height: Height(self.batches.len() as u64 + 1),
                    },
                    ("s", _) => Kind::Signature,
                    _ => Kind::TermOpened,
                };
                self.append(kind, word[1..].parse().unwrap_or(0));
            }
        }

        /// The next leader's view: entries from `from` on were rolled back.
        fn truncate(&mut self, from: Index, term: Term) {
            self.term = term;
            self.entries.truncate(from.previous().0 as usize);
            self.batches.retain(|index| *index < from);
            self.tree.truncate(from);
        }

        fn append(&mut self, kind: Kind, units: u64) {
            let index = Index(self.entries.len() as u64 + 1);
            let header = Header {
                kind,
                restarts: 0,
                term: self.term,
                index,
                epoch: Epoch(1),
                time: Millis(1000 + index.0),
                sealer: NodeId(1),
                previous: Digest::ZERO,
            };
            let claims: Vec<Digest> = (0..units)
                .map(|n| sha256(&[index.0.to_be_bytes(), n.to_be_bytes()].concat()))
                .collect();
            let root = (kind == Kind::Signature)
                .then(|| sign_root(&self.key, NETWORK, &header, self.tree.frontier()));
            let public: Vec<&[u8]> = root.iter().map(Vec::as_slice).collect();
            let content = Content {
                claims: &claims,
                public: &public,
                private: &[b"body"],
            };
            let sealed = self.sealer.seal(&self.keyring, &header, content);
            let sealed = sealed.expect("small");
            self.tree.append(index, sealed.leaves);
            self.entries.push(sealed.bytes);
            if units > 0 {
                self.batches.push(index);
            }
        }

        /// The first leaf of a batch.
        fn leaf_of(&self, height: Height) -> Leaf {
            let index = self.batches[usize::try_from(height.0).expect("small") - 1];
            let bytes = &self.entries[usize::try_from(index.0).expect("small") - 1];
            let header = inspect(bytes).expect("just made").header;
            self.leaf(&header, bytes, 0).expect("made here")
        }

        /// Gathers with a host that gives at most `at_once` entries, and says what it was asked for.
        fn receipt(
            &self,
            height: Height,
            position: u32,
            committed: Index,
            recent: &Tree,
            at_once: usize,
        ) -> (Result<Vec<u8>, String>, Asked) {
            let index = self.batches[usize::try_from(height.0).expect("small") - 1];
            let mut gathering = Gathering::new(index, position);
            let mut asked = Vec::new();
            loop {
                match gathering.step(committed, recent) {
                    Step::Wait => return (Err("waits".into()), asked),
                    Step::TooFar => return (Err("too far".into()), asked),
                    Step::Complete => {
                        return (gathering.finish(recent, self.key.public(), b"der"), asked);
                    }
                    Step::Read { first, last } => {
                        assert!(first <= last && last <= committed, "{first} to {last}");
                        asked.push((first.0, last.0));
                        for index in (first.0..=last.0).take(at_once) {
                            let bytes = &self.entries[usize::try_from(index).expect("small") - 1];
                            let header = inspect(bytes).expect("just made").header;
                            let taken = gathering.take(&header, bytes, self, 0, height);
                            if let Err(reason) = taken {
                                return (Err(reason), asked);
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn every_transaction_has_one_receipt_from_memory_or_from_files_however_they_are_read() {
        let far = "t ".repeat(40);
        let script = format!("t b2 b1 s b4 b1 t b3 s {far} b2 {far} b7 b1 s s b1 s");
        let made = Made::script(&script);
        let committed = Index(made.entries.len() as u64);
        let mut count = 0;
        for (height, index) in (1..).map(Height).zip(&made.batches) {
            let opened = made
                .keyring
                .open(&made.entries[index.0 as usize - 1], made.key.public())
                .expect("made here");
            for (position, claim) in (0..).zip(&opened.claims) {
                let [memory, files, slowly] = [
                    (&made.tree, 16),
                    (&Tree::default(), 16),
                    (&Tree::default(), 1),
                ]
                .map(|(tree, at_once)| made.receipt(height, position, committed, tree, at_once).0);
                let receipt = memory.expect("committed and signed");
                assert_eq!(files.as_ref(), Ok(&receipt));
                assert_eq!(slowly.as_ref(), Ok(&receipt));
                let proved = ledger::verify_receipt(&receipt, made.key.public(), *claim);
                let leaf = proved.expect("verified before it left").leaf;
                assert_eq!((leaf.header.index, leaf.position), (*index, position));
                count += 1;
            }
            let beyond = u32::try_from(opened.claims.len()).expect("small");
            let none = made.receipt(height, beyond, committed, &made.tree, 16).0;
            assert_eq!(none, Err("no such".to_owned()));
        }
        assert_eq!(count, 22);
    }

    /// A leader sealed and signed them, and its host has them; they may be rolled back yet.
    #[test]
    fn nothing_that_is_not_committed_is_read_and_evidence_waits_for_its_signature() {
        let made = Made::script("t b2 b1 s b1 s");
        // Entry 5 is committed, the signature over it is not.
        let (result, asked) = made.receipt(Height(3), 0, Index(5), &Tree::default(), 16);
        assert_eq!(result, Err("waits".to_owned()));
        assert_eq!(asked, [(5, 5)]);
        let (result, asked) = made.receipt(Height(3), 0, Index(6), &Tree::default(), 16);
        result.expect("signed and committed");
        assert_eq!(asked, [(5, 6), (1, 4)]);
    }

    /// The hardest case: a leader of term 2 sealed a batch and signed over it, and fell; the leader of
    /// term 3 put others in their places. Both pairs are authentic, and the host keeps both.
    #[test]
    fn what_was_rolled_back_is_never_receipted_though_its_leader_signed_it() {
        let mut made = Made::script("t b2 s b1 s");
        let rolled_back = made.entries[3..].to_vec();
        made.truncate(Index(4), Term(3));
        made.go_on("t b1 s");
        let mut order = crate::order::Order::new(Sealer::new(NodeId(2), made.key.public()));
        for bytes in &made.entries {
            let entry = inspect(bytes).expect("just made");
            order.advance(&entry.header, entry.digest);
        }
        // What the check of a read asks of every entry, before it comes here.
        let is_committed =
            |bytes: &Bytes| order.is_committed(&inspect(bytes).expect("just made").header);
        assert!(made.entries.iter().all(is_committed));
        assert!(!rolled_back.iter().any(is_committed));
        // And what is in those places now has its receipt.
        let (result, _) = made.receipt(Height(2), 0, order.committed, &Tree::default(), 16);
        let receipt = result.expect("committed and signed");
        let claim = made.leaf_of(Height(2)).claim;
        let proved = ledger::verify_receipt(&receipt, made.key.public(), claim);
        assert_eq!(proved.expect("valid").leaf.header.term, Term(3));
        // Without that check the old pair would convince: it is the check that matters.
        made.entries.splice(3.., rolled_back);
        made.batches[1] = Index(4);
        made.receipt(Height(2), 0, Index(5), &Tree::default(), 16)
            .0
            .expect("authentic");
    }

    #[test]
    fn a_host_that_leaves_entries_out_gets_no_receipt_made() {
        let made = Made::script("t b2 b1 s b1 s");
        let mut gathering = Gathering::new(Index(2), 0);
        let give = |gathering: &mut Gathering, index: usize| {
            let bytes = &made.entries[index - 1];
            let header = inspect(bytes).expect("just made").header;
            gathering.take(&header, bytes, &made, 0, Height(1))
        };
        give(&mut gathering, 2).expect("asked for");
        assert_eq!(
            give(&mut gathering, 4),
            Err("the host left an entry out".to_owned())
        );
    }

    #[test]
    fn a_leader_that_never_signs_bounds_what_is_read() {
        let made = Made::script(&format!("b1 {}", "t ".repeat(5000)));
        let committed = Index(made.entries.len() as u64);
        let (result, asked) = made.receipt(Height(1), 0, committed, &Tree::default(), 16);
        assert_eq!(result, Err("too far".to_owned()));
        assert!(asked.len() as u64 <= ENTRIES_MAX / READ_ENTRIES + 1);
    }
}
