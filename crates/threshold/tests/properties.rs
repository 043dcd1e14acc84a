//! What holds for every M, N, choice of holders and flipped bit.

#[allow(dead_code)] // Each test file takes what it needs.
mod support;

use proptest::prelude::*;
use proptest::sample::subsequence;
use support::{Network, actor, entropy, open};
use threshold::{
    Ciphertext, Combiner, Deal, Fault, Judgement, LABEL_BYTES_MAX, Message, Partial, Phase,
    ThresholdKey, Wire, adversary,
};

const LABEL: &[u8] = b"network 7, epoch 3, session key";

/// M, N, M holders, a seed.
fn committees() -> impl Strategy<Value = (u8, u8, Vec<u8>, u8)> {
    (1..=7_u8)
        .prop_flat_map(|n| (1..=n, Just(n)))
        .prop_flat_map(|(m, n)| {
            let holders = subsequence((1..=n).collect::<Vec<_>>(), usize::from(m)).prop_shuffle();
            (Just(m), Just(n), holders, any::<u8>())
        })
}

/// Committees up to the largest, M = 1 and M = N as often as any other, and M holders.
fn wide_committees() -> impl Strategy<Value = (u8, u8, Vec<u8>, u8)> {
    prop_oneof![1..=16_u8, 17..=64_u8, Just(64)]
        .prop_flat_map(|n| (prop_oneof![Just(1), Just(n), 1..=n], Just(n)))
        .prop_flat_map(|(m, n)| {
            let holders = subsequence((1..=n).collect::<Vec<_>>(), usize::from(m)).prop_shuffle();
            (Just(m), Just(n), holders, any::<u8>())
        })
}

