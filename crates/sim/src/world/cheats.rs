//! A calm network, who reads its ledger, and an actor that cheats in it: its node is listed, it has its own
//! share-transport key, and it says in a key generation what a test has it say.

use crypto::{Context, Entropy};
use governance::{
    Change, Command, Fact, Generation, KeyStep, Opening, Parts, ShareCache, SharedKey, State,
    sign_key_message,
};
use ledger::Kind;
use manager::wire::PeerMessage;
use threshold::{ActorIndex, Deal, DealerSecret, Message, Phase, TransportKey, Wire};
use types::Index;

use super::guests::Rogue;
use super::{LIVENESS_MS, Options, World};

/// A generation that is stuck is begun again within this, and made; a lease ends.
const AGAIN_MS: u64 = 2 * LIVENESS_MS;

/// `nodes` actors of whom `threshold` open; the first `running` of them have real nodes.
pub fn network(nodes: usize, running: usize, threshold: u32, ttl_ms: u64, seed: u64) -> World {
    calm_network(nodes, running, seed, None, |settings| {
        settings.key_threshold = threshold;
        settings.session_key_ttl_ms = ttl_ms;
    })
}

/// A network in which nothing goes wrong but what a test does.
pub fn calm_network(
    nodes: usize,
    running: usize,
    seed: u64,
    limits: Option<manager::Limits>,
    set: impl FnOnce(&mut governance::Settings),
) -> World {
    let options = Options {
        nodes: Some(nodes),
        clients: 2,
        trace: true,
        ..Options::default()
    };
    let mut world = World::new(seed, &options);
    world.limits = limits;
    let constitution = &mut world.consortium.constitution;
    constitution.settings.epoch_length_ms = 3_600_000;
    set(&mut constitution.settings);
    constitution.voting.policy = governance::Policy::One;
    world.dark = true;
    for place in 0..running {
        world.start(place, place == 0);
    }
    until(&mut world, "a network is there", |world| {
        world.all_vote() && world.positions().all(|p| p.sealed)
    });
    world.calm = false;
    world.turn(1, 0);
    world.turn(1, 1);
    world
}

pub fn sure(world: &mut World, act: impl FnOnce(&mut World) -> Result<(), String>) {
    if let Err(what) = act(world) {
        panic!("{}\n{what}", world.told.finish().1.join("\n"));
    }
}

pub fn until(world: &mut World, what: &str, done: impl Fn(&World) -> bool) {
    sure(world, |world| world.until(AGAIN_MS, what, done));
}

pub fn acknowledged(world: &World) -> usize {
    world.clients.values().map(|c| c.acknowledged.len()).sum()
}

pub fn told(world: &World, what: &str) -> usize {
    world.told.lines().filter(|l| l.contains(what)).count()
}

pub fn leader(world: &World) -> usize {
    let leader = world.leader().expect("it has a leader");
    world.places[&leader.node]
}

/// Somebody who reads what is public in the committed ledger.
#[derive(Default)]
pub struct Reader {
    pub state: State,
    facts: Vec<Fact>,
    /// The words of key generations, with whose they are.
    said: Vec<(String, Message)>,
    read: Index,
}

impl Reader {
    pub fn follow(&mut self, world: &World) {
        let committed = world.positions().map(|p| p.committed).max();
        for bytes in world.nodes[0].disk.entries().range(self.read.0 + 1..) {
            let entry = ledger::inspect(bytes.1).expect("its own");
            let header = entry.header;
            if Some(header.index) > committed {
                break;
            }
            self.read = header.index;
            if matches!(header.kind, Kind::Genesis | Kind::Administrative) {
                let done = self
                    .state
                    .apply_public(header.index, header.time, &entry.public);
                // A word that came too late is in the ledger and has no effect.
                if let Ok(facts) = done {
                    self.facts.extend(facts);
                    self.keep(&entry.public);
                }
            }
        }
    }

    fn keep(&mut self, public: &[u8]) {
        let command = Command::from_parts(public, &[]);
        if let Ok(Command::KeyStep(KeyStep::Message { node, signed })) = command {
            let node = self.state.node(node).expect("it is listed");
            let signed = crypto::verify1(&node.key, Context::KeyGeneration, &signed);
            let message = Message::from_bytes(signed.expect("the ledger took it").payload());
            self.said
                .push((node.owner.clone(), message.expect("the ledger took it")));
        }
    }

    pub fn said_by(&self, actor: &str) -> Vec<&Message> {
        let of = self.said.iter().filter(|(owner, _)| owner == actor);
        of.map(|(_, message)| message).collect()
    }

    /// Whose message showed what, as the ledger and members' events have it.
    pub fn faults(&self) -> Vec<(&str, &str)> {
        let faults = self.facts.iter().filter_map(|fact| match fact {
            Fact::KeyFault { actor, fault } => Some((actor.as_str(), fault.as_str())),
            _ => None,
        });
        faults.collect()
    }

    /// The newest key that the actors made by themselves.
    pub fn made(&self) -> Option<&SharedKey> {
        self.state.keys().shared().filter(|key| !key.is_dealt())
    }

    /// How many generations began.
    pub fn generations(&self) -> usize {
        let began = |f: &&Fact| matches!(f, Fact::KeyGeneration { .. });
        self.facts.iter().filter(began).count()
    }

