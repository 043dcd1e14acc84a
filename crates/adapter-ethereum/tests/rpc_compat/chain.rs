//! A foreign chain in the machine, and the front's view of it.
//!
//! Rules are data, and a foreign chain's change with every block: each block begins with a genesis
//! that has no accounts, on the state of its parent, which writes the block's rules and makes the
//! calls that its fork begins with. What consensus pays (rewards, withdrawals) comes the same way. Gas,
//! receipts root and state root of every block are compared with its real header, which then takes the
//! place of ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use adapter::{Batch, Caller, Claim, Context, Fate, Machine, Missing, Outcome, Reject, Unit, View};
use adapter_ethereum::{
    Alloc, Fork, HEADER, META, Profile, Receipt, Replay, Roots, Rules, Settings, account,
};
use alloy_consensus::{Block, Eip658Value, Header, ReceiptEnvelope, ReceiptWithBloom, TxType};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_rlp::Decodable;
use alloy_trie::root::ordered_trie_root_with_encoder;
use bytes::Bytes;
use serde_json::Value;
use types::{Height, Index, Millis, Term, UnitId};

use crate::common::root::root;
use crate::common::{Memory, caller, unit};

type Foreign = Block<adapter_ethereum::Envelope>;

/// See the module's head.
#[derive(Clone)]
pub struct Chain {
    machine: Arc<dyn Machine>,
    memory: Memory,
    batches: BTreeMap<u64, Arc<Batch>>,
    names: BTreeMap<[u8; 32], Height>,
    notes: BTreeMap<u64, Bytes>,
    fates: BTreeMap<UnitId, (Height, u32)>,
    headers: Vec<(B256, Header)>,
    /// Transactions that wait for an earlier nonce.
    waiting: BTreeMap<UnitId, Bytes>,
    now: Millis,
}

/// The schedule of `genesis.json`.
pub struct Schedule(pub Value);

impl Schedule {
    fn fork(&self, header: &Header) -> (Fork, u64) {
        let since = |name: &str, now: u64| self.0[name].as_u64().is_some_and(|then| then <= now);
        let time = [
            ("bpo2Time", Fork::Osaka, "bpo2"),
            ("bpo1Time", Fork::Osaka, "bpo1"),
            ("osakaTime", Fork::Osaka, "osaka"),
            ("pragueTime", Fork::Prague, "prague"),
            ("cancunTime", Fork::Cancun, "cancun"),
            ("shanghaiTime", Fork::Shanghai, ""),
        ];
        for (name, fork, blobs) in time {
            if since(name, header.timestamp) {
                let fraction = self.0["blobSchedule"][blobs]["baseFeeUpdateFraction"].as_u64();
                return (fork, fraction.unwrap_or(0));
            }
        }
        let numbers = [
            ("mergeNetsplitBlock", Fork::Paris),
            ("londonBlock", Fork::London),
            ("berlinBlock", Fork::Berlin),
            ("istanbulBlock", Fork::Istanbul),
            // Their difference, a gas of SSTORE that no other chain had, does not show in these blocks.
            ("constantinopleBlock", Fork::Petersburg),
            ("byzantiumBlock", Fork::Byzantium),
            ("eip158Block", Fork::SpuriousDragon),
            ("eip150Block", Fork::TangerineWhistle),
        ];
        let found = numbers
            .into_iter()
            .find(|(name, _)| since(name, header.number));
        (found.map_or(Fork::Homestead, |(_, fork)| fork), 0)
    }

    fn reward(&self, header: &Header) -> U256 {
        let ether = match self.fork(header).0 {
            fork if fork >= Fork::Paris => 0,
            fork if fork >= Fork::Petersburg => 2,
            fork if fork >= Fork::Byzantium => 3,
            _ => 5,
        };
        U256::from(ether) * U256::from(10).pow(U256::from(18))
    }
}

fn replay(
    chain_id: u64,
    header: &Header,
    (fork, blob_base_fee_update_fraction): (Fork, u64),
    block_hashes: BTreeMap<String, B256>,
    system_calls: bool,
) -> Rules {
    Rules {
        fork,
        gas_limit: header.gas_limit,
        profile: Profile::Transparent,
        roots: Roots::Plain,
        states_kept: 60,
        replay: Some(Replay {
            number: header.number,
            timestamp: header.timestamp,
            coinbase: header.beneficiary,
            base_fee_per_gas: header.base_fee_per_gas.unwrap_or(0),
            prev_randao: header.mix_hash,
            difficulty: header.difficulty,
            excess_blob_gas: header.excess_blob_gas.unwrap_or(0),
            blob_base_fee_update_fraction,
            parent_hash: header.parent_hash,
            parent_beacon_block_root: header.parent_beacon_block_root.unwrap_or_default(),
            block_hashes,
            system_calls,
        }),
        ..Rules::network(chain_id)
    }
}

