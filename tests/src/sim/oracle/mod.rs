//! What must, may and must not happen, by nothing but what clients sent and were sent.
//!
//! The oracle stands where the broker meets its sockets: it is told which packets the broker has
//! read and which it has written, turn by turn. What happens in one turn happens at the same time,
//! but for the packets of one connection, which have an order. From that follows for any two things
//! whether one was surely before the other; where it does not, both are allowed. So the oracle is a
//! naive broker of lists and loops that is never surprised by what could be either way.
//!
//! | question | answered by |
//! | --- | --- |
//! | Who should have this message, how often, with which QoS and flags? | `publish`, `deliver` |
//! | Which subscriptions are there, and what is retained? | `subscribe`, `retained` |
//! | Does a session go on, when does it end, when is its will due? | `lifetime` |
//! | Is every packet answered, in order, under identifiers that are free? | `answers` |
//! | What else may it have been? | `ascribe` |
//! | What survives a crash? | `crash` |
//! | What is still owed? | `pending` |

mod answers;
mod ascribe;
mod crash;
mod deliver;
mod lifetime;
mod op;
mod pending;
mod publish;
mod retained;
mod session;
mod subscribe;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wherry_core::{Config, QueuePolicy};

use super::coverage::Coverage;
use super::packets::{Content, Hello, Number, Said, Sent};
use super::plan::Plan;
use super::schedule::Millis;
use crate::wire::Version;

pub(crate) use op::Turn;
use op::{NOBODY, Op};
use publish::{Instance, Message};
use retained::Change;
use session::{Conn, Session, Stage, Unfinished};

/// With more clients than this a few packets can be work enough for a turn.
const MANY: usize = 50;

/// Longer than it takes a client to come in, as a rule.
const HANDSHAKE: Millis = 10_000;

/// The promise that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Of one kind are failures that have the same cause, most likely.
    pub(crate) kind: &'static str,
    pub(crate) what: String,
}

/// What the broker did on a connection.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// It has read a whole packet.
    Heard(Sent),
    /// It has written a whole packet of so many bytes.
    Said(Said, usize),
    /// It was told to let the client in.
    Admitted,
    /// It was told that the client is gone.
    Lost,
}

/// Where a connection stands at the end of a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status {
    /// A client is in.
    pub(crate) is_in: bool,
    /// What comes in is looked at.
    pub(crate) is_heard: bool,
    /// Nothing waits for the client.
    pub(crate) is_empty: bool,
    /// Its shard knows that the store fails.
    pub(crate) is_failing: bool,
    /// The code of the CONNACK that was written in this turn.
    pub(crate) welcome: Option<u8>,
}

/// The bounds that the oracle has to know of.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) config: Config,
    /// Whether messages of QoS 1 and 2 may be lost for want of room.
    lossy: bool,
    /// Whether messages of QoS 0 may be.
    narrow: bool,
    /// Whether retained messages may be.
    few_retained: bool,
    /// Whether there are hostile clients, whose subscriptions nobody knows.
    hostile: bool,
    /// The largest windows that there ever were.
    send_window: u16,
    /// The shortest write time-out that there ever was.
    write_timeout: Millis,
    /// Whether things take time to come to all shards, or to the store.
    is_spread: bool,
    /// Whether there are several shards, so that who subscribes is not listened to for a while.
    has_shards: bool,
    /// Whether there is a store.
    is_durable: bool,
    /// Whether the store may be unable to take a message.
    may_refuse: bool,
}

impl Terms {
    fn new(config: &Config, plan: &Plan) -> Self {
        let features = &plan.features;
        let new = Self::of(config, plan.hostile > 0);
        Self {
            is_spread: features.shards || features.store,
            has_shards: features.shards,
            is_durable: features.store,
            may_refuse: features.store && features.store_failures,
            ..new
        }
    }

    /// Whether every message that is allowed is surely taken.
    fn takes_all(&self) -> bool {
        !self.is_short() && !self.may_refuse
    }

    /// Whether there may be no room for a message.
    fn is_short(&self) -> bool {
        self.lossy || self.few_retained
    }