/// The same key with M lowered: what M - 1 holders would use who do not accept that they are few.
fn lowered(key: &ThresholdKey, m: u8) -> ThresholdKey {
    let mut bytes = key.to_bytes();
    let at = 2 + 34 + 34; // array heads, network, session
    assert_eq!(usize::from(bytes[at]), key.threshold());
    bytes[at] = m;
    ThresholdKey::from_bytes(&bytes).expect("another M")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_m_of_n_open_and_m_less_one_do_not((m, n, holders, seed) in committees(), message: [u8; 32]) {
        let mut network = Network::complete(m, n, seed);
        let ciphertext = network.threshold_key().encrypt(&message, LABEL, &mut network.entropy);
        prop_assert_eq!(open(&mut network, &holders, &ciphertext, LABEL), Ok(message));

        let few = &holders[1..];
        prop_assert_eq!(open(&mut network, few, &ciphertext, LABEL), Err(1));
        let mut twice = few.to_vec();
        twice.extend(few);
        prop_assert_eq!(open(&mut network, &twice, &ciphertext, LABEL), Err(1), "nor does one count twice");
        if m > 1 {
            let key = lowered(&network.threshold_key(), m - 1);
            let verified = ciphertext.verify(&key, LABEL).expect("M is not in the hash");
            let mut combiner = Combiner::new(verified);
            for &j in few {
                combiner.add(&network.partial(j, &ciphertext, LABEL)).expect("a good partial");
            }
            let opened = combiner.open().expect("as many as the lowered M");
            prop_assert_ne!(*opened.expose(), message, "M - 1 points say nothing of the polynomial");
        }
    }

    #[test]
    fn a_bad_partial_names_its_holder_and_is_made_up_for(seed: u8, bad in 1..=4_u8) {
        let mut network = Network::complete(2, 4, seed);
        let key = network.threshold_key();
        let ciphertext = key.encrypt(&[3; 32], LABEL, &mut network.entropy);
        let other = key.encrypt(&[4; 32], LABEL, &mut network.entropy);
        let mut combiner = Combiner::new(ciphertext.verify(&key, LABEL).expect("good"));
        for j in 1..=4 {
            let of = if j == bad { &other } else { &ciphertext };
            let result = combiner.add(&network.partial(j, of, LABEL));
            prop_assert_eq!(result.map_err(|bad| bad.holder), if j == bad { Err(actor(j)) } else { Ok(()) });
        }
        prop_assert_eq!(*combiner.open().expect("three good ones").expose(), [3; 32]);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut: usize) {
        let _ = (Message::from_bytes(&bytes), Ciphertext::from_bytes(&bytes));
        let _ = (Partial::from_bytes(&bytes), ThresholdKey::from_bytes(&bytes));
        let network = Network::new(2, 3, 1);
        let (deal, _) = Deal::make(network.session.setup(), actor(1), &mut entropy(1));
        let deal = Message::Deal(deal).to_bytes();
        prop_assert!(Message::from_bytes(&deal[..cut % deal.len()]).is_err(), "a part is no message");
        let long = [&deal[..], &bytes].concat();
        prop_assert_eq!(Message::from_bytes(&long).is_ok(), bytes.is_empty(), "nor is more");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// M dealers and M receivers are enough, and keep this short.
    #[test]
    fn any_m_of_n_open_and_m_less_one_do_not_up_to_64((m, n, holders, seed) in wide_committees(), message: [u8; 32]) {
        let mut network = Network::new(m, n, seed);
        network.deal(1..=m);
        prop_assert_eq!(network.session.close_dealing(), Ok(Phase::Answering));
        prop_assert_eq!(network.answer(1..=m), []);
        prop_assert_eq!(network.session.close_answers(), Ok(Phase::Keying));
        network.reveal(&[]);
        let ciphertext = network.threshold_key().encrypt(&message, LABEL, &mut network.entropy);
        prop_assert_eq!(open(&mut network, &holders, &ciphertext, LABEL), Ok(message));
        prop_assert_eq!(open(&mut network, &holders[1..], &ciphertext, LABEL), Err(1));
    }

    /// Whoever cheats is named, and nobody else, and the key serves all the same.
    #[test]
    fn a_bad_dealer_and_a_false_disputer_are_named(
        (m, n, seed) in (2..=24_u8).prop_flat_map(|n| (1..n, Just(n), any::<u8>())),
        who in any::<[prop::sample::Index; 4]>(),
    ) {
        let [dealer, victim, liar, accused] = who.map(|at| u8::try_from(at.index(usize::from(n))).expect("below 64") + 1);
        let mut network = Network::new(m, n, seed);
        let setup = network.session.setup().clone();
        let mut deals = std::collections::BTreeMap::new();
        for i in 1..=n {
            let (deal, secret) = if i == dealer {
                adversary::cheat(&setup, actor(i), actor(victim), &mut network.entropy)
            } else {
                Deal::make(&setup, actor(i), &mut network.entropy)
            };
            network.secrets.push(secret);
            prop_assert_eq!(network.publish(&Message::Deal(deal.clone())), None, "it shows to its victim only");
            deals.insert(i, deal);
        }
        network.session.close_dealing().expect("all dealt");
        let lies = (liar, accused) != (victim, dealer);
        if lies {
            let key = &network.keys[usize::from(liar) - 1];
            let lie = adversary::dispute(&setup, &deals[&accused], actor(liar), key, &mut network.entropy);
            let false_dispute = Fault::FalseDispute { receiver: actor(liar), dealer: actor(accused) };
            prop_assert_eq!(network.publish(&lie), Some(false_dispute));
        }
        let bad = Fault::BadShare { dealer: actor(dealer), receiver: actor(victim) };
        prop_assert_eq!(network.answer(1..=n), [bad]);
        prop_assert_eq!(network.session.faults().count(), 1 + usize::from(lies));
        network.session.close_answers().expect("all answered");
        let others: Vec<_> = (1..=n).filter(|i| *i != dealer).map(actor).collect();
        prop_assert_eq!(network.session.qualified(), &others[..], "the dealer is out, whoever was accused falsely stays");
        network.reveal(&[]);
        let ciphertext = network.threshold_key().encrypt(&[7; 32], LABEL, &mut network.entropy);
        let holders: Vec<_> = (n - m + 1..=n).collect();
        prop_assert_eq!(open(&mut network, &holders, &ciphertext, LABEL), Ok([7; 32]));
    }
}

/// Every variant of `bytes` with one bit flipped is refused.
fn every_bit(bytes: &[u8], mut accepts: impl FnMut(&[u8]) -> bool) {
    assert!(accepts(bytes), "the original is good");
    let mut bytes = bytes.to_vec();
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(!accepts(&bytes), "bit {bit} does not count");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn any_flipped_bit_of_a_ciphertext_or_a_label_is_refused() {
    let mut network = Network::complete(2, 3, 1);
    let key = network.threshold_key();
    let ciphertext = key.encrypt(&[9; 32], LABEL, &mut network.entropy);
    every_bit(&ciphertext.to_bytes(), |bytes| {
        Ciphertext::from_bytes(bytes).is_ok_and(|ciphertext| ciphertext.verify(&key, LABEL).is_ok())
    });
    every_bit(LABEL, |label| ciphertext.verify(&key, label).is_ok());
    assert!(ciphertext.verify(&key, &[]).is_err());
    assert!(ciphertext.verify(&key, &[0; LABEL_BYTES_MAX + 1]).is_err());
    let other = Network::complete(2, 3, 2).threshold_key();
    assert!(
        ciphertext.verify(&other, LABEL).is_err(),
        "another session's key"
    );
}

#[test]
fn any_flipped_bit_of_a_partial_is_refused() {
    let mut network = Network::complete(2, 3, 1);
    let key = network.threshold_key();
    let ciphertext = key.encrypt(&[9; 32], LABEL, &mut network.entropy);
    let verified = ciphertext.verify(&key, LABEL).expect("good");
    let partial = network.partial(3, &ciphertext, LABEL);
    every_bit(&partial.to_bytes(), |bytes| {
        Partial::from_bytes(bytes).is_ok_and(|partial| partial.verify(&verified).is_ok())
    });
}

#[test]
fn any_flipped_bit_of_a_deal_is_refused() {
    let network = Network::new(2, 3, 1);
    let (deal, _) = Deal::make(network.session.setup(), actor(2), &mut entropy(1));
    every_bit(
        &Message::Deal(deal).to_bytes(),
        |bytes| match Message::from_bytes(bytes) {
            Ok(Message::Deal(deal)) => deal.verify(network.session.setup()).is_ok(),
            _ => false,
        },
    );
}

#[test]
fn any_flipped_bit_of_a_dispute_acquits_the_dealer() {
    let mut network = Network::new(2, 3, 1);
    let setup = network.session.setup().clone();
    let (deal, _) = adversary::cheat(&setup, actor(1), actor(3), &mut network.entropy);
    let dispute = adversary::dispute(
        &setup,
        &deal,
        actor(3),
        &network.keys[2],
        &mut network.entropy,
    );
    every_bit(&dispute.to_bytes(), |bytes| {
        match Message::from_bytes(bytes) {
            Ok(Message::Dispute(dispute)) => dispute.judge(&setup, &deal) == Judgement::BadDealer,
            _ => false,
        }
    });
}

#[test]
fn any_flipped_bit_of_a_key_part_or_a_share_of_one_is_refused() {
    let mut network = Network::new(2, 3, 1);
    network.deal(1..=3);
    network.session.close_dealing().expect("all dealt");
    network.answer(1..=3);
    network.session.close_answers().expect("all answered");
    let secrets = std::mem::take(&mut network.secrets);
    let part = network
        .session
        .key_part(&secrets[0], &mut network.entropy)
        .expect("round 3");
    let share = network
        .session
        .key_part_share(&network.keys[1], actor(1), &mut network.entropy)
        .expect("round 3");
    for original in [part, share] {
        let bytes = original.to_bytes();
        let mut accepts = |bytes: &[u8]| {
            let Ok(message) = Message::from_bytes(bytes) else {
                return false;
            };
            matches!(network.session.apply(message.sender(), &message), Ok(None))
        };
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!accepts(&bytes), "bit {bit} does not count");
        }
        if matches!(original, Message::KeyPartShare(_)) {
            assert!(accepts(&bytes));
        }
    }
}