impl Chain {
    /// The first block of a chain. Its header comes with the second.
    pub fn genesis(json: &Value) -> Self {
        let chain_id = json["config"]["chainId"].as_u64().expect("a chain id");
        let nothing = Header::default();
        let settings = Settings {
            rules: replay(
                chain_id,
                &nothing,
                (Fork::Homestead, 0),
                BTreeMap::new(),
                false,
            ),
            timestamp: 0,
            alloc: serde_json::from_value(json["alloc"].clone()).expect("accounts"),
            codes: BTreeMap::new(),
        };
        let (machine, memory) = crate::common::started(&settings.to_json());
        let mut chain = Self {
            machine,
            memory,
            batches: BTreeMap::new(),
            names: BTreeMap::new(),
            notes: BTreeMap::new(),
            fates: BTreeMap::new(),
            headers: Vec::new(),
            waiting: BTreeMap::new(),
            now: Millis(0),
        };
        let text = |name: &str| json[name].as_str().expect("text").to_owned();
        let number = |name: &str| text(name).parse::<U256>().expect("a quantity").to::<u64>();
        let header = Header {
            state_root: root(&chain.memory),
            ommers_hash: alloy_consensus::constants::EMPTY_OMMER_ROOT_HASH,
            transactions_root: alloy_consensus::constants::EMPTY_ROOT_HASH,
            receipts_root: alloy_consensus::constants::EMPTY_ROOT_HASH,
            difficulty: text("difficulty").parse().expect("a quantity"),
            extra_data: text("extraData").parse().expect("bytes"),
            gas_limit: number("gasLimit"),
            timestamp: number("timestamp"),
            ..Header::default()
        };
        chain.put_header(header);
        chain
    }

    fn put_header(&mut self, header: Header) -> Bytes {
        let rlp = Bytes::from(alloy_rlp::encode(&header));
        let hash = keccak256(&rlp);
        let stored = [hash.as_slice(), &rlp].concat();
        let key = Bytes::copy_from_slice(&header.number.to_be_bytes());
        self.memory.map.insert((HEADER, key), stored.into());
        self.headers
            .truncate(usize::try_from(header.number).expect("small"));
        self.headers.push((hash, header));
        rlp
    }

    /// A genesis on the present state.
    fn begin(&mut self, rules: Rules, alloc: BTreeMap<Address, Alloc>) {
        let settings = Settings {
            rules,
            timestamp: 0,
            alloc,
            codes: BTreeMap::new(),
        };
        let bytes = settings.to_json().into_bytes().into();
        let settings = adapter::Settings { bytes };
        self.machine
            .genesis(&settings, &mut self.memory)
            .expect("usable settings");
        // It has put a header of its own at this height.
        let (_, real) = self.headers.last().expect("at least the first").clone();
        self.put_header(real);
    }

    fn rules(&self, header: &Header, schedule: &Schedule, system_calls: bool) -> Rules {
        let block_hashes = self
            .headers
            .iter()
            .filter(|(_, known)| {
                known.number < header.number && known.number + 256 >= header.number
            })
            .map(|(hash, known)| (known.number.to_string(), *hash))
            .collect();
        let chain_id = schedule.0["chainId"].as_u64().expect("a chain id");
        replay(
            chain_id,
            header,
            schedule.fork(header),
            block_hashes,
            system_calls,
        )
    }