    fn of(config: &Config, hostile: bool) -> Self {
        let usual = Config::default();
        Self {
            lossy: config.max_queued_messages < usual.max_queued_messages
                || config.max_queued_bytes < usual.max_queued_bytes
                || config.max_queued_bytes_total < usual.max_queued_bytes_total
                || config.queue_policy != QueuePolicy::Reject,
            narrow: config.outbox_limit < usual.outbox_limit
                || config.outbox_total_limit < usual.outbox_total_limit,
            few_retained: config.max_retained < usual.max_retained,
            hostile,
            send_window: config.send_window.get(),
            write_timeout: config.write_timeout.as_millis() as Millis,
            config: config.clone(),
            is_spread: false,
            has_shards: false,
            is_durable: false,
            may_refuse: false,
        }
    }

    fn change(&mut self, config: &Config) {
        let new = Self::of(config, self.hostile);
        *self = Self {
            lossy: self.lossy || new.lossy,
            narrow: self.narrow || new.narrow,
            few_retained: self.few_retained || new.few_retained,
            hostile: self.hostile,
            send_window: self.send_window.max(new.send_window),
            write_timeout: self.write_timeout.min(new.write_timeout),
            config: new.config,
            ..*self
        };
    }
}

/// Watches a world.
#[derive(Debug)]
pub(crate) struct Oracle {
    terms: Terms,
    messages: Vec<Message>,
    /// Those that clear, by topic: their payloads do not say which they are.
    clears: BTreeMap<&'static str, Vec<Number>>,
    sessions: Vec<Session>,
    /// The sessions that have not ended, by client.
    current: BTreeMap<usize, usize>,
    conns: Vec<Conn>,
    /// The connections on which a client is in.
    inside: Vec<usize>,
    /// Those whose clients come in next.
    verdicts: Vec<usize>,
    /// Those that have ended in this turn because their clients said so.
    leaving: Vec<usize>,
    /// Those that have ended in this turn by themselves.
    must_be_out: Vec<usize>,
    retained: BTreeMap<&'static str, Vec<Change>>,
    turn: Turn,
    /// When the broker was told to stop, the last time.
    stopping_at: Turn,
    now: Millis,
    /// Counts operations and instances.
    count: u64,
    /// Messages that have perhaps not come to all shards, and since when they are on their way.
    unsettled: VecDeque<(Turn, Number, usize)>,
    /// The last turn in which the store was not well.
    outage: Turn,
    /// The clients of whose sessions the store may know nothing yet, and since when.
    untold: BTreeMap<usize, Turn>,
    /// Those of whose sessions nobody knows what a crash has left.
    unsure: BTreeSet<usize>,
    /// The last turn in which there were such.
    unsure_until: Turn,
    /// For each crash, up to which turn all was in the store, and when it was.
    lost: Vec<(Turn, Turn)>,
    failure: Option<Failure>,
    pub(crate) coverage: Coverage,
}

