//! A P-256 key in a hardware security module, by PKCS#11: it signs, or opens what is wrapped for it.
//!
//! Names it by a URI (RFC 7512), such as
//! `pkcs11:token=ada;object=signing?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/run/pin`.
//! `token`, `serial` and `slot-id` choose the token, `object` and `id` the key. The PIN comes from
//! `pin-source` (a file) or `pin-value`; the module from `module-path`.
//!
//! The module is asked for plain ECDSA over a digest made here, and for plain ECDH (`CKM_ECDH1_DERIVE`
//! without a KDF): every module has these.

use std::fmt;

use crypto::{Certificate, PublicKey, Signature, Zeroizing, sha256};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as Failed, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::elliptic_curve::{EcKdf, Ecdh1DeriveParams};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;

use crate::Problem;

/// Longest PIN file: a PIN and a line end.
const PIN_BYTES_MAX: u64 = 4096;

/// DER of the object identifier of P-256.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// A private key in a module, with a session that may use it.
pub struct ModuleKey {
    session: Session,
    key: ObjectHandle,
    id: Vec<u8>,
    public: PublicKey,
}

/// What a `pkcs11:` URI says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Uri {
    token: Option<String>,
    serial: Option<String>,
    slot: Option<u64>,
    object: Option<String>,
    id: Option<Vec<u8>>,
    module: Option<String>,
    pin_source: Option<String>,
    pin_value: Option<Zeroizing<String>>,
}

impl ModuleKey {
    /// Logs into the token and finds the key.
    ///
    /// # Errors
    /// [`Problem::Identity`]: the URI is not usable, or the module, token, PIN or key is not there.
    pub fn open(uri: &str) -> Result<Self, Problem> {
        let uri = Uri::parse(uri)?;
        let path = uri.module.as_deref().ok_or_else(|| {
            problem("the pkcs11: URI names no module: add ?module-path=/path/to/module.so")
        })?;
        let module = Pkcs11::new(path)
            .map_err(|error| problem(format!("load the module {path}: {error}")))?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Failed::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(problem(format!("start the module {path}: {error}"))),
        }
        let slot = uri.slot_in(&module)?;
        let session = module
            .open_ro_session(slot)
            .map_err(told("open a session"))?;
        if let Some(pin) = uri.pin()? {
            match session.login(UserType::User, Some(&AuthPin::new(pin.as_str().into()))) {
                // Another key of the same token is in use in this process.
                Ok(()) | Err(Failed::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
                Err(error) => return Err(told("log into the token (is the PIN right?)")(error)),
            }
        }
        let key = uri.key_in(&session)?;
        let id = match session.get_attributes(key, &[AttributeType::Id]) {
            Ok(found) => match found.into_iter().next() {
                Some(Attribute::Id(id)) => id,
                _ => Vec::new(),
            },
            Err(_) => Vec::new(),
        };
        let public = public_key(&session, &id, uri.object.as_deref())?;
        Ok(Self {
            session,
            key,
            id,
            public,
        })
    }

    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The certificate that the token keeps beside the key, by the key's id.
    ///
    /// # Errors
    /// [`Problem::Identity`]: there is none.
    pub fn certificate(&self) -> Result<Certificate, Problem> {
        let wanted = [
            Attribute::Class(ObjectClass::CERTIFICATE),
            Attribute::Id(self.id.clone()),
        ];
        let found = self
            .session
            .find_objects(&wanted)
            .map_err(told("look for the certificate"))?;
        for object in found {
            let values = self
                .session
                .get_attributes(object, &[AttributeType::Value])
                .map_err(told("read the certificate"))?;
            if let Some(Attribute::Value(der)) = values.into_iter().next() {
                return Certificate::from_der(&der)
                    .map_err(|error| problem(format!("the certificate in the token: {error}")));
            }
        }
        Err(problem(
            "the token keeps no certificate with the key's id: name a file with --certificates",
        ))
    }

    /// The signature over SHA-256 of `content`.
    ///
    /// # Errors
    /// [`Problem::Identity`].
    pub fn sign(&self, content: &[u8]) -> Result<Signature, Problem> {
        let signature = self
            .session
            .sign(&Mechanism::Ecdsa, self.key, &sha256(content).0)
            .map_err(told("sign"))?;
        let signature: Signature = signature
            .try_into()
            .map_err(|_| problem("the module's signature is not one of P-256"))?;
        if self.public.verify(content, &signature).is_err() {
            return Err(problem("the module's signature is not that of its key"));
        }
        Ok(signature)
    }

