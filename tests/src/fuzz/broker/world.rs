//! A broker in the hands of a program that does what actions ask for, now or a little later.

use wherry_core::connection::{Closed, ConnectionId, Origin, Transport};
use wherry_core::time::{Instant, WallClock};
use wherry_core::{Action, Broker, Config};

use super::super::input::Input;
use super::choices::{Granted, LONGEST_SESSION, config};
use super::limits::Limits;
use super::link::{Link, Stage};
use super::local::Local;
use super::model::Model;
use crate::wire::{self, Version, kind};

/// How many connections a script can speak of at a time.
pub(super) const SLOTS: usize = 8;

/// How many connections and how many local clients there may ever be.
pub(super) const MOST: usize = 40;

/// How often time may have to be told again before nothing is due any more.
const PATIENCE: usize = 10_000;

pub(super) struct World {
    pub(super) broker: Broker,
    pub(super) now: Instant,
    pub(super) config: Config,
    pub(super) limits: Limits,
    pub(super) links: Vec<Link>,
    /// Which connection a script means.
    pub(super) slots: [Option<usize>; SLOTS],
    pub(super) locals: Vec<Local>,
    pub(super) model: Model,
    /// After so many more events, actions are done.
    pub(super) idle: usize,
    /// In pieces of how many bytes clients send; 0 is in one.
    pub(super) piece: usize,
    /// A byte of the next packet that is changed: where, and how.
    pub(super) damage: Option<(usize, u8)>,
    /// Whether all actions have been done since the last call.
    pub(super) is_done: bool,
}

impl World {
    pub(super) fn new(input: &mut Input<'_>) -> Self {
        let config = config(input);
        let now = Instant::from_millis(0);
        let wall_clock = WallClock::from_unix_millis(0);
        let mut limits = Limits::default();
        limits.include(&config);
        Self {
            broker: Broker::new(config.clone(), 1, now, wall_clock),
            now,
            config,
            limits,
            links: Vec::new(),
            slots: [None; SLOTS],
            locals: Vec::new(),
            model: Model::default(),
            idle: 0,
            piece: 0,
            damage: None,
            is_done: true,
        }
    }

    /// A connection that was opened, if there was room.
    pub(super) fn open(&mut self, slot: usize, version: Version) {
        if self.links.len() == MOST {
            return;
        }
        let origin = Origin {
            listener: 0,
            transport: Transport::Tcp,
            remote: None,
            local: None,
        };
        let is_full = self.broker.is_full();
        let opened = self.broker.open(origin);
        assert_eq!(opened.is_err(), is_full);
        if let Ok(id) = opened {
            assert!(self.links.iter().all(|link| link.id != id), "{id:?} again");
            let source = self.model.source();
            self.slots[slot] = Some(self.links.len());
            self.links.push(Link::new(id, version, source));
        }
    }

    /// The connection of which the script speaks, if it has a socket.
    pub(super) fn link(&self, input: &mut Input<'_>) -> Option<usize> {
        let at = self.slots[input.below(SLOTS)]?;
        self.links[at].is_there().then_some(at)
    }

    /// A client sends bytes, as far as its socket is read.
    pub(super) fn send(&mut self, at: usize, mut bytes: Vec<u8>) {
        if let Some((place, change)) = self.damage.take()
            && change != 0
            && !bytes.is_empty()
        {
            let place = place % bytes.len();
            bytes[place] ^= change;
            self.links[at].is_wild = true;
            self.model.is_wild = true;
        }
        self.links[at].unread.extend(bytes);
        self.read(at);
    }

    /// Reads what a client has sent.
    fn read(&mut self, at: usize) {
        // As long as actions wait, a pause is not known of.
        self.limits.sent(self.links[at].unread.len());
        loop {
            let link = &mut self.links[at];
            if link.unread.is_empty() || link.paused || !link.is_there() {
                return;
            }
            let len = match self.piece {
                0 => link.unread.len(),
                piece => piece.min(link.unread.len()),
            };
            let piece: Vec<u8> = link.unread.drain(..len).collect();
            let id = link.id;
            self.broker.received(id, &piece);
            self.act();
        }
    }

