//! End users of a front end: who a JSON Web Token is about, and which accounts are that user's.
//!
//! An organisation's identity provider (OpenID Connect: Entra ID, Keycloak and the like) signs tokens; its
//! keys are read from a file or fetched and fetched again. The file of users says what the claim that
//! names a user stands for on the network:
//!
//! ```toml
//! issuer = "https://login.contoso.example/"
//! audience = "coco"
//! keys = "https://login.contoso.example/keys"   # or a file; else the issuer's discovery document says
//! claim = "sub"
//!
//! [accounts]
//! "ada@contoso.example" = ["0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"]
//! ```
//! The validating nodes believe the gateway for accounts that the registry binds to its actor, and for no
//! others; so this file cannot give away what is not the organisation's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use alloy_primitives::Address;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Notify;

use crate::failure::{Doing, Failure};

/// Between two fetches of the issuer's keys.
const KEYS_AGAIN: Duration = Duration::from_secs(300);

/// A token by an unknown key has them fetched at once, but not more often than this.
const KEYS_PAUSE: Duration = Duration::from_secs(10);

/// How long the issuer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest key set or discovery document.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// How far the issuer's clock may be off.
const LEEWAY_SECONDS: u64 = 30;

/// Longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 16 << 10;

/// What an issuer may sign with.
const ALGORITHMS: [Algorithm; 2] = [Algorithm::RS256, Algorithm::ES256];

/// The file of users.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    issuer: String,
    audience: String,
    #[serde(default)]
    keys: Option<String>,
    #[serde(default = "subject")]
    claim: String,
    accounts: BTreeMap<String, Vec<Address>>,
}

fn subject() -> String {
    "sub".into()
}

/// Where keys come from.
#[derive(Debug)]
enum Source {
    File(PathBuf),
    Url(String),
    /// The discovery document of the issuer names it.
    Discovery(String),
}

/// A user whose token was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) accounts: Vec<Address>,
    /// Seconds since 1970.
    pub(super) expiry: u64,
}

/// Whose tokens are taken, and for whom.
#[derive(Debug)]
pub(crate) struct Users {
    file: File,
    source: Source,
    client: reqwest::Client,
    keys: RwLock<JwkSet>,
    wanted: Notify,
}

