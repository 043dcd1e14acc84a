//! Sessions with actors that fail or cheat: who is named, and that the key still serves.

#[allow(dead_code)] // Each test file takes what it needs.
mod support;

use support::{Network, actor, open};
use threshold::{
    Awaiting, Deal, Fault, Message, NoShare, NotYet, Phase, Refused, Session, adversary,
};

const LABEL: &[u8] = b"epoch 3";

/// The key encrypts, and these holders open.
fn opens(network: &mut Network, holders: &[u8]) {
    let ciphertext = network
        .threshold_key()
        .encrypt(&[5; 32], LABEL, &mut network.entropy);
    assert_eq!(open(network, holders, &ciphertext, LABEL), Ok([5; 32]));
}

#[test]
fn a_bad_dealer_is_disqualified_by_its_victim() {
    let mut network = Network::new(3, 5, 1);
    network.deal([1, 3, 4, 5]);
    let (deal, secret) = adversary::cheat(
        network.session.setup(),
        actor(2),
        actor(4),
        &mut network.entropy,
    );
    network.secrets.push(secret);
    assert_eq!(
        network.publish(&Message::Deal(deal)),
        None,
        "it verifies in public"
    );
    network.session.close_dealing().expect("all dealt");
    let bad = Fault::BadShare {
        dealer: actor(2),
        receiver: actor(4),
    };
    assert_eq!(network.answer(1..=5), [bad]);
    network.session.close_answers().expect("all answered");
    assert_eq!(network.session.qualified(), [1, 3, 4, 5].map(actor));
    network.reveal(&[]);
    assert_eq!(network.session.phase(), Phase::Done);
    opens(&mut network, &[2, 4, 5]); // A bad dealer still holds a share.
}

#[test]
fn a_false_disputer_is_flagged_and_the_dealer_stays() {
    let mut network = Network::new(2, 3, 2);
    network.deal([2, 3]);
    let (deal, secret) = Deal::make(network.session.setup(), actor(1), &mut network.entropy);
    network.secrets.push(secret);
    network.publish(&Message::Deal(deal.clone()));
    network.session.close_dealing().expect("all dealt");
    let key = &network.keys[2];
    let dispute = adversary::dispute(
        network.session.setup(),
        &deal,
        actor(3),
        key,
        &mut network.entropy,
    );
    let false_dispute = Fault::FalseDispute {
        receiver: actor(3),
        dealer: actor(1),
    };
    assert_eq!(network.publish(&dispute), Some(false_dispute));
    assert_eq!(
        network.session.apply(actor(3), &dispute),
        Err(Refused::Repeated)
    );
    assert_eq!(
        network.session.apply(actor(2), &dispute),
        Err(Refused::NotTheSender)
    );
    network.answer(1..=3);
    network.session.close_answers().expect("all answered");
    assert_eq!(network.session.qualified(), [1, 2, 3].map(actor));
    assert_eq!(
        network.session.faults().collect::<Vec<_>>(),
        [false_dispute]
    );
    network.reveal(&[]);
    opens(&mut network, &[1, 3]);
}

#[test]
fn an_absent_dealer_is_not_needed_and_still_gets_a_share() {
    let mut network = Network::new(2, 4, 3);
    network.deal([1]);
    assert_eq!(
        network.session.close_dealing(),
        Err(NotYet::Deals { missing: 1 })
    );
    network.deal([2, 3]);
    assert_eq!(network.session.awaiting(), Awaiting::Deals(vec![actor(4)]));
    network.session.close_dealing().expect("M dealt");
    let (late, _) = Deal::make(network.session.setup(), actor(4), &mut network.entropy);
    let late = network.session.apply(actor(4), &Message::Deal(late));
    assert_eq!(late, Err(Refused::NotNow(Phase::Answering)));
    network.answer(1..=3);
    network.session.close_answers().expect("M answered");
    network.reveal(&[]);
    opens(&mut network, &[4, 1]);
}

#[test]
fn a_receiver_absent_in_round_2_is_named_and_has_its_share_later() {
    let mut network = Network::new(2, 3, 4);
    network.deal(1..=3);
    network.session.close_dealing().expect("all dealt");
    network.answer([1]);
    assert_eq!(
        network.session.close_answers(),
        Err(NotYet::Acks { missing: 1 })
    );
    network.answer([3]);
    assert_eq!(
        network.session.awaiting(),
        Awaiting::Answers(vec![actor(2)])
    );
    assert_eq!(network.session.confirmed(), [1, 3].map(actor));
    network.session.close_answers().expect("M answered");
    network.reveal(&[]);
    opens(&mut network, &[2, 3]);
}

#[test]
fn a_receiver_cheated_while_absent_names_the_dealer_afterwards() {
    let mut network = Network::new(2, 3, 5);
    network.deal([1, 3]);
    let (deal, secret) = adversary::cheat(
        network.session.setup(),
        actor(2),
        actor(1),
        &mut network.entropy,
    );
    network.secrets.push(secret);
    network.publish(&Message::Deal(deal.clone()));
    network.session.close_dealing().expect("all dealt");
    network.answer([2, 3]);
    network.session.close_answers().expect("M answered");
    network.reveal(&[]);
    let cheated = network.session.share(network.key(actor(1))).map(|_| ());
    assert_eq!(cheated, Err(NoShare::BadDealer(actor(2))));
    let key = &network.keys[0];
    let dispute = adversary::dispute(
        network.session.setup(),
        &deal,
        actor(1),
        key,
        &mut network.entropy,
    );
    let bad = Fault::BadShare {
        dealer: actor(2),
        receiver: actor(1),
    };
    assert_eq!(network.publish(&dispute), Some(bad));
    assert_eq!(
        network.session.qualified(),
        [1, 2, 3].map(actor),
        "the key is in use"
    );
    opens(&mut network, &[2, 3]);
}

