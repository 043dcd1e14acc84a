//! The key-value load on etcd: `Put` and `Range` of its version 3 interface (gRPC over HTTP/2).
//!
//! etcd also has a JSON gateway, which is a proxy in front of gRPC inside the same process and costs it
//! about half of its throughput, so it would not be the peer's best form. Two messages of two fields each
//! do not need a generator: they are written by hand from `rpc.proto` of etcd 3.4.
//!
//! An answer to `Put` comes when a majority has the entry on disk: the client's knowledge of the commit,
//! as with Coco. Reads are serializable: answered by the member that is asked, as `kv-read` is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use h2::client::SendRequest;
use http::Request;
use tokio::net::TcpStream;

use crate::figures::Spread;
use crate::measure::{Run, microseconds};
use crate::{Options, Problem, Workload, load};

/// Streams on one HTTP/2 connection: etcd takes as many as a client asks for; its own benchmark uses
/// some ten clients on each.
const STREAMS_MAX: usize = 100;

const PATIENCE: Duration = Duration::from_secs(30);

/// Reads `etcd://HOST:PORT,HOST:PORT`.
///
/// # Errors
/// [`Problem::Input`] for another form.
pub fn members(url: &str) -> Result<Vec<String>, Problem> {
    let rest = url.strip_prefix("etcd://").unwrap_or_default();
    let listed: Vec<String> = rest
        .split(',')
        .filter(|part| !part.is_empty())
        .map(|part| part.trim_end_matches('/').to_owned())
        .collect();
    if listed.is_empty() || listed.iter().any(|member| !member.contains(':')) {
        return Err(Problem::Input(format!(
            "--against {url}: the form is etcd://HOST:PORT, with more members after commas"
        )));
    }
    Ok(listed)
}

