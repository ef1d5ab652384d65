//! Whether a session can take another message, and what makes room for it.

use alloc::sync::Arc;

use super::config::{Config, QueuePolicy};
use super::deliver::Post;
use crate::packet::QoS;
use crate::session::Session;
use crate::share::Standing;

/// How able a member of a shared subscription is to take a message.
pub(super) fn standing(
    session: &Session,
    post: &Post<'_>,
    topic: &str,
    qos: QoS,
    (len, is_new): (usize, bool),
) -> Standing {
    if !session.grant.may_receive(topic) {
        return Standing::Unable;
    }
    let connection = session.connection;
    let is_here = session.local || post.connections.contains_key(connection);
    if qos > QoS::AtMostOnce || session.local {
        let policy = post.config.queue_policy;
        let may_make_room = policy == QueuePolicy::DropOldest || has_expired(session, post);
        if !may_make_room && !has_room(session, post, len, is_new) {
            return Standing::Full;
        }
    } else if !is_here && !post.config.queue_qos0 {
        return Standing::Unable;
    }
    let is_free = if session.local {
        // It takes what waits in its own time: as much as its window holds is not too much.
        session.outgoing.len() < usize::from(post.config.send_window.get())
    } else {
        post.has_room(connection)
            && (qos == QoS::AtMostOnce
                || (session.outgoing.is_idle()
                    && session.outgoing.has_window(post.window(connection))))
    };
    match (is_here, is_free) {
        (false, _) => Standing::Absent,
        (true, false) => Standing::Busy,
        (true, true) => Standing::Ready,
    }
}

/// Whether a session may hold another message of that many bytes.
pub(super) fn has_room(session: &Session, post: &Post<'_>, len: usize, is_new: bool) -> bool {
    let Config {
        max_queued_messages,
        max_queued_bytes,
        max_queued_bytes_total,
        ..
    } = post.config;
    let total = post.out.held_bytes_everywhere() + if is_new { len } else { 0 };
    session.outgoing.len() < *max_queued_messages
        && session.outgoing.bytes() + len <= *max_queued_bytes
        && (total <= *max_queued_bytes_total || is_due_one(session, post))
}

/// Whether a client is there and owed nothing: what absent ones have piled up together does not
/// keep the one message from it that it can take.
fn is_due_one(session: &Session, post: &Post<'_>) -> bool {
    session.outgoing.len() == 0 && post.has_room(session.connection)
}

/// Makes room for a message, as the policy allows; false if there is none. What has expired leaves
/// in any case ([MQTT-3.3.2-5]).
pub(super) fn make_room(
    session: &mut Session,
    post: &mut Post<'_>,
    len: usize,
    is_new: bool,
) -> bool {
    loop {
        if has_room(session, post, len, is_new) {
            return true;
        }
        let is_expired = has_expired(session, post);
        if !is_expired
            && (post.config.queue_policy != QueuePolicy::DropOldest
                || !would_help(session, post, len, is_new))
        {
            return false;
        }
        let Some(oldest) = session.outgoing.dequeue() else {
            return false;
        };
        if oldest.message.retain {
            session.missed(oldest.message.change);
        }
        match is_expired {
            true => post.out.counters.dropped_expired += 1,
            false => post.out.counters.dropped_queue_full += 1,
        }
        post.out.release(session, oldest);
    }
}

/// Whether the message that has waited longest for this session has expired.
fn has_expired(session: &Session, post: &Post<'_>) -> bool {
    let oldest = session.outgoing.front();
    oldest.is_some_and(|oldest| oldest.message.is_expired(post.out.now))
}

/// Whether dropping what waits for this session could make room. Nobody loses their place to a
/// message for which it is not enough.
fn would_help(session: &Session, post: &Post<'_>, len: usize, is_new: bool) -> bool {
    let outgoing = &session.outgoing;
    let new = if is_new { len } else { 0 };
    let total = post.out.held_bytes_everywhere() + new;
    let excess = total.saturating_sub(post.config.max_queued_bytes_total);
    // What others wait for as well stays held.
    let frees = excess == 0
        || (outgoing.waiting_bytes() >= excess
            && outgoing
                .front()
                .is_some_and(|oldest| Arc::strong_count(&oldest.message) == 1));
    outgoing.in_flight() < post.config.max_queued_messages
        && outgoing.bytes() - outgoing.waiting_bytes() + len <= post.config.max_queued_bytes
        && frees
}
