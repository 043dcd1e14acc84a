//! Connections: bytes in order, late, and sometimes not at all.

use boundary::{Closed, DialFailed, Opened, Received, Surface, host_to_manager};
use bytes::Bytes;
use types::Millis;

use super::ending::READER;
use super::{Event, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    Node {
        place: usize,
        incarnation: u64,
        connection: u64,
    },
    Client {
        id: u64,
    },
    /// A system outside.
    Outside,
    /// Somebody who speaks to a node as a test says.
    #[cfg(test)]
    Guest {
        id: u64,
    },
}

pub struct Wire {
    dialler: Party,
    accepter: Party,
    /// Nothing overtakes on one wire: the latest delivery in each direction.
    pub last: [Millis; 2],
    /// Bytes were lost; both ends will notice.
    pub broken: bool,
    /// Alter the next bytes that pass.
    pub altered: bool,
}

impl World {
    pub(super) fn dial(&mut self, place: usize, connection: u64, address: &str) {
        if address == crate::outside::ADDRESS {
            return self.call_outside(place, connection);
        }
        let incarnation = self.nodes[place].incarnation;
        let target = (0..self.nodes.len()).find(|p| crate::network::address(*p) == address);
        let reached = target.filter(|to| {
            self.nodes[*to].process.is_some() && !self.cut(place, *to) && !self.cut(*to, place)
        });
        #[cfg(test)]
        if let (None, Some(to)) = (reached, target)
            && self.dial_guest(place, connection, to)
        {
            return;
        }
        let Some(to) = reached else {
            let failed = DialFailed {
                connection,
                reason: "connection refused".into(),
            };
            let message = host_to_manager::Message::DialFailed(failed);
            let wait = self.random.between(1, 50);
            return self.schedule(
                wait,
                Event::ToManager {
                    place,
                    incarnation,
                    message: Box::new(message),
                },
            );
        };
        let dialler = Party::Node {
            place,
            incarnation,
            connection,
        };
        let wire = self.connect(dialler, to, Surface::Node, "");
        self.nodes[place].wires.insert(connection, (wire, true));
        let opened = Opened {
            connection,
            surface: Surface::Node.into(),
            protocol: String::new(),
            remote: address.into(),
        };
        self.tell(place, host_to_manager::Message::Opened(opened));
    }

    /// Makes a wire to a running node and tells it.
    pub(super) fn connect(
        &mut self,
        dialler: Party,
        to: usize,
        surface: Surface,
        protocol: &str,
    ) -> u64 {
        let node = &mut self.nodes[to];
        let connection = node.next_connection;
        node.next_connection += 2;
        let accepter = Party::Node {
            place: to,
            incarnation: node.incarnation,
            connection,
        };
        let wire = self.new_wire(dialler, accepter);
        self.nodes[to].wires.insert(connection, (wire, false));
        let opened = Opened {
            connection,
            surface: surface.into(),
            protocol: protocol.into(),
            remote: format!("wire {wire}"),
        };
        self.tell(to, host_to_manager::Message::Opened(opened));
        wire
    }

    pub(super) fn new_wire(&mut self, dialler: Party, accepter: Party) -> u64 {
        let wire = self.next_wire;
        self.next_wire += 1;
        let new = Wire {
            dialler,
            accepter,
            last: [Millis::ZERO; 2],
            broken: false,
            altered: false,
        };
        self.wires.insert(wire, new);
        wire
    }

    fn cut(&self, from: usize, to: usize) -> bool {
        self.blocked.contains(&(from, to))
    }

    fn place_of(party: Party) -> Option<usize> {
        match party {
            Party::Node { place, .. } => Some(place),
            Party::Client { .. } | Party::Outside => None,
            #[cfg(test)]
            Party::Guest { .. } => None,
        }
    }

    pub(super) fn transmit(&mut self, wire: u64, to_dialler: bool, data: Bytes) {
        let late = if self.calm {
            3
        } else if self.random.one_in(50) {
            200
        } else {
            10
        };
        let delay = self.random.between(0, late);
        let Some(link) = self.wires.get(&wire) else {
            return;
        };
        let (from, to) = if to_dialler {
            (link.accepter, link.dialler)
        } else {
            (link.dialler, link.accepter)
        };
        let blocked = matches!((Self::place_of(from), Self::place_of(to)), (Some(from), Some(to)) if self.cut(from, to));
        let Some(link) = self.wires.get_mut(&wire) else {
            return;
        };
        if link.broken {
            return;
        }
        if blocked {
            // Nobody will acknowledge these bytes: both ends give up after a while.
            link.broken = true;
            let wait = self.random.between(100, 1_000);
            self.schedule(
                wait,
                Event::Closed {
                    wire,
                    to_dialler: true,
                },
            );
            return self.schedule(
                wait,
                Event::Closed {
                    wire,
                    to_dialler: false,
                },
            );
        }
        let direction = usize::from(to_dialler);
        let at = self.now.plus(delay).max(link.last[direction]);
        link.last[direction] = at;
        let data = if std::mem::take(&mut link.altered) && !data.is_empty() {
            let mut altered = data.to_vec();
            let place = altered.len() / 2;
            altered[place] ^= 1;
            altered.into()
        } else {
            data
        };
        let wait = at.since(self.now);
        self.schedule(
            wait,
            Event::Bytes {
                wire,
                to_dialler,
                data,
            },
        );
    }