    /// Executes the next block and compares what came out with its header.
    pub fn import(&mut self, block: &Foreign, schedule: &Schedule) {
        let header = &block.header;
        let number = header.number;
        let (parent, _) = self.headers.last().expect("at least the first");
        assert_eq!(*parent, header.parent_hash, "block {number}");
        let rules = self.rules(header, schedule, true);
        // What its fork does first belongs to the block.
        let height = self.memory.env.height;
        self.memory.env.height = height.next();
        self.begin(rules.clone(), BTreeMap::new());
        self.memory.env.height = height;
        let units: Vec<Unit> = block
            .body
            .transactions
            .iter()
            .map(|transaction| {
                let raw = Bytes::from(transaction.encoded_2718());
                unit(&*self.machine, &self.memory, raw)
                    .unwrap_or_else(|e| panic!("block {number}: {e}"))
            })
            .collect();
        let receipts = self
            .execute(units)
            .unwrap_or_else(|e| panic!("block {number}: {e}"));

        self.begin(
            self.rules(header, schedule, false),
            self.paid(block, schedule),
        );
        let decoded: Vec<_> = receipts
            .iter()
            .map(|bytes| Receipt::decode(bytes).expect("ours"))
            .collect();
        let used: u64 = decoded.iter().map(|receipt| receipt.gas_used).sum();
        assert_eq!(used, header.gas_used, "block {number}");
        if rules.fork >= Fork::Byzantium {
            let types = block.body.transactions.iter().map(|t| t.tx_type());
            let found = receipts_root(&decoded, &types.collect::<Vec<_>>());
            assert_eq!(found, header.receipts_root, "block {number}: receipts");
        }
        assert_eq!(
            root(&self.memory),
            header.state_root,
            "block {number}: state"
        );
        // The network's own tries say the same.
        let own = self.memory.map.get(&(META, Bytes::from_static(b"root")));
        let own = own.map(|root| B256::from_slice(root));
        assert_eq!(own, Some(header.state_root), "block {number}: tries");
        let rlp = self.put_header(header.clone());
        self.file(rlp);
    }

    /// Executes and seals the next height, be it empty.
    fn execute(&mut self, units: Vec<Unit>) -> Result<Vec<Bytes>, Reject> {
        self.memory.next_batch();
        let outcomes = self
            .machine
            .execute_all(&units, &mut self.memory)
            .expect("memory is never lost");
        let receipts: Vec<Bytes> = outcomes
            .iter()
            .map(|outcome| match outcome {
                Outcome::Applied { receipt } => Ok(receipt.clone()),
                Outcome::Rejected(reject) => Err(reject.clone()),
                Outcome::Suspended(call) => unreachable!("nothing calls outside: {call:?}"),
            })
            .collect::<Result<_, _>>()?;
        let claim = self
            .machine
            .seal(&units, &outcomes, &mut self.memory)
            .expect("memory is never lost");
        let env = self.memory.env.clone();
        let batch = Batch {
            height: env.height,
            time: env.time,
            env,
            claim,
            units: units.into_iter().zip(receipts.iter().cloned()).collect(),
            events: Vec::new(),
            index: Index(self.memory.env.height.0 + 1),
            term: Term(1),
        };
        let header = Header::decode(&mut batch.claim.bytes.as_ref()).expect("ours");
        self.batches.insert(batch.height.0, Arc::new(batch));
        self.put_header(header);
        Ok(receipts)
    }

    /// Blocks that follow begin and end with the calls that the last one's fork makes.
    pub fn opens_blocks(&mut self, schedule: &Schedule) {
        let (_, header) = self.headers.last().expect("at least the first").clone();
        let rules = self.rules(&header, schedule, true);
        let rules = serde_json::to_vec(&rules).expect("plain data");
        let key = Bytes::from_static(b"rules");
        self.memory.map.insert((META, key), rules.into());
    }

    /// The number of the block that a request names first, by number, by hash, or by a transaction.
    pub fn named_first(&self, request: &Value) -> Option<u64> {
        let text = request["params"][0].as_str()?.strip_prefix("0x")?;
        if text.len() < 64 {
            return u64::from_str_radix(text, 16).ok();
        }
        let mut hash = [0; 32];
        hex::decode_to_slice(text, &mut hash).ok()?;
        let block = self.names.get(&hash).map(|height| height.0);
        let fate = self.fates.get(&UnitId(hash));
        block.or(fate.map(|(height, _)| height.0))
    }

    /// Makes the batch at the head findable, under this header.
    fn file(&mut self, rlp: Bytes) {
        let height = self.memory.env.height;
        let batch = self.batches.get_mut(&height.0).expect("just executed");
        Arc::make_mut(batch).claim = Claim { bytes: rlp };
        let filed = self.machine.file(batch);
        self.names
            .insert(filed.name.expect("blocks have names").0, height);
        self.notes.insert(height.0, filed.note);
        for (position, (unit, _)) in (0..).zip(&batch.units) {
            self.fates.insert(unit.id, (height, position));
        }
    }

