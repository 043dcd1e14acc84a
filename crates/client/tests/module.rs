//! A key in SoftHSM signs what a member votes. Skipped, and told so, where SoftHSM is not installed.

use std::path::Path;
use std::process::Command;

use channel::{Acceptor, Channel};
use client::{Entrance, Identity, Problem, Signer, Surface, Trust};
use crypto::{CertificateRequest, Context, Entropy, SigningKey, Zeroizing, issue, verify1};
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

#[test]
fn a_key_in_a_token_signs_as_a_file_does() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return sign_in(Path::new(&directory));
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
    let ada = ada();
    std::fs::write(at("ada.pem"), ada.to_pem()).expect("written");
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
        .args(["--exact", "a_key_in_a_token_signs_as_a_file_does"])
        .env("SOFTHSM2_CONF", at("softhsm2.conf"))
        .env(DIRECTORY, directory.path()));
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
    let uri = |object: &str, pin: &str| {
        format!(
            "pkcs11:token=ada;object={object};type=private?module-path={MODULE}&pin-source={}",
            directory.join(pin).display()
        )
    };
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
