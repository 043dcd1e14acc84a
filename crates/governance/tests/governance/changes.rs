//! Changes: each has one form in every encoding, is shown before it is voted on, and does what was shown.

use expect_test::expect;
use governance::{Change, ChangeKind, Constitution, Draft, Endpoint, Listed, Method, Policy, Role};
use types::Digest;

use crate::script::{Script, add_actor, image, measured, rule, setting, slot, slot_at};
use crate::share_keys::share_key;
use crate::world::{MEASUREMENT, holder};

/// One of each kind, all possible in one proposal.
fn one_of_each(script: &Script) -> Vec<Change> {
    let mut tee = script.constitution().tee.clone();
    tee.evidence_age_max_ms = 1;
    let certificate = holder("bob again", 40, false, None, vec![]).certificate;
    vec![
        add_actor(
            &holder("zoe", 41, false, None, vec![]),
            "zoe",
            &[Role::Participant],
        ),
        Change::RemoveActor {
            actor: "cat".into(),
        },
        Change::SetRoles {
            actor: "eve".into(),
            roles: [Role::Member, Role::Participant].into(),
            auditor: true,
        },
        Change::SetCertificates {
            actor: "bob".into(),
            certificates: vec![Listed(certificate)],
        },
        Change::SetShareKey {
            actor: "ada".into(),
            share_key: Some(share_key(60)),
        },
        Change::AddNode(slot_at("bob", "bob.example:9001")),
        Change::RemoveNode(slot("eve")),
        Change::MoveNode {
            owner: "bob".into(),
            from: slot("bob").address,
            to: "bob.example:9002".into(),
        },
        Change::AddCode(image(50)),
        Change::RetireCode(measured(MEASUREMENT)),
        Change::SetTee(tee),
        Change::SetVotingPolicy {
            kind: Some(ChangeKind::Node),
            policy: Policy::One,
        },
        Change::SetOpenTime { open_ms: 100_000 },
        Change::SetParticipantsPropose {
            kinds: [ChangeKind::Node].into(),
        },
        Change::SetRule(rule(
            "second",
            "add-node",
            "proposer.owns and owner.nodes <= 2",
        )),
        Change::SetListedNodesReturn { value: false },
        setting("epoch_length_ms", 100_000),
        Change::SetPolicy {
            name: "leader-verifies-signatures".into(),
            value: "yes".into(),
        },
        Change::SetProtocolAccess {
            protocol: "kv".into(),
            access: governance::Access::Confidential,
        },
        Change::SetEndpoint {
            protocol: "kv".into(),
            endpoint: endpoint("rates"),
        },
        Change::TransferLeadership(slot("ada")),
        Change::RevokeSessions {
            actor: "ada".into(),
        },
    ]
}

fn endpoint(name: &str) -> Endpoint {
    Endpoint {
        name: name.into(),
        address: "rates.example:443".into(),
        keys: vec![Digest([7; 32]), Digest([8; 32])],
        authority: None,
        methods: [Method::Get, Method::Post].into(),
        paths: vec!["/v1".into(), "/v2/eur".into()],
        callers: ["0xc0".into(), "0xc1".into()].into(),
        request_bytes_max: 1000,
        reply_bytes_max: 2000,
        time_max_ms: 3000,
        calls_max: 4,
    }
}