    pub fn parts(&self, key: &TransportKey) -> Option<Parts> {
        let entropy = &mut Entropy::new(&[8; 32]);
        let records = self.state.keys();
        ShareCache::default().parts(records, key, self.state.epoch(), entropy)
    }

    /// These share-transport keys and the ledger open the newest epoch.
    pub fn open(&self, keys: &[&TransportKey]) -> bool {
        let records = self.state.keys();
        let mut opening = Opening::new(self.state.epoch());
        let mut opened = false;
        for key in keys {
            let parts = self.parts(key).expect("it is a holder's");
            opened |= opening.add(records, parts).expect("good parts").is_some();
        }
        opened
    }
}

/// The actor that cheats.
pub struct Cheat {
    place: usize,
    pub rogue: Rogue,
    pub ledger: Reader,
    pub entropy: Entropy,
}

impl Cheat {
    /// Its node is admitted; then members vote for another M, so that actors have a key to make.
    pub fn listed(world: &mut World, threshold: u64) -> Self {
        let place = world.nodes.len() - 1;
        let rogue = Rogue::new(world, place);
        let leader = leader(world);
        rogue.joins(world, leader);
        let mut cheat = Self {
            place,
            rogue,
            ledger: Reader::default(),
            entropy: Entropy::new(&[6; 32]),
        };
        // A key that was being made without this actor is done with.
        cheat.wait(world, |ledger| ledger.made().is_some());
        let change = Change::SetSetting {
            name: "key_threshold".into(),
            value: threshold,
        };
        world.propose(0, 0, change);
        cheat.wait(world, |ledger| ledger.made().is_none());
        cheat
    }

    pub fn wait(&mut self, world: &mut World, done: impl Fn(&Reader) -> bool) {
        let end = world.now.plus(AGAIN_MS);
        loop {
            self.ledger.follow(world);
            if done(&self.ledger) {
                return;
            }
            if world.now >= end {
                let scene = world.scene();
                sure(world, |_| Err(format!("it does not come{scene}")));
            }
            sure(world, |world| world.pass(20));
        }
    }

    /// Waits for a round of the next generation after `after`, and gives that generation's number.
    pub fn round(&mut self, world: &mut World, after: u64, phase: Phase) -> u64 {
        let there = |generation: &Generation| {
            generation.number() > after && generation.session().phase() == phase
        };
        self.wait(world, |ledger| {
            ledger.state.keys().generation().is_some_and(there)
        });
        self.generation().number()
    }

    pub fn generation(&self) -> &Generation {
        let generation = self.ledger.state.keys().generation();
        generation.expect("one is under way")
    }

    pub fn index(&self, world: &World, member: usize) -> ActorIndex {
        let setup = self.generation().session().setup();
        let index = setup.index_of(&world.consortium.members[member].share);
        index.expect("it takes part")
    }

    /// Says it, and waits for the ledger to show it.
    pub fn say(&mut self, world: &mut World, message: &Message) {
        let signed = sign_key_message(&self.rogue.key, message);
        let place = leader(world);
        let link = self.rogue.dials(world, place);
        self.rogue
            .says(world, link, &PeerMessage::KeyMessage(signed.into()));
        let me = world.consortium.members[self.place].name.clone();
        self.wait(world, |ledger| ledger.said_by(&me).contains(&message));
    }

    /// Deals as it should.
    pub fn deal(&mut self, world: &mut World) -> DealerSecret {
        let me = self.index(world, self.place);
        let session = self.ledger.state.keys().generation().expect("round 1");
        let (deal, secret) = Deal::make(session.session().setup(), me, &mut self.entropy);
        self.say(world, &Message::Deal(deal));
        secret
    }

    /// Answers as it should.
    pub fn answer(&mut self, world: &mut World) {
        let share = &world.consortium.members[self.place].share;
        let generation = self.ledger.state.keys().generation().expect("round 2");
        let answers = generation.session().answer(share, &mut self.entropy);
        for message in answers.expect("round 2") {
            self.say(world, &message);
        }
    }

    pub fn key_part(&mut self, world: &mut World, secret: &DealerSecret) {
        let generation = self.ledger.state.keys().generation().expect("round 3");
        let part = generation.session().key_part(secret, &mut self.entropy);
        self.say(world, &part.expect("round 3"));
    }
}

/// The actors make a key, an epoch is sealed to it on every node, and clients are served.
pub fn goes_on(world: &mut World, cheat: &mut Cheat) {
    cheat.wait(world, |ledger| ledger.made().is_some());
    serves(world, &mut cheat.ledger);
}

pub fn serves(world: &mut World, ledger: &mut Reader) {
    let made = ledger.made().expect("the actors made it");
    let (number, session) = (made.number(), made.key().session());
    sure(world, |world| world.pass(1_000));
    ledger.follow(world);
    let epoch = ledger.state.epoch();
    let record = ledger.state.keys().epoch(epoch).expect("it is open");
    let seal = record.opening.seal.as_ref().map(|seal| seal.key);
    assert_eq!(seal, Some(session), "{epoch} is sealed to key {number}");
    assert!(world.positions().all(|p| p.epoch == epoch && p.keyed));
    let before = acknowledged(world);
    sure(world, |world| world.pass(3_000));
    assert!(acknowledged(world) > before, "and the network serves");
}

/// Share-transport keys of these members.
pub fn shares<'a>(world: &'a World, members: &[usize]) -> Vec<&'a TransportKey> {
    let share = |member: &usize| &world.consortium.members[*member].share;
    members.iter().map(share).collect()
}
