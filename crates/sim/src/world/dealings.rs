//! Actors that fail or cheat while the threshold key is made, and afterwards, in a whole network: the ledger
//! names who was wrong, the others go on or begin again, and an epoch is sealed to the key that comes out.
//! Honest actors have real nodes.

use crypto::Entropy;
use governance::Change;
use manager::wire::{Partials, PeerMessage};
use threshold::{Fault, Message, Phase, TransportKey, Wire, adversary};

use super::cheats::{
    Cheat, Reader, acknowledged, goes_on, network, serves, shares, sure, told, until,
};
use super::{Event, LIVENESS_MS, World};

#[test]
fn a_bad_dealing_is_disputed_by_its_victim_and_the_key_is_made_without_it() {
    let mut world = network(4, 3, 2, 8_000, 71);
    let mut cheat = Cheat::listed(&mut world, 3);
    cheat.round(&mut world, 0, Phase::Dealing);
    let (me, victim) = (cheat.index(&world, 3), cheat.index(&world, 1));
    let setup = cheat.ledger.state.keys().generation().expect("round 1");
    let setup = setup.session().setup();
    let (deal, _) = adversary::cheat(setup, me, victim, &mut cheat.entropy);
    cheat.say(&mut world, &Message::Deal(deal.clone()));
    goes_on(&mut world, &mut cheat);

    let bad = Fault::BadShare {
        dealer: me,
        receiver: victim,
    };
    assert_eq!(
        cheat.ledger.faults(),
        [("member-1", format!("{bad:?}").as_str())],
        "the ledger names it"
    );
    let made = cheat.ledger.made().expect("the actors made it");
    assert!(!made.deals().contains(&deal) && made.deals().len() == 3);
    let opened = told(&world, "were opened by member-");
    sure(&mut world, |world| world.pass(10_000));
    assert!(told(&world, "were opened by member-") > opened);
    // It dealt badly and still holds a share.
    assert!(cheat.ledger.open(&shares(&world, &[0, 2, 3])));
    assert!(!cheat.ledger.open(&shares(&world, &[2, 3])));
}

#[test]
fn a_false_dispute_is_flagged_and_the_dealer_that_it_accuses_stays() {
    let mut world = network(4, 3, 2, 8_000, 72);
    let mut cheat = Cheat::listed(&mut world, 3);
    cheat.round(&mut world, 0, Phase::Dealing);
    let secret = cheat.deal(&mut world);
    cheat.round(&mut world, 0, Phase::Answering);
    let (me, accused) = (cheat.index(&world, 3), cheat.index(&world, 0));
    let session = cheat.generation().session().session();
    let deal = cheat.ledger.said_by("member-0").into_iter();
    let deal = deal.rev().find_map(|message| match message {
        Message::Deal(deal) => Some(deal.clone()),
        _ => None,
    });
    let deal = deal.expect("an honest node dealt");
    let setup = cheat.ledger.state.keys().generation().expect("round 2");
    let setup = setup.session().setup();
    let share = &world.consortium.members[3].share;
    let lie = adversary::dispute(setup, &deal, me, share, &mut cheat.entropy);
    cheat.say(&mut world, &lie);
    cheat.answer(&mut world);
    cheat.round(&mut world, 0, Phase::Keying);
    cheat.key_part(&mut world, &secret);
    goes_on(&mut world, &mut cheat);

    let lied = Fault::FalseDispute {
        receiver: me,
        dealer: accused,
    };
    assert_eq!(
        cheat.ledger.faults(),
        [("member-3", format!("{lied:?}").as_str())],
        "the ledger names it"
    );
    let made = cheat.ledger.made().expect("the actors made it");
    assert_eq!(made.key().session(), session, "nobody began again");
    assert!(made.deals().contains(&deal) && made.deals().len() == 4);
}

#[test]
fn an_actor_that_is_absent_throughout_is_not_waited_for_and_has_its_share_when_it_comes() {
    let mut world = network(4, 3, 3, 8_000, 73);
    let mut ledger = Reader::default();
    until(&mut world, "three actors make a key", |world| {
        told(world, "opening epoch 3") > 0
    });
    sure(&mut world, |world| world.pass(1_000));
    ledger.follow(&world);
    assert!(ledger.said_by("member-3").is_empty());
    let made = ledger.made().expect("three of four are enough");
    assert_eq!((made.deals().len(), made.actors().len()), (3, 4));
    assert_eq!(ledger.faults(), [], "to be away is no fault");
    serves(&mut world, &mut ledger);

    // It comes, and another goes: three actors, with it, open the keys.
    world.schedule(1, Event::Start { place: 3 });
    until(&mut world, "the fourth votes", World::all_vote);
    world.lose_power(&[1].into());
    world
        .queue
        .retain(|_, event| !matches!(event, Event::Start { place: 1 }));
    let opened = "were opened by member-0, member-2, member-3";
    let before = told(&world, opened);
    until(&mut world, "its share opens keys", |world| {
        told(world, opened) >= before + 3
    });
    world.schedule(1, Event::Start { place: 1 });
    sure(&mut world, World::end);
}

