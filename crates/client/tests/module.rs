//! A key in SoftHSM signs what a member votes, and another opens the actor's share-transport key. Skipped,
//! and told so, where SoftHSM is not installed.

use std::path::Path;
use std::process::Command;

use channel::{Acceptor, Channel};
use client::{
    Entrance, Identity, ModuleKey, Problem, ShareKey, Signer, Surface, Trust, WrappedShareKey,
};
use crypto::{CertificateRequest, Context, Entropy, SigningKey, Zeroizing, issue, verify1};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use threshold::TransportKey;
use types::{Millis, NetworkId};

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// Set for the test's second process, which has the token's configuration in its environment.
const DIRECTORY: &str = "COCO_TEST_TOKEN_DIRECTORY";

fn ada() -> Identity {
    let key = SigningKey::generate(&mut Entropy::new(&[1; 32]));
    let request = CertificateRequest {
        common_name: "ada",
        dns_names: vec![],
        not_before: Millis(0),
        not_after: Millis(1_000_000),
        authority: false,
        extensions: vec![],
        serial: [1; 16],
    };
    let chain = vec![issue(key.public(), &request, &key, None)];
    Identity { key, chain }
}

fn run(command: &mut Command) {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// Runs `act` in a process that has a token's configuration in its environment: that of the test `name`,
/// which calls this.
fn with_token(name: &str, act: impl FnOnce(&Path)) {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return act(Path::new(&directory));
    }
    if !Path::new(MODULE).exists() {
        println!("skipped: SoftHSM is not at {MODULE}; install the package softhsm2");
        return;
    }
    let directory = tempfile::tempdir().expect("temporary directory");
    let at = |name: &str| directory.path().join(name);
    std::fs::create_dir(at("tokens")).expect("made");
    let configuration = format!("directories.tokendir = {}\n", at("tokens").display());
    std::fs::write(at("softhsm2.conf"), configuration).expect("written");
    std::fs::write(at("ada.pem"), ada().to_pem()).expect("written");
    std::fs::write(at("pin"), "1234\n").expect("written");
    let util = || {
        let mut util = Command::new("softhsm2-util");
        util.env("SOFTHSM2_CONF", at("softhsm2.conf"));
        util
    };
    run(util().args([
        "--init-token",
        "--free",
        "--label",
        "ada",
        "--so-pin",
        "5678",
        "--pin",
        "1234",
    ]));
    run(util().arg("--import").arg(at("ada.pem")).args([
        "--token", "ada", "--label", "signing", "--id", "01", "--pin", "1234",
    ]));
    let this = std::env::current_exe().expect("a test is a file");
    run(Command::new(this)
        .args(["--exact", name])
        .env("SOFTHSM2_CONF", at("softhsm2.conf"))
        .env(DIRECTORY, directory.path()));
}

fn uri(directory: &Path, object: &str, pin: &str) -> String {
    format!(
        "pkcs11:token=ada;object={object};type=private?module-path={MODULE}&pin-source={}",
        directory.join(pin).display()
    )
}

#[test]
fn a_key_in_a_token_signs_as_a_file_does() {
    with_token("a_key_in_a_token_signs_as_a_file_does", sign_in);
}

#[test]
fn a_key_in_a_token_opens_the_share_key_that_is_wrapped_for_it() {
    with_token(
        "a_key_in_a_token_opens_the_share_key_that_is_wrapped_for_it",
        unwrap_in,
    );
}

/// Makes a P-256 key in the token, as `pkcs11-tool --keypairgen --usage-derive` does.
fn make_key(label: &str, id: u8, derives: bool) {
    let module = Pkcs11::new(MODULE).expect("SoftHSM");
    let initialized = module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    drop(initialized); // another session of this process may have done it
    let slots = module.get_slots_with_initialized_token().expect("a token");
    let session = module.open_rw_session(slots[0]).expect("a session");
    let pin = AuthPin::new("1234".into());
    session.login(UserType::User, Some(&pin)).expect("the PIN");
    let common = [
        Attribute::Token(true),
        Attribute::Label(label.into()),
        Attribute::Id(vec![id]),
    ];
    let curve = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let public = [&common[..], &[Attribute::EcParams(curve.to_vec())]].concat();
    let own = [
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Derive(derives),
    ];
    let private = [&common[..], &own].concat();
    session
        .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
        .expect("the token makes a key");
}

