//! The page and what it asks for: a few resources on a loopback port, and nothing from elsewhere.
//!
//! Every file is in this binary. A strict Content-Security-Policy lets the page load from here only. What
//! changes something is POST with JSON, and only for this page: a request whose `Host` is another name
//! (DNS rebinding) or whose `Origin` is another site is refused.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http1::{Options, Persistence, Received, Request, Server};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::actions::{self, Action};
use super::world::World;
use super::{cheats, view};
use crate::failure::{Code, Failure};

const INDEX: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/style.css");
const ICON: &str = include_str!("page/icon.svg");
/// The page's program, in the order in which its parts need one another.
const PROGRAM: &str = concat!(
    include_str!("page/base.js"),
    include_str!("page/views.js"),
    include_str!("page/cheats.js"),
    include_str!("page/speed.js"),
    include_str!("page/votes.js"),
    include_str!("page/start.js"),
);

/// Most browsers' connections at once; a browser opens six.
const CONNECTIONS_MAX: usize = 64;

/// A connection that says nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(60);

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Serves for ever.
pub(super) async fn serve(listener: TcpListener, world: Arc<World>) {
    let Ok(own) = listener.local_addr() else {
        return;
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let world = world.clone();
                tokio::spawn(async move {
                    connection(stream, own, &world).await;
                    drop(place);
                });
            }
            // Out of descriptors, most likely; those in use will come back.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn connection(mut stream: TcpStream, own: SocketAddr, world: &World) {
    let _ = stream.set_nodelay(true);
    let mut server = Server::new(Options::administrative());
    let mut buffer = vec![0; 16 << 10];
    loop {
        let mut out = BytesMut::new();
        let mut ends = false;
        match server.next() {
            Ok(None) => match tokio::time::timeout(IDLE, stream.read(&mut buffer)).await {
                Ok(Ok(bytes @ 1..)) => server.receive(&buffer[..bytes]),
                _ => return,
            },
            Ok(Some(Received::ExpectContinue)) => http1::encode_continue(&mut out),
            Ok(Some(Received::Request(request))) => {
                let answer = answer(&request, own, world).await;
                ends = !request.keep_alive;
                answer.encode(&request.method, ends, &mut out);
            }
            Err(refusal) => {
                ends = true;
                Answer::text(refusal.status, refusal.text).encode("GET", ends, &mut out);
            }
        }
        if stream.write_all(&out).await.is_err() || ends {
            return;
        }
    }
}

struct Answer {
    status: u16,
    kind: &'static str,
    body: String,
}

impl Answer {
    fn text(status: u16, text: &str) -> Self {
        Self {
            status,
            kind: "text/plain; charset=utf-8",
            body: format!("{text}\n"),
        }
    }

    fn file(kind: &'static str, body: &str) -> Self {
        Self {
            status: 200,
            kind,
            body: body.to_owned(),
        }
    }

    fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            kind: "application/json",
            body: body.to_string(),
        }
    }

    fn encode(&self, method: &str, ends: bool, out: &mut BytesMut) {
        let headers = [
            ("content-type", self.kind),
            ("content-security-policy", POLICY),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
        ];
        let persistence = match ends {
            true => Persistence::Close,
            false => Persistence::KeepAlive,
        };
        http1::encode_response(
            self.status,
            &headers,
            self.body.as_bytes(),
            method,
            persistence,
            out,
        );
    }
}

async fn answer(request: &Request, own: SocketAddr, world: &World) -> Answer {
    if let Err(text) = is_ours(request, own) {
        return Answer::text(403, text);
    }
    let (path, query) = request
        .target
        .split_once('?')
        .unwrap_or((&request.target, ""));
    match (request.method.as_str(), path) {
        ("GET", "/") => Answer::file("text/html; charset=utf-8", INDEX),
        ("GET", "/style.css") => Answer::file("text/css; charset=utf-8", STYLE),
        ("GET", "/page.js") => Answer::file("text/javascript; charset=utf-8", PROGRAM),
        ("GET", "/icon.svg") => Answer::file("image/svg+xml", ICON),
        ("GET" | "POST", path) if path.starts_with("/api/") => {
            match resource(request, path, query, own, world).await {
                Ok(Some(body)) => Answer::json(200, &body),
                Ok(None) => Answer::text(404, "there is nothing"),
                Err(failure) => {
                    let status = match failure.code {
                        Code::Input => 400,
                        Code::Refused => 409,
                        _ => 502,
                    };
                    Answer::json(status, &json!({ "error": failure.text }))
                }
            }
        }
        ("GET", _) => Answer::text(404, "there is nothing"),
        _ => Answer::text(405, "GET, or POST below /api/"),
    }
}