/// Sends the load to the members in turn: `connections` clients with `in_flight` requests each.
///
/// # Errors
/// [`Problem::Failed`] if etcd does not answer or refuses.
pub fn measure_etcd(options: &Options, members: &[String]) -> Result<Run, Problem> {
    options.check()?;
    if options.workload.protocol() != "kv" || options.batch != 1 || options.rate.is_some() {
        return Err(Problem::Input(
            "--against etcd takes kv and kv-read with --batch 1, and no --rate".into(),
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Problem::Failed(format!("start the clients: {error}")))?;
    runtime.block_on(async {
        let clients = options.connections * options.in_flight;
        let mut doors = Vec::new();
        for place in 0..clients.div_ceil(STREAMS_MAX).max(members.len()) {
            doors.push(Client::open(&members[place % members.len()]).await?);
        }
        let reads = options.workload == Workload::KvRead;
        if reads {
            let keys = Options {
                transactions: load::READ_KEYS,
                ..options.clone()
            };
            send(&keys, 0, load::READ_KEYS, &doors, false).await?;
        }
        send(options, 0, options.warm_up, &doors, reads).await?;
        let began = Instant::now();
        let times = send(
            options,
            options.warm_up,
            options.transactions,
            &doors,
            reads,
        )
        .await?;
        Ok(Run {
            transactions: times.len(),
            refused: 0,
            first_refusal: None,
            seconds: began.elapsed().as_secs_f64(),
            accepted: Spread::default(),
            committed: Spread::of(times),
            everywhere: Spread::default(),
            block_sizes: Vec::new(),
            used: Vec::new(),
        })
    })
}

/// Sends `count` requests from `first` on, spread over all clients, and gives the time of each.
async fn send(
    options: &Options,
    first: usize,
    count: usize,
    doors: &[Client],
    reads: bool,
) -> Result<Vec<u64>, Problem> {
    // Encoded before the clock starts, as everywhere here.
    let message = |place: usize| {
        if reads {
            range(&load::key(place % load::READ_KEYS))
        } else {
            put(&load::key(place), load::value(options, place).as_bytes())
        }
    };
    let clients = options.connections * options.in_flight;
    let mut queues = vec![VecDeque::new(); clients];
    for place in first..first + count {
        queues[place % clients].push_back(message(place));
    }
    let mut tasks = tokio::task::JoinSet::new();
    for (place, queue) in queues.into_iter().enumerate() {
        let mut client = doors[place % doors.len()].clone();
        let method = if reads { "Range" } else { "Put" };
        tasks.spawn(async move {
            let mut times = Vec::with_capacity(queue.len());
            for message in queue {
                let began = Instant::now();
                client.call(method, message).await?;
                times.push(microseconds(began.elapsed()));
            }
            Ok::<_, Problem>(times)
        });
    }
    let mut times = Vec::with_capacity(count);
    while let Some(ended) = tasks.join_next().await {
        times.extend(ended.map_err(|error| Problem::Failed(error.to_string()))??);
    }
    Ok(times)
}

/// One HTTP/2 connection to a member.
#[derive(Clone)]
struct Client {
    sender: SendRequest<Bytes>,
    address: String,
}

impl Client {
    async fn open(address: &str) -> Result<Self, Problem> {
        let told =
            |error: String| Problem::Failed(format!("connect to etcd at {address}: {error}"));
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| told(error.to_string()))?;
        stream
            .set_nodelay(true)
            .map_err(|error| told(error.to_string()))?;
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(1 << 20)
            .initial_connection_window_size(8 << 20)
            .handshake(stream)
            .await
            .map_err(|error| told(error.to_string()))?;
        // Its end is seen by the calls.
        tokio::spawn(connection);
        Ok(Self {
            sender,
            address: address.to_owned(),
        })
    }

    /// One unary call (gRPC over HTTP/2: "Requests", "Responses").
    async fn call(&mut self, method: &str, message: Bytes) -> Result<(), Problem> {
        let address = self.address.clone();
        let failed = |what: &str| Problem::Failed(format!("etcd at {address}: {method}: {what}"));
        let request = Request::post(format!("http://{address}/etcdserverpb.KV/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .map_err(|error| failed(&error.to_string()))?;
        let call = async {
            std::future::poll_fn(|context| self.sender.poll_ready(context)).await?;
            let (response, mut body) = self.sender.send_request(request, false)?;
            body.send_data(message, true)?;
            let response = response.await?;
            // An answer without a body carries its status in the head.
            let mut status = response.headers().get("grpc-status").cloned();
            let mut body = response.into_body();
            while let Some(data) = body.data().await {
                let length = data?.remaining();
                body.flow_control().release_capacity(length)?;
            }
            if let Some(trailers) = body.trailers().await? {
                status = trailers.get("grpc-status").cloned().or(status);
            }
            Ok::<_, h2::Error>(status)
        };
        let status = tokio::time::timeout(PATIENCE, call)
            .await
            .map_err(|_| failed("no answer"))?
            .map_err(|error| failed(&error.to_string()))?;
        match status {
            Some(status) if status == "0" => Ok(()),
            other => Err(failed(&format!("status {other:?}"))),
        }
    }
}

/// `PutRequest { key = 1, value = 2 }`
fn put(key: &str, value: &[u8]) -> Bytes {
    let mut message = Vec::with_capacity(key.len() + value.len() + 16);
    field(1, key.as_bytes(), &mut message);
    field(2, value, &mut message);
    framed(&message)
}

/// `RangeRequest { key = 1, serializable = 7 }`
fn range(key: &str) -> Bytes {
    let mut message = Vec::with_capacity(key.len() + 16);
    field(1, key.as_bytes(), &mut message);
    message.extend_from_slice(&[7 << 3, 1]);
    framed(&message)
}

/// A length-delimited field of a protobuf message.
fn field(number: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(number << 3 | 2);
    let mut length = bytes.len();
    while length > 0x7f {
        out.push((length & 0x7f) as u8 | 0x80); // seven bits
        length >>= 7;
    }
    out.push(length as u8); // below 128
    out.extend_from_slice(bytes);
}

/// gRPC's frame: not compressed, and a length.
fn framed(message: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(message.len() + 5);
    frame.push(0);
    // Keys and values are far below 4 GiB.
    frame.extend_from_slice(
        &u32::try_from(message.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    frame.extend_from_slice(message);
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_rpc_proto() {
        let long = [b'x'; 300];
        let message = put("k", &long);
        let head = [0, 0, 0, 1, 50, 0x0a, 1, b'k', 0x12, 0xac, 0x02];
        assert_eq!(message[..11], head);
        assert_eq!(message[11..], long);
        assert_eq!(range("k")[..], [0, 0, 0, 0, 5, 0x0a, 1, b'k', 0x38, 1]);
    }

    #[test]
    fn members_are_listed_with_commas() {
        let found = members("etcd://127.0.0.1:2379,127.0.0.1:2381/").expect("well-formed");
        assert_eq!(found, ["127.0.0.1:2379", "127.0.0.1:2381"]);
        assert!(members("etcd://").is_err() && members("http://a:1").is_err());
    }
}