fn unwrap_in(directory: &Path) {
    make_key("wrap", 2, true);
    make_key("other", 3, true);
    make_key("signs-only", 4, false);
    let open = |object: &str| ModuleKey::open(&uri(directory, object, "pin")).expect("it is there");
    let entropy = &mut Entropy::new(&[4; 32]);
    let key = TransportKey::generate(entropy);
    let wrapped = |object: &str, entropy: &mut Entropy| {
        let file = directory.join(format!("{object}.pem"));
        let wrapped = WrappedShareKey::wrap(&key, open(object).public(), entropy);
        std::fs::write(&file, wrapped.to_pem()).expect("written");
        file
    };
    let read = |file: &Path, with: Option<String>| {
        let mut nobody = || -> Result<Zeroizing<String>, Problem> { unreachable!("no passphrase") };
        ShareKey::read(file, with.as_deref(), &mut nobody)
            .expect("a file")
            .open()
    };
    let file = wrapped("wrap", entropy);
    let opened = read(&file, Some(uri(directory, "wrap", "pin"))).expect("its module");
    assert_eq!(opened.public(), key.public());
    assert_eq!(opened.export().expose(), key.export().expose());
    let text = std::fs::read_to_string(&file).expect("just written");
    assert!(text.starts_with("-----BEGIN WRAPPED COCO SHARE KEY-----"));

    for (with, told) in [
        (None, "share_key_module"),
        (Some("other"), "wrapped for another key"),
        (Some("nothing"), "no such private key"),
    ] {
        let refusal = read(&file, with.map(|object| uri(directory, object, "pin")));
        let refusal = refusal.expect_err(told).to_string();
        assert!(refusal.contains(told), "{refusal}");
    }
    let file = wrapped("signs-only", entropy);
    let refusal = read(&file, Some(uri(directory, "signs-only", "pin")));
    let refusal = refusal.expect_err("it may not derive").to_string();
    assert!(refusal.contains("CKA_DERIVE"), "{refusal}");
}

/// The key in the token opens a channel, and the node sees whose it is.
fn connect(signer: Signer, ada: &Identity) {
    let (from, to) = (Millis(0), Millis(1_000_000));
    let network = SigningKey::generate(&mut Entropy::new(&[2; 32]));
    let certificate = channel::network_certificate(&network, "test", from, to, [2; 16]);
    let node = SigningKey::generate(&mut Entropy::new(&[3; 32]));
    let statement = channel::NodeCertificate {
        network: NetworkId([1; 32]),
        restarts: 0,
        common_name: "vn",
        names: &[],
        evidence: &[],
        endorsements: &[],
        not_before: from,
        not_after: to,
        serial: [3; 16],
    };
    let leaf = channel::node_certificate(&statement, node.public(), &network, &certificate);
    let chain = [leaf.expect("short"), certificate.clone()];
    let identity = channel::Identity::new(&node, &chain).expect("own key");
    let mut server = Channel::accept(&Acceptor::new(&identity, &[b"coco-kv/1"]));
    let surface = Surface::Application("kv".into());
    let entrance = Entrance::with_signer(signer, Trust::pinned(certificate), &surface);
    let entrance = entrance.expect("a key and its certificate");
    let mut tunnel = entrance.tunnel("vn.example:1").expect("an address");
    let mut plaintext = Vec::new();
    while server.ready().is_none() {
        server
            .received(&tunnel.drain(), &mut plaintext)
            .expect("a whole handshake");
        tunnel
            .received(&server.drain(), Millis(1), &mut plaintext)
            .expect("a node of the network");
    }
    let seen = &server.ready().expect("just seen").chain[0];
    assert_eq!(seen.key(), ada.key.public());
}

fn sign_in(directory: &Path) {
    let uri = |object: &str, pin: &str| uri(directory, object, pin);
    let file = directory.join("ada.pem");
    let open = |uri: &str, certificates| {
        let mut nobody = || -> Result<Zeroizing<String>, Problem> { unreachable!("no passphrase") };
        Signer::open(uri, certificates, &mut nobody)
    };
    let signer = open(&uri("signing", "pin"), Some(file.as_path())).expect("the key is there");
    let ada = ada();
    assert_eq!(signer.chain()[0].key(), ada.key.public());
    let object = signer.sign1(Context::NodeTuple, b"for").expect("signed");
    let signed = verify1(ada.key.public(), Context::NodeTuple, &object).expect("ada's signature");
    assert_eq!(signed.payload(), b"for");
    connect(signer, &ada);
    // The last session ends the login, so that wrong PINs show.

    for (uri, told) in [
        (uri("other", "pin"), "no such private key"),
        (uri("signing", "ada.pem"), "PIN"),
        (uri("signing", "nowhere"), "read the PIN"),
        (
            uri("signing", "pin").replace("token=ada", "token=bob"),
            "no token fits",
        ),
        (
            uri("signing", "pin").replace(MODULE, "/nowhere.so"),
            "load the module",
        ),
    ] {
        let refusal = open(&uri, Some(file.as_path()))
            .expect_err(&uri)
            .to_string();
        assert!(refusal.contains(told), "{uri}: {refusal}");
    }
    let refusal = open(&uri("signing", "pin"), None).expect_err("the token has no certificate");
    assert!(refusal.to_string().contains("--certificates"), "{refusal}");
}