impl Oracle {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            terms: Terms::new(&plan.config, plan),
            messages: Vec::new(),
            clears: BTreeMap::new(),
            sessions: Vec::new(),
            current: BTreeMap::new(),
            conns: Vec::new(),
            inside: Vec::new(),
            verdicts: Vec::new(),
            leaving: Vec::new(),
            must_be_out: Vec::new(),
            retained: BTreeMap::new(),
            turn: 0,
            stopping_at: 0,
            now: 0,
            count: 0,
            unsettled: VecDeque::new(),
            outage: 0,
            untold: BTreeMap::new(),
            unsure: BTreeSet::new(),
            unsure_until: 0,
            lost: Vec::new(),
            failure: None,
            coverage: Coverage::default(),
        }
    }

    /// The promise that was broken first, if one was.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// A promise is broken.
    pub(crate) fn fail(&mut self, kind: &'static str, what: String) {
        self.failure.get_or_insert(Failure { kind, what });
    }

    /// A client has made up a message; `make` is told its number.
    pub(crate) fn invent(&mut self, make: impl FnOnce(Number) -> Content) -> Number {
        let number = self.messages.len();
        let content = make(number);
        if content.payload.is_empty() {
            self.clears.entry(content.topic).or_default().push(number);
        }
        self.messages.push(Message {
            content,
            instances: Vec::new(),
        });
        number
    }

    /// What a message is.
    pub(crate) fn content(&self, number: Number) -> &Content {
        &self.messages[number].content
    }

    /// CONNECT as it is sent.
    pub(crate) fn hello_bytes(&self, hello: &Hello) -> Vec<u8> {
        hello.bytes(hello.will.map(|(number, _)| self.content(number)))
    }

    /// The session expiry interval that CONNECT asked for.
    pub(crate) fn asked_expiry(&self, conn: usize) -> Option<u32> {
        let hello = self.conns[conn].hello.as_ref();
        hello.map(|hello| hello.expiry)
    }

    /// A connection was opened; the oracle does not judge those of hostile clients.
    pub(crate) fn opened(&mut self, client: usize, version: Version, is_hostile: bool) {
        self.conns.push(Conn::new(client, version, is_hostile));
    }

    /// The broker is told, before its next turn, to let a client in.
    pub(crate) fn decided(&mut self, conn: usize) {
        self.verdicts.push(conn);
    }

    /// The client of a connection was refused.
    pub(crate) fn refused(&mut self, conn: usize) {
        self.conns[conn].refused = true;
    }

    /// The credentials of a client are being checked.
    pub(crate) fn examined(&mut self, conn: usize, now: Millis) {
        let it = &mut self.conns[conn];
        if let Stage::Asked(_) = it.stage {
            it.stage = Stage::Asked(now);
        }
    }

    /// How many turns there were.
    pub(crate) fn turn(&self) -> Turn {
        self.turn
    }

    /// Whether the store is unable to take anything, or some shard does not know that it is again.
    pub(crate) fn store_is(&mut self, down: bool) {
        if down {
            self.outage = self.turn + 1; // The turn that is to come.
        }
    }

    /// Whether nobody knows what is left of a client's session, so that it had better begin anew.
    /// The broker may have been away until `now`.
    pub(crate) fn is_unsure(&self, client: usize, now: Millis) -> bool {
        let session = self.current.get(&client).map(|it| &self.sessions[*it]);
        let soon = now + HANDSHAKE;
        let may_end =
            |it: &Session| it.ends_latest.is_some() && it.ends_at.is_none_or(|at| at < soon);
        self.unsure.contains(&client) || session.is_some_and(may_end)
    }

    /// The broker was configured anew.
    pub(crate) fn configured(&mut self, config: &Config) {
        self.terms.change(config);
    }

    /// The connections on which clients are in.
    pub(crate) fn inside(&self) -> &[usize] {
        &self.inside
    }

    /// The broker has had a turn.
    pub(crate) fn turned(
        &mut self,
        now: Millis,
        seen: Vec<(usize, Seen)>,
        status: impl Fn(usize) -> Status,
    ) {
        self.turn += 1;
        self.now = now;
        if !self.unsure.is_empty() {
            self.unsure_until = self.turn;
        }
        self.timers();
        self.sudden_ends(&seen, &status);
        let welcomes: Vec<(usize, u8)> = seen.iter().filter_map(welcome).collect();
        let status = |conn: usize| Status {
            welcome: welcomes.iter().find(|it| it.0 == conn).map(|it| it.1),
            ..status(conn)
        };
        self.late_admissions(status);
        for (conn, seen) in seen {
            match seen {
                Seen::Heard(Sent::Connect(hello)) => self.asked(conn, *hello),
                Seen::Heard(sent) => self.heard(conn, sent),
                Seen::Said(said, len) => self.said(conn, said, len),
                Seen::Admitted => self.admit(conn, status(conn)),
                Seen::Lost => self.ended(conn, None),
            }
        }
        self.conclude_turn(status);
    }

    /// What the broker ends by itself, it ends when its turn begins. Who else is gone after it and
    /// has said so was listened to.
    fn sudden_ends(&mut self, seen: &[(usize, Seen)], status: impl Fn(usize) -> Status) {
        let is_told = |conn: usize, bye_only: bool| {
            seen.iter().any(|(of, seen)| {
                let is_bye = matches!(seen, Seen::Heard(Sent::Disconnect { .. }));
                *of == conn && (is_bye || (matches!(seen, Seen::Lost) && !bye_only))
            })
        };
        let comes = |by: &Self, conn: usize| {
            let is_other = |it: usize| it != conn && by.conns[it].client == by.conns[conn].client;
            let now = seen
                .iter()
                .any(|(it, seen)| matches!(seen, Seen::Admitted) && is_other(*it));
            now || by.verdicts.iter().any(|it| is_other(*it))
        };
        self.leaving.clear();
        for (conn, _) in seen {
            let is_gone = !status(*conn).is_in && is_told(*conn, true);
            if is_gone && !comes(self, *conn) && !self.leaving.contains(conn) {
                self.leaving.push(*conn);
            }
        }
        // Who comes in late may have said so already.
        for conn in &self.verdicts {
            let mut early = self.conns[*conn].early.iter();
            let is_bye = early.any(|sent| matches!(sent, Sent::Disconnect { .. }));
            if is_bye && !status(*conn).is_in && !comes(self, *conn) {
                self.leaving.push(*conn);
            }
        }
        for conn in self.inside.clone() {
            let is_out = !status(conn).is_in && !is_told(conn, false);
            if is_out && !comes(self, conn) && !self.errs(conn, seen) {
                self.ended_by_broker(conn);
            }
        }
    }

    /// Whether a client answers a message of QoS 1 as one of QoS 2, which it had under that
    /// identifier.
    fn errs(&self, conn: usize, seen: &[(usize, Seen)]) -> bool {
        let session = self.session_of(conn).map(|it| &self.sessions[it]);
        seen.iter().any(|(of, seen)| match seen {
            Seen::Heard(Sent::Pubrec { id, .. }) if *of == conn => {
                let flight = session.and_then(|it| it.flights.get(id));
                flight.is_some_and(|flight| flight.look.qos == 1)
            }
            _ => false,
        })
    }

    fn conclude_turn(&mut self, status: impl Fn(usize) -> Status) {
        for conn in std::mem::take(&mut self.must_be_out) {
            if status(conn).is_in {
                self.check_keep_alive(conn);
            }
        }
        for conn in self.inside.clone() {
            let status = status(conn);
            if !status.is_in {
                self.ended_by_broker(conn);
                continue;
            }
            let was_paused = std::mem::replace(&mut self.conns[conn].paused, !status.is_heard);
            if status.is_heard {
                self.catch_up(conn);
            } else {
                self.coverage.paused += 1;
            }
            if was_paused || !status.is_heard {
                self.conns[conn].heard_at = self.now; // It stands still during a pause.
            }
            // CONNACK may wait for the store, and all that follows it.
            if status.is_empty && self.conns[conn].welcomed {
                let (turn, now) = (self.turn, self.now);
                let conn = &mut self.conns[conn];
                conn.empty = (turn, now);
                conn.progress = now;
            }
        }
    }

    /// CONNECT came.
    fn asked(&mut self, conn: usize, hello: Hello) {
        let now = self.now;
        let it = &mut self.conns[conn];
        it.hello = Some(hello);
        it.stage = Stage::Asked(now);
    }

    fn heard(&mut self, conn: usize, sent: Sent) {
        match self.conns[conn].stage {
            Stage::In(_) => self.take(conn, sent),
            // It waits until the client is let in.
            Stage::Asked(_) => self.conns[conn].early.push(sent),
            Stage::New | Stage::Over => {}
        }
    }

    /// A packet of a client that is in has reached the broker.
    fn take(&mut self, conn: usize, sent: Sent) {
        let Stage::In(session) = self.conns[conn].stage else {
            return;
        };
        self.conns[conn].heard_at = self.now;
        match sent {
            Sent::Publish {
                number,
                id,
                qos,
                dup,
            } => self.publish(conn, session, number, (id, qos, dup)),
            Sent::Puback { id, .. } => self.answered(conn, session, id, false),
            Sent::Pubrec { id, error } => match error {
                true => self.answered(conn, session, id, true),
                false => self.received(conn, session, id),
            },
            Sent::Pubrel { id } => self.released(conn, session, id),
            Sent::Pubcomp { id } => self.answered(conn, session, id, true),
            Sent::Subscribe {
                id,
                identifier,
                filters,
            } => self.subscribe(conn, session, id, identifier, &filters),
            Sent::Unsubscribe { id, filters } => self.unsubscribe(conn, session, id, &filters),
            Sent::Ping => self.conns[conn].pings += 1,
            Sent::Disconnect { reason, expiry } => {
                let may_wait =
                    self.terms.narrow || self.terms.has_shards || self.inside.len() > MANY;
                if may_wait && !self.leaving.contains(&conn) {
                    // It may not be listened to at this moment.
                    let goodbye = Unfinished::Goodbye((reason, expiry));
                    self.conns[conn].unfinished.push_back(goodbye);
                } else {
                    self.catch_up(conn);
                    self.ended(conn, Some((reason, expiry)));
                }
            }
            Sent::Connect(_) | Sent::Noise => {}
        }
    }

    fn said(&mut self, conn: usize, said: Said, len: usize) {
        let now = self.now;
        let it = &mut self.conns[conn];
        it.progress = now;
        if it.is_hostile {
            return;
        }
        let max = it.hello.as_ref().and_then(|hello| hello.max_packet);
        if let Some(max) = max.filter(|max| len > *max as usize) {
            // [MQTT-3.1.2-24]
            let what = format!("{}: {len} bytes, at most {max}: {said:?}", self.name(conn));
            return self.fail("packet too large", what);
        }
        let is_connack = matches!(said, Said::Connack(_));
        if is_connack == std::mem::replace(&mut self.conns[conn].welcomed, true) {
            // [MQTT-3.2.0-1], [MQTT-3.2.0-2]
            let what = format!("{}: {said:?}", self.name(conn));
            return self.fail("CONNACK out of place", what);
        }
        match said {
            Said::Connack(connack) => self.welcomed(conn, &connack),
            Said::Publish(publish) => self.arrive(conn, &publish),
            Said::Ack(kind, ack) => self.acknowledged(conn, kind, &ack),
            Said::Suback(suback) => self.subscribed(conn, &suback),
            Said::Unsuback(unsuback) => self.unsubscribed(conn, &unsuback),
            Said::Pong => self.pong(conn),
            Said::Disconnect(reason) => self.dismissed(conn, reason),
        }
    }

    /// Something that happens now, on a connection.
    fn op(&mut self, conn: usize) -> Op {
        self.count += 1;
        let to = (conn == NOBODY).then_some(self.turn);
        Op {
            conn,
            order: self.count,
            from: self.turn,
            to,
        }
    }

    /// Whose connection it is, for messages.
    fn name(&self, conn: usize) -> String {
        let it = &self.conns[conn];
        let name = it.hello.as_ref().map_or("?", |hello| &hello.name);
        format!("{name} (connection {conn}, {:?})", it.version)
    }

    /// What a message and an instance of it are, for messages.
    fn describe(&self, number: Number) -> String {
        let Content {
            from,
            topic,
            qos,
            retain,
            payload,
            expiry,
            will,
            ..
        } = &self.messages[number].content;
        let kind = if *will { "will" } else { "message" };
        let retain = if *retain { ", retained" } else { "" };
        let expiry = expiry.map_or(String::new(), |expiry| format!(", expires in {expiry} s"));
        format!(
            "{kind} {number} of client {from} to {topic} at QoS {qos}{retain}{expiry}, {} bytes",
            payload.len()
        )
    }

    fn instance(&self, number: Number, instance: usize) -> &Instance {
        &self.messages[number].instances[instance]
    }
}

/// What CONNACK has told a client just now.
fn welcome((conn, seen): &(usize, Seen)) -> Option<(usize, u8)> {
    match seen {
        Seen::Said(Said::Connack(connack), _) => Some((*conn, connack.code)),
        _ => None,
    }
}
