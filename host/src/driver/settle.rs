//! The second half of a turn: what the broker asks for is done, and outboxes are written.

use std::io::{self, IoSlice};
use std::mem;

use heapless::Vec as ArrayVec;
use wherry_core::Action;
use wherry_core::connection::{Closed, ConnectionId};

use super::Driver;
use super::link::{Socket, Stage};
use crate::auth::Inquiry;

/// How many slices one write is given. More than fit a full socket buffer would be offered in vain.
const SLICES_PER_WRITE: usize = 64;

/// How often one connection may fill a whole write in one pass before the others have their chance.
const WRITES_PER_PASS: usize = 8;

/// How often actions are taken and outboxes written in one turn. What is written makes room for
/// what waits in queues, so a fast reader could otherwise keep a turn going.
const PASSES_PER_TURN: usize = 8;

impl<S: Socket> Driver<S> {
    /// Does what the broker asks for until it asks for nothing more.
    pub(super) fn settle(&mut self) {
        for _ in 0..PASSES_PER_TURN {
            while let Some(action) = self.broker.poll_action() {
                self.act(action);
            }
            if self.unwritten.is_empty() {
                return;
            }
            let mut writing = mem::replace(&mut self.unwritten, mem::take(&mut self.writing));
            for id in writing.drain(..) {
                self.write(id);
            }
            self.writing = writing;
        }
        // The last pass may have left actions; they belong to this turn, their writes to the next.
        while let Some(action) = self.broker.poll_action() {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send(id) => self.list(id),
            Action::Close(id) => self.drain(id),
            Action::Abort(id) => drop(self.links.remove(id)),
            Action::Pause(id) => self.pause(id, true),
            Action::Resume(id) => {
                self.pause(id, false);
                // It may have been reported as ready while it was paused.
                self.ready(id);
            }
            Action::Authenticate(id) => self.authenticate(id),
            Action::Move(id, shard) => self.give_away(id, shard),
            // It is taken at the end of the turn, with all that comes until then.
            Action::Route(peer) => self.routes |= 1 << peer,
            // Nothing in this process opens a local client behind the driver's back.
            Action::Deliver(_) => {}
            Action::Store => self.batch_waits = true,
            Action::Event => {
                while let Some(event) = self.broker.poll_event() {
                    self.events.log(&event);
                }
            }
        }
    }

    /// Puts a connection down for writing, unless its socket is known to have no room.
    pub(super) fn list(&mut self, id: ConnectionId) {
        if let Some(link) = self.links.get_mut(id)
            && !link.blocked
            && !mem::replace(&mut link.listed, true)
        {
            self.unwritten.push(id);
        }
    }

    fn drain(&mut self, id: ConnectionId) {
        if let Some(link) = self.links.get_mut(id)
            && link.stage == Stage::Open
        {
            link.stage = Stage::Draining { peer_ended: false };
            // Written even if nothing waits: that is where the writing side is shut down. Read even
            // if nothing was reported: it may have been paused.
            self.list(id);
            self.ready(id);
        }
    }

    fn pause(&mut self, id: ConnectionId, paused: bool) {
        if let Some(link) = self.links.get_mut(id) {
            link.paused = paused;
        }
    }

    fn authenticate(&mut self, id: ConnectionId) {
        let Some(credentials) = self.broker.credentials(id) else {
            return;
        };
        let inquiry = Inquiry {
            connection: id,
            mailbox: &self.mailbox,
        };
        // Whoever has challenged the client examines its answer.
        let examiner = self.links.get_mut(id).and_then(|it| it.examiner.take());
        let examiner = examiner.as_ref().unwrap_or(&self.authenticator);
        let answer = examiner.authenticate(&credentials, inquiry);
        if let Some(decision) = answer.into_decision() {
            self.decided(id, decision);
        }
    }

    /// Writes what waits for one connection, and ends its writing side if those were its last
    /// words.
    fn write(&mut self, id: ConnectionId) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        link.listed = false;
        for _ in 0..WRITES_PER_PASS {
            let Ok(offer) = offer(&mut link.socket, self.broker.outbox(id)) else {
                return self.lose(id, Closed::Failed);
            };
            if offer.offered > 0 {
                self.broker.sent(id, offer.taken);
            }
            link.blocked = offer.taken < offer.offered;
            if link.blocked {
                return;
            }
            if !offer.more {
                if link.stage != Stage::Open {
                    self.last_words_written(id);
                }
                return;
            }
        }
        self.list(id);
    }

    fn last_words_written(&mut self, id: ConnectionId) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        match link.stage {
            Stage::Draining { peer_ended: false } => match link.socket.shutdown_write() {
                Ok(()) => link.stage = Stage::Finished,
                Err(_) => self.lose(id, Closed::Failed),
            },
            Stage::Draining { peer_ended: true } => self.lose(id, Closed::EndOfStream),
            Stage::Open | Stage::Finished => {}
        }
    }
}

/// What became of one write.
struct Offer {
    offered: usize,
    taken: usize,
    /// There may be slices beyond those that fit one write.
    more: bool,
}

fn offer<'a, S: Socket>(
    socket: &mut S,
    outbox: impl Iterator<Item = &'a [u8]>,
) -> io::Result<Offer> {
    let slices: ArrayVec<IoSlice<'_>, SLICES_PER_WRITE> =
        outbox.take(SLICES_PER_WRITE).map(IoSlice::new).collect();
    let offered = slices.iter().map(|slice| slice.len()).sum();
    let taken = if slices.is_empty() {
        0
    } else {
        loop {
            match socket.try_write_vectored(&slices) {
                Ok(taken) => break taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break 0,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    };
    Ok(Offer {
        offered,
        taken,
        more: slices.is_full(),
    })
}
