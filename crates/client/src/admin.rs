//! The administrative channel: status, nodes, network, constitution; and what members sign, handed in.

use serde_json::Value;

use crate::{ClientResponse, Entrance, Http, Identity, Problem, Retry, Surface, Trust};

/// Most bytes of a refusal that are shown.
const SHOWN_BYTES_MAX: usize = 1000;

/// A session with a node's administrative channel.
pub struct Admin {
    http: Http,
}

impl Admin {
    /// Connects to the first of `addresses` (`host:port`) that is there and is believed.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn open(
        identity: &Identity,
        trust: Trust,
        addresses: Vec<String>,
    ) -> Result<Self, Problem> {
        let entrance = Entrance::new(identity, trust, &Surface::Administrative)?;
        Ok(Self {
            http: Http::open(entrance, addresses)?,
        })
    }

    /// `GET /v1/status`: what this node does and how far it is.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn status(&mut self) -> Result<Value, Problem> {
        self.json("/v1/status")
    }

    /// `GET /v1/nodes`: the VN list, with who votes.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn nodes(&mut self) -> Result<Value, Problem> {
        self.json("/v1/nodes")
    }

    /// `GET /v1/network`: identity and name of the network.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn network(&mut self) -> Result<Value, Problem> {
        self.json("/v1/network")
    }

    /// `GET /v1/constitution`: the constitution in force.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn constitution(&mut self) -> Result<Value, Problem> {
        self.json("/v1/constitution")
    }

    /// Reads any resource of the channel as JSON.
    ///
    /// # Errors
    /// [`Problem::Refused`] with what the node says, or whatever kept it from answering.
    pub fn json(&mut self, target: &str) -> Result<Value, Problem> {
        let response = self
            .http
            .request("GET", target, &[], &[], Retry::Idempotent)?;
        self.read(&response)
    }

    fn read(&self, response: &ClientResponse) -> Result<Value, Problem> {
        let address = self.address();
        if !matches!(response.status, 200 | 202) {
            return Err(Problem::Refused {
                address,
                status: response.status,
                text: text(response),
            });
        }
        serde_json::from_slice(&response.body).map_err(|error| Problem::Misbehaved {
            address,
            reason: format!("not JSON: {error}"),
        })
    }

    /// Hands in a signed message (`governance::SignedMessage`) at `/v1/proposals`, `/v1/ballots` or
    /// `/v1/withdrawals`. Handing it in twice has the effect of once, so it is sent again to another
    /// node when one is lost.
    ///
    /// # Errors
    /// [`Problem::Refused`] with what the network says, or whatever kept it from answering.
    pub fn submit(&mut self, target: &str, message: &[u8]) -> Result<Value, Problem> {
        let headers = [("content-type", "application/cbor")];
        let response = self
            .http
            .request("POST", target, &headers, message, Retry::Idempotent)?;
        self.read(&response)
    }

    /// `host:port` of the node that answers now.
    pub fn address(&self) -> String {
        self.http
            .connection()
            .map(|c| c.address().to_owned())
            .unwrap_or_default()
    }

    /// The session's HTTP client.
    pub fn http(&mut self) -> &mut Http {
        &mut self.http
    }
}

/// What a refusal says, without control characters.
fn text(response: &ClientResponse) -> String {
    let body = &response.body[..response.body.len().min(SHOWN_BYTES_MAX)];
    String::from_utf8_lossy(body)
        .chars()
        .filter(|c| !c.is_control())
        .collect()
}
