//! What clients do because of what they are sent.

use super::client::{Answer, Inbound};
use super::packets::{Said, Sent};
use super::schedule::Millis;
use super::world::{Event, World};
use crate::random::Random;
use crate::wire::{Connack, Value, Version, id, kind};

impl World {
    /// A client has read a packet.
    pub(crate) fn receive(&mut self, line: usize, said: Said) {
        let client = self.lines[line].client;
        let it = &mut self.clients[client];
        if it.line != Some(line) || it.is_hostile {
            return; // It has another connection, and does not care for this one.
        }
        match said {
            Said::Connack(connack) => self.let_in(client, line, &connack),
            Said::Publish(publish) => {
                if let Some(id) = publish.packet_id {
                    let inbound = Inbound {
                        qos: publish.qos,
                        received: false,
                        released: false,
                        line,
                        due: false,
                    };
                    it.inbox.insert(id, inbound);
                    self.answer_later(client, id, false);
                }
            }
            Said::Ack(kind::PUBREL, ack) => {
                let inbound = Inbound {
                    qos: 2,
                    received: true,
                    released: true,
                    line,
                    due: false,
                };
                it.inbox.insert(ack.packet_id, inbound);
                self.answer_later(client, ack.packet_id, false);
            }
            Said::Ack(what, ack) => {
                let out = it.out.iter().position(|out| out.id == ack.packet_id);
                if let Some(place) = out {
                    let is_over = what != kind::PUBREC || ack.reason >= 0x80;
                    if is_over {
                        it.out.remove(place);
                    } else {
                        let out = &mut it.out[place];
                        out.received = true;
                        let id = out.id;
                        self.say(client, Sent::Pubrel { id });
                    }
                }
                self.publish_on(client);
            }
            Said::Suback(_) | Said::Unsuback(_) | Said::Pong | Said::Disconnect(_) => {}
        }
    }

    /// CONNACK has come.
    fn let_in(&mut self, client: usize, line: usize, connack: &Connack) {
        if connack.code != 0 {
            return; // The broker ends the connection.
        }
        let it = &mut self.clients[client];
        it.is_in = true;
        it.has_thrown_away = false;
        let version = it.persona.version;
        if !connack.session_present && (version != Version::V3_1 || !it.lasting) {
            // What was sent on this connection already belongs to the new session.
            it.out.retain(|out| out.line == Some(line));
            it.inbox.retain(|_, inbound| inbound.line == line);
        }
        let two = |id| match connack.property(id) {
            Some(Value::Two(value)) => Some(*value),
            _ => None,
        };
        it.window = two(id::RECEIVE_MAXIMUM).unwrap_or(u16::MAX);
        it.alias_limit = two(id::TOPIC_ALIAS_MAXIMUM).unwrap_or(0);
        it.keep_alive = two(id::SERVER_KEEP_ALIVE).unwrap_or(it.keep_alive);
        self.schedule_ping(client, line);
        if self.plan.features.early_answers && !self.is_calm {
            let mut random = Random::new(self.lines[line].random.next_u64());
            while random.below(3) > 0 && self.answer_early(client, &mut random) {}
        }
        self.publish_on(client);
    }

    /// What is next for a message that has come is sent after a while, or never.
    fn answer_later(&mut self, client: usize, id: u16, soon: bool) {
        let it = &mut self.clients[client];
        let Some(inbound) = it.inbox.get_mut(&id) else {
            return;
        };
        let line = inbound.line;
        let random = &mut self.lines[line].random;
        let (silent, delay) = match self.is_calm {
            true => (false, 0),
            false => (
                random.below(100) < it.persona.silent,
                random.below(self.plan.delays.answer as usize + 1) as Millis,
            ),
        };
        let errors = self.plan.features.receiver_errors && !self.is_calm;
        let is_error = errors && it.persona.version.is_v5() && random.below(8) == 0;
        if silent && !soon {
            return;
        }
        inbound.due = true;
        let mut at = self.now + delay;
        if it.persona.in_order {
            at = at.max(self.lines[line].answers);
            self.lines[line].answers = at;
        }
        self.at(at, Event::Answer(line, Answer::Next(id, is_error)));
    }

    /// A client answers.
    pub(crate) fn answer(&mut self, line: usize, answer: Answer) {
        let client = self.lines[line].client;
        let Answer::Next(id, error) = answer;
        let it = &mut self.clients[client];
        let Some(inbound) = it.inbox.get_mut(&id) else {
            return;
        };
        if it.line != Some(line) || inbound.line != line || !inbound.due {
            return;
        }
        inbound.due = false;
        let sent = match *inbound {
            Inbound { qos: 1, .. } => Sent::Puback { id, error },
            Inbound { released: true, .. } => Sent::Pubcomp { id },
            _ => Sent::Pubrec { id, error },
        };
        if matches!(sent, Sent::Pubrec { error: false, .. }) {
            inbound.received = true;
        } else {
            it.inbox.remove(&id);
        }
        self.say(client, sent);
    }

    /// A client acknowledges on this connection what came on an earlier one, and has not come
    /// again.
    fn answer_early(&mut self, client: usize, random: &mut Random) -> bool {
        let it = &mut self.clients[client];
        let Some(line) = it.line.filter(|_| it.is_in) else {
            return false;
        };
        if it.persona.version == Version::V3_1 {
            return false; // It does not know whether its session is still the same.
        }
        let ids: Vec<u16> = it
            .inbox
            .iter()
            .filter(|(_, inbound)| inbound.line != line && !inbound.received)
            .filter(|(id, inbound)| self.oracle.is_in_flight(line, **id, inbound.line))
            .map(|(id, _)| *id)
            .collect();
        if ids.is_empty() {
            return false;
        }
        let id = *random.one_of(&ids);
        self.oracle.coverage.early_answers += 1;
        if let Some(inbound) = it.inbox.get_mut(&id) {
            (inbound.line, inbound.due) = (line, true);
        }
        self.answer(line, Answer::Next(id, false));
        true
    }

    /// A client remembers what it has not answered.
    pub(crate) fn answer_all(&mut self, client: usize) {
        let it = &self.clients[client];
        let ids: Vec<u16> = it
            .inbox
            .iter()
            .filter(|(_, inbound)| Some(inbound.line) == it.line && !inbound.due)
            .filter(|(_, inbound)| !inbound.received || inbound.released)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.answer_later(client, id, true);
        }
    }

    fn schedule_ping(&mut self, client: usize, line: usize) {
        let it = &self.clients[client];
        if it.keep_alive > 0 && (self.is_calm || !it.persona.neglects) {
            let pause = Millis::from(it.keep_alive) * 600;
            self.at(self.now + pause, Event::Ping(line));
        }
    }

    /// A client says that it is there.
    pub(crate) fn ping(&mut self, line: usize) {
        let client = self.lines[line].client;
        if self.clients[client].line == Some(line) {
            self.say(client, Sent::Ping);
            self.schedule_ping(client, line);
        }
    }

    /// A client knows that a connection is over.
    pub(crate) fn lost(&mut self, line: usize) {
        let client = self.lines[line].client;
        let it = &mut self.clients[client];
        if it.line == Some(line) {
            (it.line, it.is_in) = (None, false);
        }
    }
}
