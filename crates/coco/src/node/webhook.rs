//! The owner's webhook: a POST of `{"events": N}` when members have something new to look at.
//!
//! Source: DESIGN section 7; Coco 2017, "Voting" (all members are notified). The number is the newest
//! event's, as the administrative channel counts them, and nothing else leaves. The host tells it by
//! a Unix datagram; here is who speaks HTTP, apart from the host and from the enclaves, so that a slow
//! or hostile receiver holds up nothing. A number that could not be delivered is tried again; once a
//! greater one is known, that goes in its place.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Certificate, Client, Url, redirect};
use serde::{Deserialize, Serialize};
use tokio::net::UnixDatagram;
use tokio::time::{Instant, timeout_at};

use crate::failure::{Doing, Failure};

/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pause after the first attempt that failed; it doubles up to the longest.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// The section of a node's configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
}

impl Config {
    /// The address, if it is one that can be called.
    pub(crate) fn parse(&self) -> Result<Url, String> {
        // The address may hold a secret, so that it is not repeated.
        let bad =
            |what: String| format!("webhook.url {what}; give http://HOST/... or https://HOST/...");
        let url = Url::parse(&self.url).map_err(|error| bad(format!("cannot be read: {error}")))?;
        match url.scheme() {
            "http" | "https" => Ok(url),
            other => Err(bad(format!("begins with {other}:"))),
        }
    }
}

/// What calls the webhook.
pub(super) struct Webhook {
    socket: UnixDatagram,
    client: Client,
    url: Url,
    /// For the log: the address without its path, where a secret may be.
    shown: String,
    pause: Duration,
}

impl Webhook {
    /// Opens the socket for the host's user.
    pub(super) fn listen(
        config: &Config,
        path: &Path,
        host_user: Option<u32>,
    ) -> Result<Self, Failure> {
        let url = config.parse().map_err(Failure::input)?;
        let mut client = Client::builder()
            .timeout(PATIENCE)
            .redirect(redirect::Policy::none())
            .user_agent("coco");
        if let Some(file) = &config.ca {
            let pem = crate::network::read_bytes(file)?;
            let roots = Certificate::from_pem_bundle(&pem).map_err(|error| {
                Failure::input(format!("webhook.ca {}: {error}", file.display()))
            })?;
            client = client.tls_certs_only(roots);
        }
        let client = client
            .build()
            .map_err(|error| Failure::machine(format!("prepare the webhook: {error}")))?;
        let doing = || format!("open the webhook's socket {}", path.display());
        let socket = UnixDatagram::bind(path).doing(doing)?;
        super::agent::give(path, host_user).doing(doing)?;
        Ok(Self {
            socket,
            client,
            shown: url.origin().ascii_serialization(),
            url,
            pause: PAUSE,
        })
    }

    /// Calls the webhook for ever.
    pub(super) async fn serve(self) {
        let (mut newest, mut posted, mut pause) = (0, 0, self.pause);
        loop {
            while newest <= posted {
                newest = self.next().await;
            }
            let Err(reason) = self.post(newest).await else {
                posted = newest;
                if pause != self.pause {
                    eprintln!("the webhook at {} hears again: event {newest}", self.shown);
                }
                pause = self.pause;
                continue;
            };
            eprintln!(
                "warning: the webhook at {} was not told of event {newest}: {reason}; it is tried again in {} s",
                self.shown,
                pause.as_secs_f32()
            );
            let until = Instant::now() + pause;
            while let Ok(number) = timeout_at(until, self.next()).await {
                newest = newest.max(number);
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// The next number that the host tells.
    async fn next(&self) -> u64 {
        let mut number = [0; 9];
        loop {
            match self.socket.recv(&mut number).await {
                Ok(8) => return u64::from_be_bytes(number[..8].try_into().expect("8 bytes")),
                Ok(_) => {}
                // Nothing on a bound datagram socket mends itself at once.
                Err(_) => tokio::time::sleep(PATIENCE).await,
            }
        }
    }

    async fn post(&self, events: u64) -> Result<(), String> {
        let request = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/json")
            .body(format!("{{\"events\": {events}}}"));
        // The body of the answer says nothing and is not read.
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("it answered {}", answer.status())),
            Err(error) => Err(causes(&error.without_url())),
        }
    }
}

/// What failed, down to the cause.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Takes one request, answers, and gives what came.
    async fn serve_one(listener: &TcpListener, answer: &str) -> String {
        let mut stream = listener.accept().await.expect("it comes").0;
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            let mut part = [0; 1024];
            let bytes = stream.read(&mut part).await.expect("it sends");
            assert_ne!(bytes, 0, "{}", String::from_utf8_lossy(&request));
            request.extend_from_slice(&part[..bytes]);
        }
        let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.expect("it reads");
        String::from_utf8(request).expect("text")
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_newest_number_is_posted_and_posted_again_until_it_is_taken() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("webhook.socket");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let config = Config {
            url: format!("http://127.0.0.1:{port}/hook/secret"),
            ca: None,
        };
        let mut webhook = Webhook::listen(&config, &path, None).expect("a webhook");
        assert!(!webhook.shown.contains("secret"));
        webhook.pause = Duration::from_millis(1);
        let serving = tokio::spawn(webhook.serve());
        let host = UnixDatagram::unbound().expect("a socket");
        host.connect(&path).expect("connected");
        host.send(&3u64.to_be_bytes()).await.expect("sent");
        let first = serve_one(&listener, "503 Service Unavailable").await;
        assert!(
            first.starts_with("POST /hook/secret HTTP/1.1\r\n"),
            "{first}"
        );
        assert!(first.ends_with("\r\n\r\n{\"events\": 3}"), "{first}");
        assert!(
            serve_one(&listener, "200 OK")
                .await
                .ends_with("{\"events\": 3}")
        );
        // A number that was told before is not told again, nor one that means nothing.
        host.send(&2u64.to_be_bytes()).await.expect("sent");
        host.send(b"9").await.expect("sent");
        host.send(&5u64.to_be_bytes()).await.expect("sent");
        assert!(
            serve_one(&listener, "204 No Content")
                .await
                .ends_with("{\"events\": 5}")
        );
        serving.abort();
    }

    #[test]
    fn only_what_can_be_called_is_configured_and_secrets_are_not_repeated() {
        let parse = |url: &str| {
            let url = url.to_owned();
            Config { url, ca: None }.parse()
        };
        assert!(parse("https://hooks.example/T0/secret").is_ok());
        for bad in [
            "ftp://hooks.example/secret",
            "hooks.example/secret",
            "http://",
            "",
        ] {
            let problem = parse(bad).expect_err(bad);
            assert!(
                problem.contains("https://HOST/") && !problem.contains("secret"),
                "{problem}"
            );
        }
    }
}