#[test]
fn a_receiver_that_is_absent_in_round_2_is_not_waited_for_and_has_its_share_afterwards() {
    let mut world = network(4, 3, 2, 8_000, 74);
    let mut cheat = Cheat::listed(&mut world, 3);
    cheat.round(&mut world, 0, Phase::Dealing);
    let secret = cheat.deal(&mut world);
    cheat.round(&mut world, 0, Phase::Answering);
    let began = world.now;
    cheat.round(&mut world, 0, Phase::Keying);
    assert!(world.now.since(began) > 4_000, "the round waited for it");
    cheat.key_part(&mut world, &secret);
    goes_on(&mut world, &mut cheat);

    let said = cheat.ledger.said_by("member-3");
    assert!(
        matches!(said[..], [Message::Deal(_), Message::KeyPart(_)]),
        "it acknowledged nothing"
    );
    let made = cheat.ledger.made().expect("the actors made it");
    assert_eq!(made.deals().len(), 4);
    assert_eq!(cheat.ledger.faults(), []);
    assert!(cheat.ledger.open(&shares(&world, &[3, 0, 1])));
}

#[test]
fn a_dealer_lost_before_its_key_part_is_made_up_for_by_m_others() {
    let mut world = network(4, 3, 2, 8_000, 75);
    let mut cheat = Cheat::listed(&mut world, 3);
    let number = cheat.round(&mut world, 0, Phase::Dealing);
    cheat.deal(&mut world);
    cheat.round(&mut world, 0, Phase::Answering);
    cheat.answer(&mut world);
    cheat.round(&mut world, 0, Phase::Keying);
    let lost = cheat.index(&world, 3);
    goes_on(&mut world, &mut cheat);

    let made = cheat.ledger.made().expect("the actors made it");
    assert_eq!(made.number(), number, "nobody began again");
    assert_eq!(made.deals().len(), 4, "and its dealing counts");
    for member in ["member-0", "member-1", "member-2"] {
        let said = cheat.ledger.said_by(member);
        let stood_in = |m: &&&Message| matches!(m, Message::KeyPartShare(_));
        assert_eq!(
            said.iter().filter(stood_in).count(),
            1,
            "{member} for {lost}"
        );
    }
}

/// M is N: without the one that was lost nobody can make up for its part, and all begin again.
#[test]
fn a_dealer_lost_before_its_key_part_whom_too_few_make_up_for_has_all_begin_again() {
    let mut world = network(3, 2, 2, 600_000, 76);
    let mut cheat = Cheat::listed(&mut world, 3);
    let first = cheat.round(&mut world, 0, Phase::Dealing);
    cheat.deal(&mut world);
    cheat.round(&mut world, 0, Phase::Answering);
    cheat.answer(&mut world);
    cheat.round(&mut world, 0, Phase::Keying);
    begins_again(&mut world, &mut cheat, first);
    assert_eq!(cheat.ledger.faults(), []);
}

/// M is N: a bad dealing leaves too few good ones, and all begin again.
#[test]
fn a_bad_dealing_that_leaves_too_few_has_all_begin_again() {
    let mut world = network(3, 2, 2, 600_000, 77);
    let mut cheat = Cheat::listed(&mut world, 3);
    let first = cheat.round(&mut world, 0, Phase::Dealing);
    let (me, victim) = (cheat.index(&world, 2), cheat.index(&world, 0));
    let setup = cheat.ledger.state.keys().generation().expect("round 1");
    let setup = setup.session().setup();
    let (deal, _) = adversary::cheat(setup, me, victim, &mut cheat.entropy);
    cheat.say(&mut world, &Message::Deal(deal));
    cheat.round(&mut world, 0, Phase::Answering);
    cheat.answer(&mut world);
    cheat.round(&mut world, 0, Phase::Failed);
    let bad = Fault::BadShare {
        dealer: me,
        receiver: victim,
    };
    let bad = format!("{bad:?}");
    // It saw itself what it had done to whom; so did the victim.
    assert_eq!(cheat.ledger.faults(), [("member-0", bad.as_str())]);
    begins_again(&mut world, &mut cheat, first);
}