/// Whether a request comes from this page, by what browsers say and pages cannot change.
fn is_ours(request: &Request, own: SocketAddr) -> Result<(), &'static str> {
    let port = own.port();
    let names = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
    let host = request.header("host").unwrap_or_default();
    if !names.iter().any(|name| name == host) {
        return Err("open the page by its own address");
    }
    if let Some(origin) = request.header("origin")
        && !names.iter().any(|name| origin == format!("http://{name}"))
    {
        return Err("other sites have no business here");
    }
    if request.method == "POST" && request.header("content-type") != Some("application/json") {
        return Err("POST takes JSON");
    }
    Ok(())
}

async fn resource(
    request: &Request,
    path: &str,
    query: &str,
    own: SocketAddr,
    world: &World,
) -> Result<Option<Value>, Failure> {
    let body = &request.body;
    Ok(Some(match (request.method.as_str(), path) {
        ("GET", "/api/facts") => world.facts(own),
        ("GET", "/api/head") => json!({ "head": world.head().await? }),
        ("GET", "/api/view") => {
            let seat = world.seat(value(query, "role").unwrap_or_default())?;
            let height = value(query, "height").map(str::parse).transpose();
            let height = height.map_err(|_| Failure::input("height: a number"))?;
            view::view(world, seat, height).await?
        }
        ("GET", "/api/cheats") => cheats::list(),
        ("GET", "/api/load") => world.load.figures(),
        ("GET", "/api/votes") => world.votes.list().await?,
        ("GET", "/api/readings") => world.readings().await?,
        ("POST", "/api/do") => {
            let action: Action = parse(body)?;
            let done = actions::perform(world, &action).await?;
            json!({ "transaction": done.hash, "block": done.block })
        }
        ("POST", "/api/cheat") => {
            let asked: Value = parse(body)?;
            let text = |name: &str| asked[name].as_str().unwrap_or_default();
            cheats::attempt(world, world.seat(text("role"))?, text("name")).await?
        }
        ("POST", "/api/load") => {
            world.load.start(parse(body)?)?;
            world.load.figures()
        }
        ("POST", "/api/vote") => {
            world.votes.vote(parse(body)?).await?;
            world.votes.list().await?
        }
        _ => return Ok(None),
    }))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::input(error.to_string()))
}

/// A value of a query whose values need no escapes.
fn value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, headers: &[(&str, &str)]) -> Request {
        Request {
            method: method.into(),
            target: "/".into(),
            headers: headers
                .iter()
                .map(|(n, v)| ((*n).into(), (*v).into()))
                .collect(),
            body: Default::default(),
            keep_alive: true,
        }
    }

    #[test]
    fn other_names_and_other_sites_are_refused() {
        let own: SocketAddr = "127.0.0.1:8600".parse().expect("an address");
        let host = ("host", "127.0.0.1:8600");
        let json = ("content-type", "application/json");
        assert!(is_ours(&asked("GET", &[host]), own).is_ok());
        assert!(is_ours(&asked("GET", &[("host", "localhost:8600")]), own).is_ok());
        let same = ("origin", "http://127.0.0.1:8600");
        assert!(is_ours(&asked("POST", &[host, json, same]), own).is_ok());
        for headers in [
            &[][..],
            &[("host", "evil.example")],
            &[("host", "127.0.0.1:8601")],
            &[host, json, ("origin", "http://evil.example")],
            &[host, json, ("origin", "null")],
            &[host, ("content-type", "text/plain")],
            &[host],
        ] {
            assert!(
                is_ours(&asked("POST", headers), own).is_err(),
                "{headers:?}"
            );
        }
    }

    #[test]
    fn the_page_asks_nothing_of_anybody_else() {
        for text in [INDEX, STYLE, PROGRAM, ICON] {
            let elsewhere = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!elsewhere.contains("http://") && !elsewhere.contains("https://"));
        }
        // What the policy would block.
        assert!(
            !INDEX.contains("style=") && !INDEX.contains("<style") && !INDEX.contains("onclick")
        );
        assert!(!PROGRAM.contains("innerHTML") && !PROGRAM.contains("eval("));
    }

    #[test]
    fn a_query_is_names_and_values() {
        assert_eq!(value("role=tailspin&height=7", "height"), Some("7"));
        assert_eq!(value("role=tailspin", "height"), None);
        assert_eq!(value("", "role"), None);
    }
}