    /// The x coordinate of the point that this key and another party's public key come to. The module
    /// lets it out as an object of the session, which ends here.
    ///
    /// # Errors
    /// [`Problem::Identity`]: the key may not derive, or the module does not let the result out.
    pub fn agree(&self, with: &PublicKey) -> Result<Zeroizing<[u8; 32]>, Problem> {
        let parameters = Ecdh1DeriveParams::new(EcKdf::null(), with.as_sec1());
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
            Attribute::ValueLen(32.into()),
            Attribute::Token(false),
            Attribute::Sensitive(false),
            Attribute::Extractable(true),
        ];
        let derived = self
            .session
            .derive_key(&Mechanism::Ecdh1Derive(parameters), self.key, &template)
            .map_err(told(
                "derive with the key (is it one with CKA_DERIVE, made with `--usage-derive`?)",
            ))?;
        let value = self
            .session
            .get_attributes(derived, &[AttributeType::Value])
            .map_err(told("give what it derived"));
        let mut shared = Zeroizing::new([0; 32]);
        let whole = value.map(|values| match values.into_iter().next() {
            Some(Attribute::Value(bytes)) => {
                let bytes = Zeroizing::new(bytes);
                let whole = bytes.len() == 32;
                if whole {
                    shared.copy_from_slice(&bytes);
                }
                whole
            }
            _ => false,
        });
        self.session
            .destroy_object(derived)
            .map_err(told("erase what it derived"))?;
        if whole? {
            Ok(shared)
        } else {
            Err(problem("the module does not give what it derived"))
        }
    }
}

impl fmt::Debug for ModuleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModuleKey(of {:?})", self.public)
    }
}

/// The public half: the object of the same id, or else of the same label.
fn public_key(session: &Session, id: &[u8], label: Option<&str>) -> Result<PublicKey, Problem> {
    let mut wanted = vec![Attribute::Class(ObjectClass::PUBLIC_KEY)];
    match (id, label) {
        ([], Some(label)) => wanted.push(Attribute::Label(label.as_bytes().to_vec())),
        (id, _) => wanted.push(Attribute::Id(id.to_vec())),
    }
    let found = session
        .find_objects(&wanted)
        .map_err(told("look for the public key"))?;
    let object = found.first().ok_or_else(|| {
        problem("the token keeps no public key beside the private one, with the same id")
    })?;
    let attributes = session
        .get_attributes(*object, &[AttributeType::EcParams, AttributeType::EcPoint])
        .map_err(told("read the public key"))?;
    let (mut curve, mut point) = (None, None);
    for attribute in attributes {
        match attribute {
            Attribute::EcParams(der) => curve = Some(der),
            Attribute::EcPoint(der) => point = Some(der),
            _ => {}
        }
    }
    if curve.as_deref() != Some(&P256) {
        return Err(problem("the key is not of the curve P-256"));
    }
    // An OCTET STRING around the point; some modules leave it out.
    let point = point.unwrap_or_default();
    let point = match point.as_slice() {
        [0x04, 65, inner @ ..] if inner.len() == 65 => inner,
        whole => whole,
    };
    PublicKey::from_sec1(point).map_err(|error| problem(format!("the public key: {error}")))
}

impl Uri {
    fn parse(text: &str) -> Result<Self, Problem> {
        let rest = text.strip_prefix("pkcs11:").ok_or_else(|| {
            problem("a key in a module is named by a URI that begins with pkcs11:")
        })?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = Self::default();
        let attributes = path.split(';').chain(query.split('&'));
        for attribute in attributes.filter(|a| !a.is_empty()) {
            let (name, value) = attribute.split_once('=').ok_or_else(|| {
                problem(format!("{attribute:?} in the pkcs11: URI is no name=value"))
            })?;
            let bytes = unescape(value)?;
            let text = || {
                String::from_utf8(bytes.clone())
                    .map_err(|_| problem(format!("{name} in the pkcs11: URI is not UTF-8")))
            };
            match name {
                "token" => uri.token = Some(text()?),
                "serial" => uri.serial = Some(text()?),
                "object" => uri.object = Some(text()?),
                "id" => uri.id = Some(bytes),
                "module-path" => uri.module = Some(text()?),
                "pin-source" => uri.pin_source = Some(text()?),
                "pin-value" => uri.pin_value = Some(Zeroizing::new(text()?)),
                "slot-id" => {
                    uri.slot = Some(
                        text()?
                            .parse()
                            .map_err(|_| problem("slot-id in the pkcs11: URI is not a number"))?,
                    );
                }
                "type" if bytes == b"private" => {}
                _ => {
                    return Err(problem(format!(
                        "{name} in the pkcs11: URI is not supported: token, serial, slot-id, \
                         object, id, type=private, module-path, pin-source and pin-value are"
                    )));
                }
            }
        }
        if uri.object.is_none() && uri.id.is_none() {
            return Err(problem(
                "the pkcs11: URI names no key: add object=LABEL or id=%01",
            ));
        }
        Ok(uri)
    }