impl Users {
    /// Reads the file; [`Users::fetch`] comes next.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).doing(|| format!("read {}", path.display()))?;
        let file: File = toml::from_str(&text)
            .map_err(|error| Failure::input(format!("{}: {error}", path.display())))?;
        let is_url = |text: &str| text.starts_with("https://") || text.starts_with("http://");
        let source = match &file.keys {
            Some(keys) if is_url(keys) => Source::Url(keys.clone()),
            Some(keys) => Source::File(path.parent().unwrap_or(Path::new(".")).join(keys)),
            None => {
                let issuer = file.issuer.trim_end_matches('/');
                Source::Discovery(format!("{issuer}/.well-known/openid-configuration"))
            }
        };
        if file
            .accounts
            .values()
            .any(|list| list.is_empty() || list.len() > 16)
        {
            let text = "accounts: every user has 1 to 16 addresses";
            return Err(Failure::input(format!("{}: {text}", path.display())));
        }
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Failure::machine(format!("prepare TLS: {error}")))?;
        Ok(Self {
            file,
            source,
            client,
            keys: RwLock::new(JwkSet { keys: Vec::new() }),
            wanted: Notify::new(),
        })
    }

    /// Reads the issuer's keys now.
    pub(crate) async fn fetch(&self) -> Result<(), Failure> {
        let text = match &self.source {
            Source::File(path) => {
                std::fs::read(path).doing(|| format!("read {}", path.display()))?
            }
            Source::Url(url) => self.get(url).await?,
            Source::Discovery(url) => {
                let document: Value = serde_json::from_slice(&self.get(url).await?)
                    .map_err(|error| Failure::input(format!("{url}: {error}")))?;
                if document["issuer"] != self.file.issuer.as_str() {
                    return Err(Failure::input(format!("{url} is of another issuer")));
                }
                let keys = document["jwks_uri"]
                    .as_str()
                    .ok_or_else(|| Failure::input(format!("{url} names no jwks_uri")))?;
                self.get(keys).await?
            }
        };
        let keys: JwkSet = serde_json::from_slice(&text)
            .map_err(|error| Failure::input(format!("the issuer's keys: {error}")))?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    async fn get(&self, url: &str) -> Result<Vec<u8>, Failure> {
        let told = |error: reqwest::Error| Failure::machine(format!("fetch {url}: {error}"));
        let mut response = self
            .client
            .get(url)
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .map_err(told)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(told)? {
            if body.len() + chunk.len() > DOCUMENT_BYTES_MAX {
                return Err(Failure::input(format!(
                    "{url} has too many bytes for a key set"
                )));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Keeps the keys fresh, for ever.
    pub(crate) async fn keep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(KEYS_PAUSE).await;
            let again = tokio::time::sleep(KEYS_AGAIN);
            tokio::select! {
                () = again => {}
                () = self.wanted.notified() => {}
            }
            if let Err(failure) = self.fetch().await {
                // The keys that are known go on to count.
                tracing::warn!("{}", failure.text);
            }
        }
    }

    /// Who a token is about. `Err` says why it is not taken.
    pub(super) fn user(&self, token: &str) -> Result<User, &'static str> {
        const VOID: &str = "the token is not valid: sign in again";
        if token.len() > TOKEN_BYTES_MAX {
            return Err(VOID);
        }
        let header = decode_header(token).map_err(|_| VOID)?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err("tokens are signed by RS256 or ES256");
        }
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&self.file.issuer]);
        validation.set_audience(&[&self.file.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_SECONDS;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let named = |jwk: &&jsonwebtoken::jwk::Jwk| match &header.kid {
            Some(kid) => jwk.common.key_id.as_ref() == Some(kid),
            None => true,
        };
        let mut known = false;
        let mut claims = None;
        for jwk in keys.keys.iter().filter(named) {
            known = true;
            let decoded = DecodingKey::from_jwk(jwk)
                .and_then(|key| decode::<Value>(token, &key, &validation));
            if let Ok(decoded) = decoded {
                claims = Some(decoded.claims);
                break;
            }
        }
        if !known {
            self.wanted.notify_one();
        }
        let claims = claims.ok_or(VOID)?;
        let name = claims[&self.file.claim]
            .as_str()
            .ok_or("the token does not name a user")?;
        let accounts = self
            .file
            .accounts
            .get(name)
            .ok_or("the user has no account on this network")?;
        Ok(User {
            accounts: accounts.clone(),
            expiry: claims["exp"].as_u64().ok_or(VOID)?,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use base64::Engine as _;
    use crypto::{Entropy, SigningKey};
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    use super::*;
    use crate::keys::now;

    pub(crate) const ISSUER: &str = "https://login.contoso.example/";

    /// An identity provider with one key.
    pub(crate) struct Issuer(SigningKey);

    impl Issuer {
        pub(crate) fn new(seed: u8) -> Self {
            Self(SigningKey::generate(&mut Entropy::new(&[seed; 32])))
        }

        fn keys(&self) -> Value {
            let point = self.0.public().as_sec1();
            let text =
                |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
            json!({"keys": [{
                "kty": "EC", "crv": "P-256", "kid": "1", "alg": "ES256", "use": "sig",
                "x": text(&point[1..33]), "y": text(&point[33..65]),
            }]})
        }

        pub(crate) fn token(&self, claims: &Value) -> String {
            let mut header = Header::new(Algorithm::ES256);
            header.kid = Some("1".into());
            let key = EncodingKey::from_ec_der(&self.0.to_pkcs8());
            encode(&header, claims, &key).expect("signed")
        }

        /// The users of an organisation that trusts this issuer: Ada has an account.
        pub(crate) async fn users(&self) -> Arc<Users> {
            let directory = tempfile::tempdir().expect("a directory");
            let write = |name: &str, text: String| {
                std::fs::write(directory.path().join(name), text).expect("written");
            };
            write("keys.json", self.keys().to_string());
            write(
                "users.toml",
                format!(
                    "issuer = {ISSUER:?}\naudience = \"coco\"\nkeys = \"keys.json\"\n[accounts]\n\
                     \"ada\" = [\"0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266\"]\n"
                ),
            );
            let users = Users::read(&directory.path().join("users.toml")).expect("usable");
            users.fetch().await.expect("keys");
            Arc::new(users)
        }
    }

    pub(crate) fn claims() -> Value {
        json!({"iss": ISSUER, "aud": "coco", "sub": "ada", "exp": now().0 / 1000 + 600})
    }

    #[tokio::test]
    async fn a_token_counts_as_its_issuer_signed_it_and_no_longer() {
        let issuer = Issuer::new(1);
        let users = issuer.users().await;
        let ada = users.user(&issuer.token(&claims())).expect("ada");
        assert_eq!(ada.accounts.len(), 1);
        for (claim, value) in [
            ("iss", json!("https://login.fabrikam.example/")),
            ("aud", json!("another")),
            ("exp", json!(now().0 / 1000 - 60)),
            ("nbf", json!(now().0 / 1000 + 600)),
            ("sub", json!("eve")),
            ("sub", json!(7)),
            ("exp", json!(null)),
            ("aud", json!(null)),
        ] {
            let mut changed = claims();
            changed[claim] = value.clone();
            assert!(
                users.user(&issuer.token(&changed)).is_err(),
                "{claim}: {value}"
            );
        }
        assert!(
            users.user(&Issuer::new(2).token(&claims())).is_err(),
            "another key"
        );
        let token = issuer.token(&claims());
        let (signed, _) = token.rsplit_once('.').expect("three parts");
        for forged in [
            format!("{signed}."),
            signed.to_owned(),
            String::new(),
            "a.b.c".into(),
        ] {
            assert!(users.user(&forged).is_err(), "{forged}");
        }
        // {"alg":"none"}, and the public key as the secret of a MAC.
        let none = format!(
            "eyJhbGciOiJub25lIn0.{}.",
            token.split('.').nth(1).expect("claims")
        );
        assert!(users.user(&none).is_err());
        let mac = encode(
            &Header::new(Algorithm::HS256),
            &claims(),
            &EncodingKey::from_secret(issuer.keys().to_string().as_bytes()),
        );
        assert!(users.user(&mac.expect("signed")).is_err());
    }
}