    /// Rewards and withdrawals, which no transaction makes, as accounts with their new balance.
    fn paid(&self, block: &Foreign, schedule: &Schedule) -> BTreeMap<Address, Alloc> {
        let reward = schedule.reward(&block.header);
        let mut paid = BTreeMap::new();
        if !reward.is_zero() {
            // Yellow Paper, 11.3: a share for each ommer, and for whoever included it.
            let ommers = &block.body.ommers;
            let own = reward + reward * U256::from(ommers.len()) / U256::from(32);
            paid.insert(block.header.beneficiary, own);
            for ommer in ommers {
                let share = reward * U256::from(8 + ommer.number - block.header.number);
                *paid.entry(ommer.beneficiary).or_default() += share / U256::from(8);
            }
        }
        for withdrawal in block.body.withdrawals.iter().flatten() {
            let wei = U256::from(withdrawal.amount) * U256::from(1_000_000_000);
            *paid.entry(withdrawal.address).or_default() += wei;
        }
        paid.into_iter()
            .map(|(address, wei)| {
                let record = account(&self.memory, &address).expect("never lost");
                let record = record.unwrap_or_default();
                let alloc = Alloc {
                    balance: record.balance + wei,
                    nonce: record.nonce,
                    code_hash: Some(record.code_hash),
                    ..Alloc::default()
                };
                (address, alloc)
            })
            .collect()
    }
}

fn receipts_root(receipts: &[Receipt], types: &[TxType]) -> B256 {
    let mut total = 0;
    let envelopes: Vec<ReceiptEnvelope> = receipts
        .iter()
        .zip(types)
        .map(|(receipt, kind)| {
            total += receipt.gas_used;
            let bloom = ReceiptWithBloom::from(alloy_consensus::Receipt {
                status: Eip658Value::Eip658(receipt.success()),
                cumulative_gas_used: total,
                logs: receipt.logs.clone(),
            });
            ReceiptEnvelope::from_typed(*kind, bloom)
        })
        .collect();
    ordered_trie_root_with_encoder(&envelopes, |receipt, out| receipt.encode_2718(out))
}

impl Context for Chain {
    fn now(&self) -> Millis {
        self.now
    }

    fn view(&self) -> &dyn View {
        &self.memory
    }

    fn submit(&mut self, _: &Caller, raw: Bytes) -> Result<UnitId, Reject> {
        let ticket = self.machine.admit(&self.memory, &caller(), &raw)?;
        if ticket.lane_seq > ticket.lane_next {
            self.waiting.insert(ticket.id, raw);
            return Ok(ticket.id);
        }
        let unit = unit(&*self.machine, &self.memory, raw)?;
        self.execute(vec![unit])?;
        let batch = self.batches.last_key_value().expect("just executed").1;
        self.file(batch.claim.bytes.clone());
        Ok(ticket.id)
    }

    fn fate(&mut self, unit: &UnitId) -> Result<Fate, Missing> {
        Ok(match self.fates.get(unit) {
            Some((height, position)) => Fate::Committed {
                height: *height,
                position: *position,
            },
            None if self.waiting.contains_key(unit) => Fate::Pending,
            None => Fate::Absent,
        })
    }

    fn pending(&self, unit: &UnitId) -> Option<Bytes> {
        self.waiting.get(unit).cloned()
    }

    fn place(&self, unit: &UnitId) -> Option<(Bytes, u64)> {
        let raw = self.waiting.get(unit)?;
        let ticket = self.machine.admit(&self.memory, &caller(), raw).ok()?;
        Some((ticket.lane, ticket.lane_seq))
    }

    fn lane_next(&self, _: &[u8]) -> Option<u64> {
        None
    }

    fn waiting(&self, max: usize) -> Vec<Unit> {
        let admitted = |raw: &Bytes| unit(&*self.machine, &self.memory, raw.clone()).ok();
        self.waiting
            .values()
            .filter_map(admitted)
            .take(max)
            .collect()
    }

    fn batch(&mut self, height: Height) -> Result<Option<Arc<Batch>>, Missing> {
        Ok(self.batches.get(&height.0).cloned())
    }

    fn named(&mut self, name: &[u8; 32]) -> Result<Option<Height>, Missing> {
        Ok(self.names.get(name).copied())
    }

    fn note(&self, height: Height) -> Option<&[u8]> {
        self.notes.get(&height.0).map(AsRef::as_ref)
    }

    fn linear(&mut self) -> bool {
        true
    }

    fn wake_at(&mut self, time: Millis) {
        self.now = self.now.max(time);
    }
}