/// Certificates are signed anew in each run, so their fingerprints differ.
fn without_fingerprints(lines: &str) -> String {
    let mut lines: Vec<String> = lines
        .lines()
        .map(|line| match line.split_once(": ") {
            Some((about, rest)) if about.contains("certificate of") => {
                let (who, _) = about.rsplit_once(' ').expect("and a fingerprint");
                format!("{who}: {rest}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    lines.sort();
    lines.concat()
}

#[test]
fn one_proposal_changes_everything_at_once() {
    let mut script = Script::new(3, |_| ());
    let before = script.constitution().clone();
    let changes = one_of_each(&script);
    let number = script.propose("ada", &changes).expect("all fit together");
    let view = script
        .state
        .view(script.state.proposal(number).expect("open"));
    let effect = view.effect.join("\n");
    script.votes(number, "ada=for bob=for");
    // What voters were shown is what happened.
    assert_eq!(before.diff(script.constitution()).join("\n"), effect);
    expect![[r#"
        ada proposes 1
        ada=for on 1: 1 for, 0 against, 0 abstain; 2 of 3 needed
        bob=for on 1: 2 for, 0 against, 0 abstain; 2 of 3 needed
            proposal 1: Accepted { rules: [] }
            constitution 2
            sessions of bob end
            actor cat is removed
            sessions of cat end
            NodeMoved { owner: "bob", from: "bob.example:9000", to: "bob.example:9002", node: Some(NodeId(2)) }
            NodeRemoved { owner: "eve", address: "eve.example:9000", node: Some(NodeId(3)) }
            Retiring { node: NodeId(3) }
            TransferLeadership { node: NodeId(1) }
            sessions of ada end
            EpochDue { cause: Membership }
    "#]].assert_eq(&script.transcript);
    expect![[r#"
        + actor zoe: participant
        + certificate of bob: leaf "bob again"
        + certificate of zoe: leaf "zoe"
        + code 323232323232323232323232323232323232323232323232323232323232323232323232323232323232323232323232 on software: manager 50, allowed
        + node bob.example:9001: bob
        + node bob.example:9002: bob
        + participants propose node: yes
        + policy leader-verifies-signatures: yes
        + protocol kv, endpoint rates: rates.example:443, keys 0707070707070707070707070707070707070707070707070707070707070707 0808080808080808080808080808080808080808080808080808080808080808, GET POST /v1 /v2/eur for 0xc0 0xc1, at most 1000 bytes out and 2000 in, 3000 ms, 4 at once
        + rule second: accepts add-node when proposer.owns and owner.nodes <= 2
        + share key of ada: 9479db04bd5945abc1e6fe7715769aef1e513795a83a9f14bc38428ffd7dde12
        + voting on node: one
        - actor cat: member
        - certificate of bob: leaf "bob"
        - certificate of cat: leaf "cat"
        - node bob.example:9000: bob
        - node eve.example:9000: eve
        ~ actor eve: participant -> member, participant, auditor
        ~ code 030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303 on software: manager 1, allowed -> manager 1, retiring
        ~ listed nodes return: true -> false
        ~ oldest evidence: 60000 ms -> 1 ms
        ~ protocol kv: version 1, transparent access, settings 0808080808080808080808080808080808080808080808080808080808080808 -> version 1, confidential access, settings 0808080808080808080808080808080808080808080808080808080808080808
        ~ setting epoch_length_ms: 86400000 -> 100000
        ~ voting is open: 604800000 ms -> 100000 ms
    "#]].assert_eq(&without_fingerprints(&effect));
    let read = Constitution::from_cbor(&script.constitution().to_cbor()).expect("canonical");
    assert_eq!(read.digest(), script.state.constitution_digest());
    assert_eq!(script.state.versions().len(), 2);
    // And back, where a change has an opposite.
    let back = script
        .propose(
            "ada",
            &[
                Change::RemoveCode(measured([50; 48])),
                Change::AddCode(image(51)),
                Change::RemoveVotingPolicy {
                    kind: ChangeKind::Node,
                },
                Change::RemoveRule {
                    rule: "second".into(),
                },
                Change::RemovePolicy {
                    name: "leader-verifies-signatures".into(),
                },
                Change::RemoveEndpoint {
                    protocol: "kv".into(),
                    endpoint: "rates".into(),
                },
            ],
        )
        .expect("all there");
    script.votes(back, "ada=for eve=for");
    assert!(script.constitution().policies.is_empty());
    let kv = script.constitution().protocol("kv").expect("listed");
    assert!(kv.endpoints.is_empty());
}

#[test]
fn an_endpoint_is_set_replaced_and_removed_and_its_protocol_must_be_there() {
    let mut script = Script::new(3, |_| ());
    let set = |protocol: &str, endpoint: Endpoint| {
        [Change::SetEndpoint {
            protocol: protocol.into(),
            endpoint,
        }]
    };
    let remove = |name: &str| {
        [Change::RemoveEndpoint {
            protocol: "kv".into(),
            endpoint: name.into(),
        }]
    };
    let before = script.constitution().digest();
    script
        .propose("ada", &set("other", endpoint("a")))
        .expect_err("no such protocol");
    script
        .propose("ada", &remove("a"))
        .expect_err("no such endpoint");
    let nobody = Endpoint {
        keys: Vec::new(),
        ..endpoint("a")
    };
    script
        .propose("ada", &set("kv", nobody))
        .expect_err("nothing says who it is");
    for (name, millis) in [("b", 1), ("a", 2), ("b", 3)] {
        let endpoint = Endpoint {
            time_max_ms: millis,
            ..endpoint(name)
        };
        let change = set("kv", endpoint);
        assert_eq!(
            change[0].kinds(script.constitution()),
            [ChangeKind::Protocol].into()
        );
        let number = script.propose("ada", &change).expect("possible");
        script.votes(number, "ada=for bob=for");
        script
            .propose("ada", &change)
            .expect_err("it is so already");
    }
    let kv = script.constitution().protocol("kv").expect("listed");
    let listed: Vec<_> = kv
        .endpoints
        .iter()
        .map(|e| (&*e.name, e.time_max_ms))
        .collect();
    assert_eq!(listed, [("a", 2), ("b", 3)]);
    // A constitution that never had one is the same to the byte.
    for name in ["a", "b"] {
        let number = script.propose("ada", &remove(name)).expect("there");
        script.votes(number, "ada=for bob=for");
    }
    assert_eq!(script.constitution().digest(), before);
}

#[test]
fn the_data_format_of_a_protocol_takes_one_step_at_a_time_and_none_back() {
    let mut script = Script::new(3, |_| ());
    let to = |version| {
        [Change::SetProtocolVersion {
            protocol: "kv".into(),
            version,
        }]
    };
    for (present, refused) in [(1, [0, 1, 3, u32::MAX]), (2, [0, 1, 2, 4])] {
        for version in refused {
            script.propose("ada", &to(version)).expect_err("refused");
        }
        let number = script.propose("ada", &to(present + 1)).expect("next");
        // One that was made on the format of before is void, as its voters looked at something else.
        let late = script.propose("bob", &to(present + 1)).expect("still next");
        script.votes(number, "ada=for bob=for");
        let kv = script.constitution().protocol("kv").expect("listed");
        assert_eq!(kv.version, present + 1);
        let late = script.state.proposal(late);
        assert!(late.is_none_or(|late| late.closed.is_some()));
    }
}

#[test]
fn changes_have_one_form_in_each_encoding() {
    let script = Script::new(3, |_| ());
    let mut changes = one_of_each(&script);
    changes.extend([
        Change::SetProtocolSetting {
            protocol: "kv".into(),
            name: "depth".into(),
            value: Some("3".into()),
        },
        Change::SetProtocolVersion {
            protocol: "kv".into(),
            version: 2,
        },
        Change::RemoveEndpoint {
            protocol: "kv".into(),
            endpoint: "rates".into(),
        },
        Change::ReadmitNode(slot("ada")),
        Change::RemoveCode(measured(MEASUREMENT)),
        Change::RemoveVotingPolicy {
            kind: ChangeKind::Node,
        },
        Change::SetVotingPolicy {
            kind: None,
            policy: Policy::AtLeast(2),
        },
        Change::RemoveRule {
            rule: "second".into(),
        },
        Change::RemovePolicy {
            name: "leader-verifies-signatures".into(),
        },
    ]);
    for change in &changes {
        let json = serde_json::to_string(change).expect("JSON");
        assert_eq!(
            serde_json::from_str::<Change>(&json).expect("own JSON"),
            *change
        );
        let bytes = minicbor::to_vec(change).expect("memory takes it");
        assert_eq!(
            minicbor::decode::<Change>(&bytes).expect("own bytes"),
            *change
        );
        let more = json.replacen('{', r#"{"surprise":1,"#, 1);
        assert!(serde_json::from_str::<Change>(&more).is_err(), "{more}");
    }
    let draft = Draft {
        title: "all".into(),
        changes,
    };
    let text = toml::to_string(&draft).expect("TOML");
    assert_eq!(Draft::from_toml(&text).expect("own text"), draft);
    let text = r#"
        title = "A node for eve"
        [[changes]]
        change = "add-nod"
        owner = "eve"
    "#;
    let bad = Draft::from_toml(text)
        .expect_err("a typing error")
        .to_string();
    assert!(
        bad.contains("unknown variant `add-nod`, expected one of `add-actor`"),
        "{bad}"
    );
}

#[test]
fn a_diff_tells_every_change_of_the_text() {
    let mut base = Script::new(3, |_| ()).constitution().clone();
    base.protocols[0].endpoints = vec![endpoint("rates")];
    let mut certified = endpoint("certified");
    certified.keys.clear();
    certified.authority = Some(base.tee.accepted[0].roots[0].clone());
    base.protocols[0].endpoints.push(certified);
    base.sort();
    base.validate().expect("endpoints in order");
    let read = Constitution::from_toml(&base.to_toml()).expect("own text");
    assert_eq!(read, base);
    let read = Constitution::from_cbor(&base.to_cbor()).expect("own bytes");
    assert_eq!(read, base);
    assert_eq!(base.diff(&base), Vec::<String>::new());
    let text: toml::Table = base.to_toml().parse().expect("own text");
    // Every leaf of the text, changed by itself, gives a line.
    fn changed(value: &toml::Value) -> Vec<toml::Value> {
        match value {
            toml::Value::Integer(i) => vec![toml::Value::Integer(i + 1)],
            toml::Value::Boolean(b) => vec![toml::Value::Boolean(!b)],
            toml::Value::Array(list) => (0..list.len())
                .flat_map(|at| {
                    changed(&list[at]).into_iter().map(move |new| {
                        let mut list = list.clone();
                        list[at] = new;
                        toml::Value::Array(list)
                    })
                })
                .collect(),
            toml::Value::Table(table) => table
                .iter()
                .flat_map(|(key, value)| {
                    changed(value).into_iter().map(move |new| {
                        let mut table = table.clone();
                        table.insert(key.clone(), new);
                        toml::Value::Table(table)
                    })
                })
                .collect(),
            toml::Value::String(text) if text.parse::<types::Digest>().is_ok() => {
                vec![toml::Value::String("11".repeat(32))]
            }
            toml::Value::String(text) => vec![toml::Value::String(format!("{text}x"))],
            _ => vec![],
        }
    }
    let mut told = 0;
    for variant in changed(&toml::Value::Table(text)) {
        // Some strings are words of a list and do not take a letter more.
        let Ok(after) = variant.try_into::<Constitution>() else {
            continue;
        };
        // A letter after a PEM block is no part of the certificate.
        if after == base {
            continue;
        }
        assert_ne!(
            base.diff(&after),
            Vec::<String>::new(),
            "{}",
            after.to_toml()
        );
        told += 1;
    }
    assert!(told > 40, "{told}");
}