#[test]
fn a_dealer_lost_before_its_key_part_is_made_up_for_by_m_others() {
    let mut network = Network::new(3, 4, 6);
    network.deal(1..=4);
    network.session.close_dealing().expect("all dealt");
    network.answer(1..=4);
    network.session.close_answers().expect("all answered");
    network.reveal(&[2]);
    for (missing, j) in [(3, 1), (2, 3), (1, 4)] {
        assert_eq!(
            network.session.awaiting(),
            Awaiting::KeyParts(vec![(actor(2), missing)])
        );
        let key = &network.keys[j - 1];
        let share = network
            .session
            .key_part_share(key, actor(2), &mut network.entropy)
            .expect("round 3");
        assert_eq!(network.publish(&share), None);
    }
    assert_eq!(network.session.awaiting(), Awaiting::Nothing);
    opens(&mut network, &[1, 3, 4]);
}

#[test]
fn a_made_up_key_part_is_refused_and_named() {
    let mut network = Network::new(2, 3, 7);
    network.deal(1..=3);
    network.session.close_dealing().expect("all dealt");
    network.answer(1..=3);
    network.session.close_answers().expect("all answered");
    // A key part with the secret of another dealing of the same dealer.
    let (_, other) = Deal::make(network.session.setup(), actor(1), &mut network.entropy);
    let part = network
        .session
        .key_part(&other, &mut network.entropy)
        .expect("round 3");
    assert_eq!(
        network.publish(&part),
        Some(Fault::InvalidKeyPart { dealer: actor(1) })
    );
    network.reveal(&[]);
    opens(&mut network, &[1, 2]);
}

#[test]
fn too_few_good_dealers_end_the_session() {
    let mut network = Network::new(2, 2, 8);
    network.deal([1]);
    let (deal, _) = adversary::cheat(
        network.session.setup(),
        actor(2),
        actor(1),
        &mut network.entropy,
    );
    network.publish(&Message::Deal(deal));
    network.session.close_dealing().expect("all dealt");
    network.answer(1..=2);
    assert_eq!(network.session.close_answers(), Ok(Phase::Failed));
    assert_eq!(network.session.awaiting(), Awaiting::NewSession);
}

#[test]
fn messages_of_another_session_have_no_effect() {
    let one = Network::new(2, 3, 9);
    let mut two = Network::new(2, 3, 10);
    let (deal, _) = Deal::make(one.session.setup(), actor(1), &mut two.entropy);
    let result = two.session.apply(actor(1), &Message::Deal(deal));
    assert_eq!(result, Err(Refused::OtherSession));
}

#[test]
fn the_same_messages_give_the_same_session() {
    let mut network = Network::new(3, 4, 12);
    let mut second = Session::new(network.session.setup().clone());
    for i in 1..=4 {
        let (deal, secret) = Deal::make(network.session.setup(), actor(i), &mut network.entropy);
        network.secrets.push(secret);
        network.publish(&Message::Deal(deal.clone()));
        second
            .apply(actor(i), &Message::Deal(deal))
            .expect("takes effect");
    }
    network.session.close_dealing().expect("all dealt");
    second.close_dealing().expect("all dealt");
    for j in (1..=4).map(actor) {
        let messages = network
            .session
            .answer(network.key(j), &mut support::entropy(1))
            .expect("round 2");
        for message in messages {
            network.publish(&message);
            second.apply(j, &message).expect("takes effect");
        }
    }
    network.session.close_answers().expect("all answered");
    second.close_answers().expect("all answered");
    for secret in std::mem::take(&mut network.secrets) {
        let part = network
            .session
            .key_part(&secret, &mut network.entropy)
            .expect("round 3");
        network.publish(&part);
        second.apply(part.sender(), &part).expect("takes effect");
    }
    assert_eq!(network.session.key(), second.key());
    assert!(second.key().is_some());
}

#[test]
fn a_share_needs_the_key_and_the_qualified_deals_and_not_the_session() {
    let network = Network::complete(2, 3, 13);
    let key = network.threshold_key();
    let deals: Vec<_> = network.session.qualified_deals().cloned().collect();
    let share = |deals: &[Deal], holder, at: usize| {
        key.share(deals, actor(holder), &network.keys[at])
            .map(|_| ())
    };
    assert_eq!(share(&deals, 2, 1), Ok(()));
    assert_eq!(share(&deals[1..], 2, 1), Err(NoShare::OtherDeals));
    assert_eq!(
        share(&[&deals[..], &deals[..1]].concat(), 2, 1),
        Err(NoShare::OtherDeals)
    );
    assert_eq!(
        share(&deals, 2, 0),
        Err(NoShare::BadDealer(actor(1))),
        "another actor's key"
    );
    assert_eq!(share(&deals, 4, 1), Err(NoShare::NotAnActor));
}