    /// One side ended the connection: the other learns of it, after what is on its way.
    pub(super) fn end_wire(&mut self, wire: u64, to_dialler: bool) {
        if let Some(link) = self.wires.get(&wire) {
            let wait = link.last[usize::from(to_dialler)].since(self.now) + 1;
            self.schedule(wait, Event::Closed { wire, to_dialler });
        }
    }

    pub(super) fn close_end(&mut self, wire: u64, to_dialler: bool) {
        let Some(link) = self.wires.get_mut(&wire) else {
            return;
        };
        link.broken = true;
        match if to_dialler {
            link.dialler
        } else {
            link.accepter
        } {
            Party::Node {
                place,
                incarnation,
                connection,
            } => {
                if self.alive(place, incarnation)
                    && self.nodes[place].wires.remove(&connection).is_some()
                {
                    self.tell(
                        place,
                        host_to_manager::Message::Closed(Closed { connection }),
                    );
                }
            }
            Party::Client { id } => {
                if let Some(client) = self.clients.get_mut(&id).filter(|c| c.wire == Some(wire)) {
                    client.disconnect();
                    self.turn(20, id);
                }
            }
            Party::Outside => self.outside_closed(wire),
            #[cfg(test)]
            Party::Guest { id } => self.guest_left(id),
        }
    }

    pub(super) fn deliver(&mut self, wire: u64, to_dialler: bool, data: Bytes) {
        let Some(link) = self.wires.get(&wire) else {
            return;
        };
        if link.broken {
            return;
        }
        match if to_dialler {
            link.dialler
        } else {
            link.accepter
        } {
            Party::Node {
                place,
                incarnation,
                connection,
            } => {
                if self.alive(place, incarnation)
                    && self.nodes[place].wires.contains_key(&connection)
                {
                    self.tell(
                        place,
                        host_to_manager::Message::Received(Received { connection, data }),
                    );
                }
            }
            Party::Client { id } => {
                let more = !self.calm;
                let now = self.now;
                let Some(client) = self.clients.get_mut(&id).filter(|c| c.wire == Some(wire))
                else {
                    return;
                };
                match client.received(now, &data, more) {
                    Ok(bytes) if bytes.is_empty() => {}
                    Ok(bytes) => self.transmit(wire, false, bytes),
                    Err(()) => self.client_leaves(id),
                }
            }
            Party::Outside => self.outside_received(wire, &data),
            #[cfg(test)]
            Party::Guest { id } => self.guest_hears(id, &data),
        }
    }

    fn client_leaves(&mut self, id: u64) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        if let Some(wire) = client.wire {
            client.disconnect();
            self.end_wire(wire, false);
        }
        self.turn(20, id);
    }

    /// A client without a connection makes one; one with a silent node gives it up.
    pub(super) fn client_turn(&mut self, id: u64) {
        let now = self.now;
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        if client.out_of_patience(now) {
            return self.client_leaves(id);
        }
        let reading = id >= READER;
        if client.wire.is_some() {
            let more = !self.calm;
            match client.proceed(now, more) {
                Ok(bytes) => {
                    let wire = client.wire.expect("looked at above");
                    if !bytes.is_empty() {
                        self.transmit(wire, false, bytes);
                    }
                    self.turn(100, id);
                }
                Err(()) => self.client_leaves(id),
            }
            return;
        }
        let place = if reading {
            usize::try_from(id - READER).expect("numbered by place")
        } else {
            usize::try_from(self.random.below(self.nodes.len() as u64)).expect("below a length")
        };
        if self.nodes[place].process.is_some() {
            let wire = self.connect(Party::Client { id }, place, Surface::Application, "kv");
            let client = self.clients.get_mut(&id).expect("looked at above");
            let hello = client.connect(now, wire);
            self.transmit(wire, false, hello);
        }
        self.turn(100, id);
    }
}