    /// The socket of a connection has gone.
    pub(super) fn closed(&mut self, at: usize, how: Closed) {
        let link = &mut self.links[at];
        link.stage = match self.is_done {
            true => Stage::Gone,
            false => Stage::Reported,
        };
        self.broker.closed(link.id, how);
    }

    /// Answers the question about a client, if there is one.
    pub(super) fn admit(&mut self, at: usize, granted: Granted, data: Option<&[u8]>) {
        let link = &mut self.links[at];
        if std::mem::take(&mut link.asked) {
            self.model.granted(link.source, granted);
            self.broker.admit_with(link.id, granted.grant(), data);
        }
    }

    /// Tells the time.
    pub(super) fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.broker.advance(self.now);
        let next = self.broker.next_deadline();
        assert!(next.is_none_or(|next| next >= self.now), "time is missed");
    }

    /// Tells the time until nothing is due any more.
    pub(super) fn settle(&mut self) {
        for _ in 0..PATIENCE {
            self.broker.advance(self.now);
            self.act();
            if self
                .broker
                .next_deadline()
                .is_none_or(|next| next > self.now)
            {
                return;
            }
        }
        panic!("there is no end to what is due at {:?}", self.now);
    }

    /// Does the actions, unless they are to wait.
    pub(super) fn act(&mut self) {
        self.is_done = false;
        if self.idle > 0 {
            return;
        }
        while let Some(action) = self.broker.poll_action() {
            self.action(action);
        }
        self.is_done = true;
        for link in &mut self.links {
            // Then the last action may be one that was raised before.
            if std::mem::take(&mut link.is_early) {
                link.send_raised = false;
                link.offered = true;
            }
            if link.stage == Stage::Reported {
                link.stage = Stage::Gone;
            }
        }
        for local in &mut self.locals {
            if std::mem::take(&mut local.is_early) {
                local.raised = false;
            }
            local.is_gone = !local.is_open;
        }
        self.assert_done();
    }

    fn action(&mut self, action: Action) {
        match action {
            Action::Send(id) => self.on(id, action, |link| {
                assert!(!link.send_raised || link.is_early, "raised twice");
                link.send_raised = true;
            }),
            Action::Close(id) => self.on(id, action, |link| {
                assert_eq!(link.stage, Stage::Open, "closed twice");
                link.stage = Stage::Closing;
                link.asked = false;
            }),
            Action::Abort(id) => self.on(id, action, |link| link.stage = Stage::Gone),
            Action::Pause(id) => self.on(id, action, |link| {
                assert!(!link.paused && link.stage == Stage::Open);
                link.paused = true;
            }),
            Action::Resume(id) => self.on(id, action, |link| {
                assert!(link.paused && link.stage == Stage::Open);
                link.paused = false;
            }),
            Action::Authenticate(id) => self.on(id, action, |link| {
                assert_eq!(link.stage, Stage::Open);
                link.asked = true;
            }),
            Action::Deliver(client) => {
                let local = self.locals.iter_mut().find(|it| it.client == client);
                let local = local.unwrap_or_else(|| panic!("{client:?} is nobody"));
                assert!(!local.is_gone, "{client:?} is gone");
                assert!(!local.raised || local.is_early, "raised twice");
                local.raised = local.is_open;
            }
            Action::Move(..) | Action::Route(_) | Action::Store => {
                panic!("{action:?}: there is one shard, and no store");
            }
            Action::Event => {
                let mut events = 0;
                while let Some(event) = self.broker.poll_event() {
                    events += 1;
                    let id = event.connection;
                    assert!(self.links.iter().any(|link| link.id == id), "{event:?}");
                }
                assert!(events <= self.limits.events, "{events} events");
            }
        }
    }

    /// Does something with the connection that an action names, which must be there; nothing if its
    /// end was reported after the action was raised.
    fn on(&mut self, id: ConnectionId, action: Action, mut then: impl FnMut(&mut Link)) {
        let link = self.links.iter_mut().find(|link| link.id == id);
        let link = link.unwrap_or_else(|| panic!("{action:?} names nobody"));
        match link.stage {
            Stage::Open | Stage::Closing => then(link),
            Stage::Reported => {}
            Stage::Gone => panic!("{action:?} names a connection that is gone"),
        }
    }

    /// What the program knows is what the broker knows, once all actions are done.
    fn assert_done(&self) {
        for link in &self.links {
            let waiting = self.broker.outbox_len(link.id);
            if !link.is_there() {
                assert_eq!(waiting, 0, "{link:?}");
                continue;
            }
            let is_known = link.send_raised || link.offered;
            assert!(waiting == 0 || is_known, "nobody would send it: {link:?}");
            let credentials = self.broker.credentials(link.id);
            assert_eq!(credentials.is_some(), link.asked, "{link:?}");
        }
    }

    /// What follows every event.
    pub(super) fn after_event(&mut self) {
        self.idle = self.idle.saturating_sub(1);
        self.act();
        for at in 0..self.links.len() {
            self.read(at);
        }
        let locals = self.locals.iter().filter(|local| local.is_open).count();
        self.limits.assert_kept(&self.broker, &self.links, locals);
    }

    /// A client reads all there is and acknowledges in order.
    pub(super) fn catch_up(&mut self, at: usize) {
        if !self.links[at].is_there() {
            return;
        }
        self.links[at].take(&mut self.broker, usize::MAX, &mut self.model);
        self.act();
        let link = &mut self.links[at];
        let mut acks = Vec::new();
        for message in std::mem::take(&mut link.unanswered) {
            let kinds: &[u8] = match (message.qos, message.received) {
                (1, _) => &[kind::PUBACK],
                (_, false) => &[kind::PUBREC, kind::PUBCOMP],
                (_, true) => &[kind::PUBCOMP],
            };
            acks.extend(kinds.iter().map(|kind| (*kind, message.packet_id)));
        }
        let released = std::mem::take(&mut link.released).into_iter();
        acks.extend(released.map(|packet_id| (kind::PUBCOMP, packet_id)));
        let acks = acks.into_iter();
        let bytes = acks.flat_map(|(kind, packet_id)| wire::ack(kind, packet_id));
        self.send(at, bytes.collect());
    }

    /// All clients read and acknowledge until nothing comes any more. What is still owed then is
    /// owed to those who are not there, or who did something that need not be forgiven.
    fn drain(&mut self) {
        let mut arrived = usize::MAX;
        while arrived != self.model.arrived || self.broker.waiting_bytes() > 0 {
            arrived = self.model.arrived;
            self.settle();
            for at in 0..self.links.len() {
                self.catch_up(at);
            }
            for at in 0..self.locals.len() {
                self.take_messages(at, usize::MAX);
            }
            self.act();
        }
        for link in self.links.iter().filter(|link| link.is_there()) {
            assert!(link.read.is_empty(), "half a packet: {link:?}");
        }
        let is_plain = |link: &Link| !link.is_wild && !link.is_lax && !link.asked;
        let is_plain = self
            .links
            .iter()
            .all(|link| !link.is_there() || is_plain(link));
        if is_plain && self.broker.absent_sessions() == 0 {
            assert_eq!(self.broker.queued_messages(), 0, "who is here has it all");
        }
    }

    /// All clients read what there is, go, and are forgotten. Returns how many messages arrived.
    pub(super) fn end(mut self) -> usize {
        self.idle = 0;
        self.drain();
        for at in 0..self.links.len() {
            if self.links[at].is_there() {
                self.closed(at, Closed::EndOfStream);
                self.act();
            }
        }
        for at in 0..self.locals.len() {
            self.close_local(at);
        }
        self.act();
        assert_eq!(self.broker.connections(), 0);
        assert_eq!(self.broker.sessions(), self.broker.absent_sessions());
        self.advance(self.now.after(2 * LONGEST_SESSION));
        self.settle();
        let broker = &self.broker;
        let held = [
            broker.sessions(),
            broker.absent_sessions(),
            broker.subscriptions(),
            broker.shared_subscriptions(),
            broker.queued_messages(),
            broker.queued_bytes(),
            broker.waiting_bytes(),
            broker.unparsed_bytes(),
        ];
        assert_eq!(held, [0; 8], "nobody is there any more");
        self.model.arrived
    }
}