    fn slot_in(&self, module: &Pkcs11) -> Result<cryptoki::slot::Slot, Problem> {
        let slots = module
            .get_slots_with_token()
            .map_err(told("list the tokens"))?;
        let mut labels = Vec::new();
        for slot in slots {
            let Ok(token) = module.get_token_info(slot) else {
                continue;
            };
            let fits = self.slot.is_none_or(|id| id == slot.id())
                && self.token.as_deref().is_none_or(|t| t == token.label())
                && (self.serial.as_deref()).is_none_or(|s| s == token.serial_number());
            if fits && token.token_initialized() {
                return Ok(slot);
            }
            labels.push(token.label().to_owned());
        }
        Err(problem(format!(
            "no token fits the pkcs11: URI; the module has {labels:?}"
        )))
    }

    fn pin(&self) -> Result<Option<Zeroizing<String>>, Problem> {
        if let Some(value) = &self.pin_value {
            return Ok(Some(value.clone()));
        }
        let Some(source) = &self.pin_source else {
            return Ok(None);
        };
        let path = source.strip_prefix("file:").unwrap_or(source);
        let told = |error| problem(format!("read the PIN from {path}: {error}"));
        if std::fs::metadata(path).map_err(told)?.len() > PIN_BYTES_MAX {
            return Err(problem(format!("{path} is too long for a PIN")));
        }
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(told)?);
        Ok(Some(Zeroizing::new(
            text.trim_end_matches(['\r', '\n']).to_owned(),
        )))
    }

    fn key_in(&self, session: &Session) -> Result<ObjectHandle, Problem> {
        let mut wanted = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
        wanted.extend(
            self.object
                .iter()
                .map(|l| Attribute::Label(l.as_bytes().to_vec())),
        );
        wanted.extend(self.id.iter().map(|id| Attribute::Id(id.clone())));
        let found = session
            .find_objects(&wanted)
            .map_err(told("look for the key"))?;
        match found.as_slice() {
            [key] => Ok(*key),
            [] => Err(problem(
                "the token has no such private key (without a PIN, private keys do not show)",
            )),
            _ => Err(problem(
                "the token has several such private keys: name one by id as well",
            )),
        }
    }
}

/// Undoes the percent-encoding of RFC 3986.
fn unescape(value: &str) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let byte = rest.first_chunk::<2>().and_then(|digits| {
            let mut byte = [0];
            hex::decode_to_slice(digits, &mut byte).ok()?;
            Some(byte[0])
        });
        bytes.push(byte.ok_or_else(|| problem("% in the pkcs11: URI needs two hex digits"))?);
        rest = &rest[2..];
    }
    Ok(bytes)
}

fn problem(text: impl Into<String>) -> Problem {
    Problem::Identity(text.into())
}

fn told(doing: &'static str) -> impl FnOnce(Failed) -> Problem {
    move |error| problem(format!("the PKCS#11 module does not {doing}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_token_key_module_and_pin() {
        let uri = Uri::parse(
            "pkcs11:token=ada%20one;object=signing;id=%01%ff;type=private?module-path=/m.so&pin-source=file:/run/pin",
        )
        .expect("well-formed");
        let expected = Uri {
            token: Some("ada one".into()),
            object: Some("signing".into()),
            id: Some(vec![1, 255]),
            module: Some("/m.so".into()),
            pin_source: Some("file:/run/pin".into()),
            ..Uri::default()
        };
        assert_eq!(uri, expected);
    }

    #[test]
    fn what_is_no_uri_of_a_key_is_refused_with_what_to_do() {
        for (text, told) in [
            ("/a/file.pem", "begins with pkcs11:"),
            ("pkcs11:token=ada", "names no key"),
            ("pkcs11:object=%4", "two hex digits"),
            ("pkcs11:object=a;colour=red", "not supported"),
            ("pkcs11:object=a;slot-id=x", "not a number"),
            ("pkcs11:object", "no name=value"),
            ("pkcs11:object=%ff", "not UTF-8"),
        ] {
            let refusal = Uri::parse(text).expect_err(text).to_string();
            assert!(refusal.contains(told), "{text}: {refusal}");
        }
        let refusal = ModuleKey::open("pkcs11:object=a").expect_err("no module");
        assert!(refusal.to_string().contains("module-path"), "{refusal}");
    }
}
