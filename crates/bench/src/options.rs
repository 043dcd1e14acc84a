//! What is measured, and what can go wrong.

use std::path::PathBuf;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Transfers of 1 wei between many accounts.
    Transfer,
    /// Transfers of one unit of an ERC-20 token between many accounts.
    Erc20,
    /// Writes of distinct keys to the key-value protocol.
    Kv,
    /// Reads of existing keys, each from the node that is asked.
    KvRead,
    /// `eth_call` of a token's `balanceOf`, each at the node that is asked.
    Call,
    /// 2,000 real transactions of Ethereum's mainnet in their order, with known results.
    Mainnet,
}

impl Workload {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Transfer => "transfer",
            Self::Erc20 => "erc20",
            Self::Kv => "kv",
            Self::KvRead => "kv-read",
            Self::Call => "call",
            Self::Mainnet => "mainnet",
        }
    }

    /// Whether it changes nothing.
    pub fn only_reads(self) -> bool {
        matches!(self, Self::KvRead | Self::Call)
    }

    /// The protocol that it needs.
    pub fn protocol(self) -> &'static str {
        match self {
            Self::Kv | Self::KvRead => "kv",
            _ => "ethereum",
        }
    }
}

/// Which nodes the load goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// Connections are spread over all nodes.
    All,
    /// Only to the node that leads when the measurement begins.
    Leader,
    /// Only to nodes that do not lead then.
    Followers,
}

impl Via {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Leader => "leader",
            Self::Followers => "followers",
        }
    }
}

/// A measurement.
#[derive(Debug, Clone)]
pub struct Options {
    pub workload: Workload,
    /// Transactions that are measured. `mainnet` has 2,000 at most.
    pub transactions: usize,
    /// Transactions that are sent before and not measured.
    pub warm_up: usize,
    /// Transactions in one request.
    pub batch: usize,
    pub connections: usize,
    /// Unanswered requests on each connection.
    pub in_flight: usize,
    pub via: Via,
    /// Transactions a second that arrive whatever the answers do (open loop); `None`: as fast as
    /// answers come (closed loop).
    pub rate: Option<f64>,
    /// Accounts that send (`transfer`, `erc20`).
    pub senders: usize,
    /// Bytes of each value (`kv`).
    pub value_bytes: usize,
    /// Whether a request is finished only when the receipts of its transactions were asked for and
    /// are all there, as an Ethereum client would do it.
    pub receipts: bool,
    /// Whether the network keeps from each actor what does not concern it.
    pub confidential: bool,
    /// What transactions look like.
    pub form: Form,
    /// Directory of the test data (`mainnet/`, `contracts/`).
    pub data: Option<PathBuf>,
}

/// What transactions look like, and where requests go. A network that is made for a measurement takes
/// the default; somebody else's says what it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    pub chain_id: u64,
    /// `None`: EIP-1559 transactions, as every newer node takes them. Else legacy transactions
    /// (EIP-155) at this price, for nodes from before 2021.
    pub gas_price_wei: Option<u128>,
    /// The path of requests.
    pub path: String,
    /// The first nonce of each sender; 0 for senders past the end.
    pub nonces: Vec<u64>,
}

impl Default for Form {
    fn default() -> Self {
        Self {
            chain_id: 31337,
            gas_price_wei: None,
            path: "/".into(),
            nonces: Vec::new(),
        }
    }
}

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// An option or a file of the caller.
    #[error("{0}")]
    Input(String),
    /// The network could not be measured.
    #[error("{0}")]
    Failed(String),
    /// The network gave a wrong result.
    #[error("{0}")]
    Wrong(String),
}

impl From<client::Problem> for Problem {
    fn from(problem: client::Problem) -> Self {
        Self::Failed(problem.to_string())
    }
}

impl Options {
    /// A small measurement of a workload in a transparent network, to be changed from.
    pub fn new(workload: Workload, transactions: usize) -> Self {
        Self {
            workload,
            transactions,
            warm_up: 0,
            batch: 1,
            connections: 1,
            in_flight: 1,
            via: Via::All,
            rate: None,
            senders: transactions.max(1),
            value_bytes: 256,
            receipts: false,
            confidential: false,
            form: Form::default(),
            data: None,
        }
    }

    /// # Errors
    /// [`Problem::Input`] names the option.
    pub fn check(&self) -> Result<(), Problem> {
        let refuse = |text: &str| Err(Problem::Input(text.to_owned()));
        if self.transactions == 0 {
            return refuse("--transactions must be at least 1");
        }
        if self.batch == 0 || self.batch > 1000 {
            return refuse("--batch must be 1 to 1000: a node takes no more calls in one request");
        }
        if self.workload == Workload::Kv && self.batch > 512 {
            return refuse("--batch must be 1 to 512 for kv: a node takes no more in one request");
        }
        if self.workload == Workload::KvRead && self.batch > 1 {
            return refuse("--batch must be 1 for kv-read: a request reads one key");
        }
        if self.connections == 0 || self.in_flight == 0 {
            return refuse("--connections and --in-flight must be at least 1");
        }
        if self
            .rate
            .is_some_and(|rate| !rate.is_finite() || rate <= 0.0)
        {
            return refuse("--rate must be above 0");
        }
        if self.receipts && self.rate.is_some() {
            return refuse("--await receipts waits before it sends: it takes no --rate");
        }
        if self.receipts && (self.workload.protocol() != "ethereum" || self.workload.only_reads()) {
            return refuse("--await receipts is for Ethereum transactions");
        }
        if self.confidential && self.workload == Workload::Mainnet {
            return refuse("mainnet is replayed as it was: it takes --profile transparent");
        }
        if self.workload == Workload::Mainnet && (self.connections > 1 || self.warm_up > 0) {
            return refuse(
                "mainnet transactions build on one another: it takes --connections 1 and no --warm-up",
            );
        }
        if matches!(
            self.workload,
            Workload::Transfer | Workload::Erc20 | Workload::Call
        ) && self.senders == 0
        {
            return refuse("--senders must be at least 1");
        }
        Ok(())
    }
}
