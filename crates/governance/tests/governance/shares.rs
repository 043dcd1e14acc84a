//! The way of a share-transport key into its actor's node: nobody else gets it.

use crypto::{Entropy, HpkeKey, NotAuthentic, PublicKey};
use governance::{
    Constitution, NodeTuple, ShareRefused, ShareRequest, ShareTerms, share_delivery_info,
};
use tee::CodeState;
use tee::software::Statement;
use threshold::TransportKey;
use types::{Millis, NetworkId};

use crate::share_keys::share_key;
use crate::world::{MEASUREMENT, NOW, World, key};

const ADDRESS: &str = "bob.example:9000";

struct Scene {
    world: World,
    constitution: Constitution,
    network: NetworkId,
    hpke: HpkeKey,
}

impl Scene {
    fn new() -> Self {
        let world = World::new();
        let mut constitution = world.constitution.clone();
        constitution.actors[1].share_key = Some(share_key(2));
        constitution.validate().expect("bob has a share key");
        Self {
            network: constitution.network_id(),
            world,
            constitution,
            hpke: HpkeKey::generate(&mut Entropy::new(&[7; 32])),
        }
    }

    fn node(&self) -> PublicKey {
        *key(101).public()
    }

    /// What a node in good order sends.
    fn request(&self) -> ShareRequest {
        self.request_of("bob", ADDRESS, MEASUREMENT)
    }

    fn request_of(&self, owner: &str, address: &str, measurement: [u8; 48]) -> ShareRequest {
        let tuple = NodeTuple {
            network: self.network,
            owner: owner.into(),
            address: address.into(),
            key: self.node(),
            constitution: self.constitution.digest(),
        };
        let statement = Statement {
            measurement,
            report_data: ShareRequest::report_data(&self.network, &self.node(), self.hpke.public()),
            launch_data: vec![],
            instance: [7; 16],
            svn: 1,
            time: NOW,
            missing: vec![],
            shared_user: false,
        };
        let launcher = &self.world.launcher;
        let chain = std::slice::from_ref(&launcher.certificate);
        ShareRequest {
            tuple: tuple.sign(&self.world.bob.key),
            evidence: tee::software::sign(&launcher.key, chain, &statement),
            endorsements: vec![],
            hpke_public: *self.hpke.public(),
        }
    }

    /// Bob's agent answers.
    fn answer(&self, request: &ShareRequest) -> Result<Vec<u8>, ShareRefused> {
        self.answer_at(request, 2, NOW)
    }

    fn answer_at(
        &self,
        request: &ShareRequest,
        seed: u8,
        now: Millis,
    ) -> Result<Vec<u8>, ShareRefused> {
        let chain = [self.world.bob.certificate.clone()];
        let terms = ShareTerms {
            network: &self.network,
            constitution: &self.constitution,
            owner: "bob",
            address: ADDRESS,
            chain: &chain,
        };
        let held = TransportKey::generate(&mut Entropy::new(&[seed; 32]));
        request.answer(&terms, &held, now, &mut Entropy::new(&[9; 32]))
    }
}

#[test]
fn a_node_in_good_order_gets_its_actors_key() {
    let scene = Scene::new();
    let sealed = scene.answer(&scene.request()).expect("in good order");
    let open = |network: &NetworkId, owner: &str, node: &PublicKey| {
        let info = share_delivery_info(network, owner, node);
        let opened = scene.hpke.open(&info, &[], &sealed)?;
        let bytes = opened.as_slice().try_into().expect("32 bytes");
        Ok(TransportKey::from_bytes(bytes).expect("a key").public())
    };
    assert_eq!(open(&scene.network, "bob", &scene.node()), Ok(share_key(2)));
    // Its network, owner and node are bound.
    for other in [
        open(&NetworkId::ZERO, "bob", &scene.node()),
        open(&scene.network, "ada", &scene.node()),
        open(&scene.network, "bob", key(102).public()),
    ] {
        assert_eq!(other, Err(NotAuthentic));
    }
}

#[test]
fn nobody_else_gets_it() {
    let scene = Scene::new();
    let good = scene.request();
    let refused = |request: &ShareRequest| match scene.answer(request) {
        Ok(_) => panic!("it was given away"),
        Err(refused) => refused,
    };
    // Code that the constitution does not list, and code that it lists for something else.
    let unlisted = refused(&scene.request_of("bob", ADDRESS, [99; 48]));
    assert!(matches!(
        unlisted,
        ShareRefused::Evidence(tee::Refused::Measurement(_))
    ));
    let worker = refused(&scene.request_of("bob", ADDRESS, [4; 48]));
    assert!(matches!(&worker, ShareRefused::Image { name, .. } if name == "worker/kv"));
    // The tuple of another owner, of another place, and one that bob did not sign.
    let other = refused(&scene.request_of("eve", "eve.example:9000", MEASUREMENT));
    assert!(matches!(other, ShareRefused::Tuple(_)), "{other}");
    let moved = refused(&scene.request_of("bob", "bob.example:9001", MEASUREMENT));
    assert!(matches!(
        moved,
        ShareRefused::Another {
            what: "address",
            ..
        }
    ));
    let mut forged = good.clone();
    forged.tuple = scene
        .world
        .tuple("bob", &scene.node())
        .sign(&scene.world.eve.key);
    assert!(matches!(refused(&forged), ShareRefused::Tuple(_)));
    // A host that puts its own HPKE key into a genuine request.
    let mut spliced = good.clone();
    spliced.hpke_public = *HpkeKey::generate(&mut Entropy::new(&[8; 32])).public();
    assert_eq!(
        refused(&spliced),
        ShareRefused::Evidence(tee::Refused::ReportData)
    );
    // A genuine request of long ago.
    let late = scene
        .answer_at(&good, 2, NOW.plus(3_600_000))
        .expect_err("old");
    assert!(
        matches!(late, ShareRefused::Evidence(tee::Refused::Age { .. })),
        "{late}"
    );
}

#[test]
fn code_that_retires_gets_no_key() {
    let mut scene = Scene::new();
    scene.constitution.code.images[0].state = CodeState::Retiring;
    let refused = scene.answer(&scene.request()).expect_err("it retires");
    assert!(matches!(
        refused,
        ShareRefused::Image {
            state: CodeState::Retiring,
            ..
        }
    ));
}

#[test]
fn a_key_that_the_constitution_does_not_list_is_not_given() {
    let scene = Scene::new();
    let refused = scene
        .answer_at(&scene.request(), 3, NOW)
        .expect_err("another key");
    assert_eq!(
        refused,
        ShareRefused::NotListed {
            owner: "bob".into()
        }
    );
}
