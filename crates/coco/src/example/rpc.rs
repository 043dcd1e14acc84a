//! JSON-RPC at a gateway.

use std::time::Duration;

use serde_json::{Value, json};

use crate::failure::Failure;

/// How long a node may take. A transaction is answered when it is durable.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest reply that is read.
const REPLY_BYTES_MAX: usize = 8 << 20;

/// One endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Rpc {
    url: String,
    client: reqwest::Client,
}

impl Rpc {
    pub(crate) fn new(url: String) -> Result<Self, Failure> {
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Failure::machine(format!("prepare HTTP: {error}")))?;
        Ok(Self { url, client })
    }

    /// Posts a body; gives the body of the answer, as it came.
    pub(crate) async fn post(&self, body: String) -> Result<String, Failure> {
        let told = |error: reqwest::Error| Failure::failed(format!("{}: {error}", self.url));
        let request = self.client.post(&self.url).body(body);
        let request = request.header("content-type", "application/json");
        let mut response = request.send().await.map_err(told)?;
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(told)? {
            if text.len() + chunk.len() > REPLY_BYTES_MAX {
                return Err(Failure::failed(format!(
                    "{}: a reply is too long",
                    self.url
                )));
            }
            text.extend_from_slice(&chunk);
        }
        String::from_utf8(text).map_err(|_| Failure::failed("a reply is no text"))
    }

    /// The result of a call.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Result<Value, Failure> {
        let text = self.post(request(method, &params).to_string()).await?;
        let mut reply: Value = serde_json::from_str(&text)
            .map_err(|error| Failure::failed(format!("{method}: {error}")))?;
        match reply.get("error") {
            None => Ok(reply["result"].take()),
            Some(error) => Err(Failure::failed(format!("{method}: {}", error["message"]))),
        }
    }
}

/// A request, the same bytes each time that the same is asked.
pub(crate) fn request(method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}