/// The second generation goes as it should, and all three actors have to open what is sealed to it.
fn begins_again(world: &mut World, cheat: &mut Cheat, first: u64) {
    let before = acknowledged(world);
    let second = cheat.round(world, first, Phase::Dealing);
    assert!(acknowledged(world) > before, "the network served meanwhile");
    let secret = cheat.deal(world);
    cheat.round(world, first, Phase::Answering);
    cheat.answer(world);
    cheat.round(world, first, Phase::Keying);
    cheat.key_part(world, &secret);
    goes_on(world, cheat);
    let made = cheat.ledger.made().expect("the actors made it");
    assert_eq!(made.number(), second);
    assert!(cheat.ledger.open(&shares(world, &[0, 1, 2])));
    assert!(!cheat.ledger.open(&shares(world, &[0, 1])));
}

#[test]
fn a_bad_partial_decryption_is_dropped_its_holder_named_and_others_open_the_keys() {
    let mut world = network(4, 3, 2, 8_000, 78);
    let mut cheat = Cheat::listed(&mut world, 3);
    goes_on(&mut world, &mut cheat);
    let opened = told(&world, "were opened by member-0, member-1, member-2");
    let before = acknowledged(&world);
    let epoch = cheat.ledger.state.epoch();
    let links: Vec<u64> = (0..3).map(|p| cheat.rogue.dials(&mut world, p)).collect();
    for _ in 0..200 {
        let share = &world.consortium.members[3].share;
        let (session, history) = cheat.ledger.parts(share).expect("it holds a share");
        // Each is a good part of the other ciphertext.
        let partials = Partials {
            epoch,
            session: history.to_bytes(),
            history: session.to_bytes(),
        };
        for link in &links {
            let message = PeerMessage::Partials(partials.clone());
            cheat.rogue.says(&mut world, *link, &message);
        }
        sure(&mut world, |world| world.pass(100));
    }
    let named = "a partial decryption of member-3 is wrong: it is dropped";
    assert!(told(&world, named) > 3, "it is named");
    assert_eq!(told(&world, "is forgotten"), 0);
    assert!(told(&world, "were opened by member-0, member-1, member-2") > opened + 3);
    assert!(acknowledged(&world) > before);
}

#[test]
fn an_actor_that_lost_its_share_transport_key_gets_another_by_vote_and_the_key_is_dealt_again() {
    let mut world = network(4, 4, 3, 8_000, 79);
    let mut ledger = Reader::default();
    until(&mut world, "the actors make a key", |world| {
        told(world, "opening epoch 3") > 0
    });
    sure(&mut world, |world| world.pass(500));
    ledger.follow(&world);
    let first = ledger.made().expect("it is made").number();

    // The machine is lost with the file; the other one that its owner made is not listed.
    world.lose_power(&[3].into());
    let entropy = &mut Entropy::new(&world.random.bytes());
    let other = TransportKey::generate(entropy);
    let lost = std::mem::replace(&mut world.consortium.members[3].share, other);
    let public = world.consortium.members[3].share.public();
    until(&mut world, "its node is back without a key", |world| {
        world.all_vote() && told(world, "lists another share key for") > 0
    });

    let name = world.consortium.members[3].name.clone();
    let mut in_force = world.consortium.constitution.clone();
    for actor in in_force.actors.iter_mut().filter(|a| a.name == name) {
        actor.share_key = Some(public);
    }
    world.consortium.in_force = Some(in_force);
    let change = Change::SetShareKey {
        actor: name,
        share_key: Some(public),
    };
    world.propose(0, 0, change);
    // Its owner gives node and agent the constitution that is in force, and starts the node again.
    until(&mut world, "the vote is counted", |world| {
        told(world, "constitution 2 is in force") >= 4
    });
    world.lose_power(&[3].into());
    let end = world.now.plus(LIVENESS_MS);
    while ledger.made().is_none_or(|made| made.number() == first) {
        assert!(world.now < end, "no key is dealt again{}", world.scene());
        sure(&mut world, |world| world.pass(100));
        ledger.follow(&world);
    }
    serves(&mut world, &mut ledger);
    assert!(ledger.parts(&lost).is_none(), "the lost key opens nothing");
    assert!(ledger.open(&shares(&world, &[3, 0, 1])));
    let told_of = |m: &Message| matches!(m, Message::Ack(_));
    let acked = ledger
        .said_by("member-3")
        .into_iter()
        .filter(|m| told_of(m));
    assert_eq!(acked.count(), 2, "it took part both times");
    assert_eq!(ledger.faults(), []);
    assert_eq!(ledger.generations(), 2);
    sure(&mut world, World::end);
}