#[test]
fn other_encodings_of_a_good_message_are_refused() {
    let mut network = Network::complete(2, 3, 1);
    let key = network.threshold_key();
    let partial = key.encrypt(&[9; 32], LABEL, &mut network.entropy);
    let good = partial.to_bytes();
    assert_eq!(good[0], 0x85, "an array of five");
    let indefinite = [&[0x9f], &good[1..], &[0xff]].concat();
    assert!(Ciphertext::from_bytes(&indefinite).is_err());
    let surplus = [&[0x86], &good[1..], &[0xf6]].concat();
    assert!(Ciphertext::from_bytes(&surplus).is_err());
    let long_length = [&good[..1], &[0x59, 0x00, 0x20], &good[3..]].concat();
    assert!(Ciphertext::from_bytes(&long_length).is_err());
    assert!(Ciphertext::from_bytes(&[0; threshold::MESSAGE_BYTES_MAX + 1]).is_err());
}

#[test]
fn the_largest_committees_work() {
    for m in [1, 64] {
        let mut network = Network::new(m, 64, m);
        network.deal(1..=m); // M dealers and M receivers are enough, and keep this test short.
        assert_eq!(network.session.close_dealing(), Ok(Phase::Answering));
        assert_eq!(network.answer(1..=m), []);
        assert_eq!(network.session.close_answers(), Ok(Phase::Keying));
        network.reveal(&[]);
        let ciphertext = network
            .threshold_key()
            .encrypt(&[8; 32], LABEL, &mut network.entropy);
        let holders: Vec<_> = (65 - m..=64).collect();
        assert_eq!(
            open(&mut network, &holders, &ciphertext, LABEL),
            Ok([8; 32])
        );
    }
}
