//! A ledger whose epochs are sealed to three actors, of whom two open them together.

use std::path::{Path, PathBuf};

use crypto::Entropy;
use governance::{
    AuditTerms, Change, Command, EpochCause, EpochKey, EpochKeys, EpochOpening, EpochSeal, KeyStep,
    Listed, Visibility, sign_key_message,
};
use tempfile::TempDir;
use threshold::{Awaiting, Deal, DealerSecret, Message, TransportKey};
use types::{Epoch, Millis, NodeId};

use crate::world::Writer;
use crate::{done, text};

pub const ACTORS: [&str; 3] = ["ada", "bob", "cat"];

/// The newest epoch.
pub const LAST: u64 = 5;

/// A network's ledger and what its actors keep.
pub struct Keyed {
    directory: TempDir,
    pub writer: Writer,
    entropy: Entropy,
    keys: EpochKeys,
}

impl Keyed {
    /// Epochs 1 to 5 with a marked batch in each and a signed root behind it; behind the last root
    /// another batch.
    pub fn new() -> Self {
        Self::granting(&[])
    }

    /// The same after a vote that grants these audits: first and last epoch, key, end.
    pub fn granting(audits: &[(u64, u64, [u8; 32], Millis)]) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let mut entropy = Entropy::new(&[21; 32]);
        let actors = ACTORS.map(|name| {
            let key = TransportKey::generate(&mut entropy);
            let file = directory.path().join(format!("{name}.share"));
            std::fs::write(file, client::share_key_to_pem(&key).as_bytes()).expect("a file");
            (name, Some(key))
        });
        let node = directory.path().join("node");
        let mut writer = Writer::of_actors(&node, Visibility::Public, actors.into(), 2);
        writer.admit_others();
        let keys = EpochKeys::new(&[1; 32], &[2; 32]);
        let mut keyed = Self {
            directory,
            writer,
            entropy,
            keys,
        };
        keyed.generate();
        let grants: Vec<_> = audits.iter().map(|audit| keyed.grant(*audit)).collect();
        if !grants.is_empty() {
            keyed.writer.vote(1, grants);
        }
        keyed.writer.batch(&mark(1));
        keyed.writer.sign();
        for epoch in 2..=LAST {
            keyed.open_epoch(Epoch(epoch));
            keyed.writer.batch(&mark(epoch));
            keyed.writer.sign();
        }
        keyed.writer.batch(b"behind the last signed root");
        keyed.writer.flush();
        keyed
    }

    fn grant(&self, (from, to, key, expires): (u64, u64, [u8; 32], Millis)) -> Change {
        let auditor = self.writer.constitution.actors[0].certificates[0].clone();
        Change::GrantAudit(AuditTerms {
            auditor: Listed(auditor.0),
            key,
            from: Epoch(from),
            to: Epoch(to),
            expires,
        })
    }

    fn say(&mut self, message: &Message) {
        let place = usize::from(message.sender().number()) - 1;
        let signed = sign_key_message(&self.writer.owners[place].node, message);
        let step = KeyStep::Message {
            node: NodeId(place as u64 + 1), // three
            signed,
        };
        self.writer.administrative(&Command::KeyStep(step));
    }

    /// The actors make their threshold key over the ledger.
    fn generate(&mut self) {
        self.writer
            .administrative(&Command::KeyStep(KeyStep::Begin));
        let mut secrets: Vec<DealerSecret> = Vec::new();
        loop {
            let Some(generation) = self.writer.state.keys().generation() else {
                return;
            };
            let session = generation.session();
            let mut messages = Vec::new();
            match session.awaiting() {
                Awaiting::Deals(missing) if !missing.is_empty() => {
                    for dealer in missing {
                        let (deal, secret) = Deal::make(session.setup(), dealer, &mut self.entropy);
                        messages.push(Message::Deal(deal));
                        secrets.push(secret);
                    }
                }
                Awaiting::Answers(missing) if !missing.is_empty() => {
                    for owner in &self.writer.owners {
                        let key = owner.transport.as_ref().expect("all have one");
                        let answers = session.answer(key, &mut self.entropy);
                        messages.extend(answers.expect("it holds a share"));
                    }
                }
                Awaiting::KeyParts(_) => {
                    for secret in &secrets {
                        messages.extend(session.key_part(secret, &mut self.entropy));
                    }
                }
                _ => {
                    self.writer
                        .administrative(&Command::KeyStep(KeyStep::CloseRound));
                }
            }
            for message in &messages {
                self.say(message);
            }
        }
    }

    fn open_epoch(&mut self, epoch: Epoch) {
        let keys = EpochKeys::generate(&mut self.entropy);
        let network = self.writer.constitution.network_id();
        let shared = self.writer.state.keys().shared().expect("it was generated");
        let entropy = &mut self.entropy;
        let mut encrypt = |key: &[u8; 32], which: EpochKey| {
            shared.key().encrypt(key, &which.label(epoch), entropy)
        };
        let opening = EpochOpening {
            epoch,
            cause: EpochCause::Timer,
            link: keys.seal_link(network, epoch, &self.keys),
            check: keys.check(epoch),
            seal: Some(EpochSeal {
                key: shared.key().session(),
                session_key: encrypt(keys.session(), EpochKey::Session),
                history_key: encrypt(keys.history(), EpochKey::History),
            }),
            dealt: None,
        };
        self.writer
            .administrative(&Command::OpenEpoch(Box::new(opening)));
        self.writer.keyring.insert(epoch, keys.session().clone());
        self.writer.header.epoch = epoch;
        self.keys = keys;
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn node(&self) -> PathBuf {
        self.path("node")
    }

    /// `--ledger` and `--constitution`.
    fn of(&self, command: &[&str], rest: &[&str]) -> Vec<String> {
        let node = self.node();
        let of = ["--ledger", text(&node), "--constitution", text(&node)];
        let all = command.iter().chain(&of).chain(rest);
        all.map(|argument| (*argument).to_owned()).collect()
    }

    /// Runs a command on this ledger.
    pub fn run(&self, command: &[&str], rest: &[&str]) -> (i32, String, String) {
        let all = self.of(command, rest);
        crate::coco(&all.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The same, which must succeed.
    pub fn done(&self, command: &[&str], rest: &[&str]) -> String {
        let all = self.of(command, rest);
        done(&all.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// An actor's part, made with its own file.
    pub fn part(&self, command: &[&str], actor: &str, rest: &[&str]) -> PathBuf {
        let name = format!("{}-{actor}{}", command[0], rest.join(""));
        let (key, out) = (self.path(&format!("{actor}.share")), self.path(&name));
        let own = ["--share-key", text(&key), "--out", text(&out)];
        self.done(command, &[&own, rest].concat());
        out
    }

    /// Marks of epochs that `coco ledger export --keys` shows.
    pub fn read(&self, keys: &Path) -> Vec<u64> {
        let (node, keys) = (self.node(), text(keys));
        let lines = done(&["ledger", "export", text(&node), "--keys", keys]);
        let shows = |epoch: &u64| lines.contains(&hex::encode(mark(*epoch)));
        (1..=LAST).filter(shows).collect()
    }
}

/// What stands in an epoch's batch.
fn mark(epoch: u64) -> Vec<u8> {
    format!("what was decided in epoch {epoch}").into_bytes()
}
