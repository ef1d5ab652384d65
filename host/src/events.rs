//! The broker's events as log lines that a person can read.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use tracing::{debug, info, warn};
use wherry_core::connection::Origin;
use wherry_core::time::Instant;
use wherry_core::{Cause, Event, EventKind, TooManyConnections};

/// How many lines about peers that misbehave or are not let in are logged per second; the others
/// are counted. It takes no credentials to cause such a line, so they must not fill a disk.
const REFUSALS_PER_SECOND: u32 = 10;

/// How much of a string that a client chose is shown.
const SHOWN_CHARS: usize = 128;

/// Logs a line about a client: a sentence for people, and for programs the client's identifier,
/// both addresses and what else the line is about as fields, which only JSON shows.
macro_rules! line {
    ($level:ident, $event:expr, { $($field:tt)* }, $($sentence:tt)+) => {
        $level!(
            client_id = $event.client_id.as_deref(),
            remote = %Address($event.origin.remote),
            local = %Address($event.origin.local),
            $($field)*
            $($sentence)+
        )
    };
}

/// Logs events, and not too many of those that anybody can cause.
#[derive(Debug, Default)]
pub(crate) struct EventLog {
    now: Instant,
    second_began: Instant,
    logged: u32,
    suppressed: u64,
}

impl EventLog {
    /// Tells the time, and how much was suppressed if a second has passed.
    pub(crate) fn advance(&mut self, now: Instant) {
        self.now = now;
        if self.logged > 0 && now.since(self.second_began) >= Duration::from_secs(1) {
            self.logged = 0;
            let suppressed = std::mem::take(&mut self.suppressed);
            if suppressed > 0 {
                warn!("{suppressed} more lines about refused or misbehaving peers suppressed");
            }
        }
    }

    /// When there is something to say at the latest.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        (self.suppressed > 0).then(|| self.second_began.after(Duration::from_secs(1)))
    }

    pub(crate) fn log(&mut self, event: &Event) {
        let who = Who(event);
        match &event.kind {
            EventKind::Connected {
                version,
                username,
                clean_start,
                session_present,
                keep_alive,
            } => line!(
                info,
                event,
                { username = username.as_deref(), version = %version, },
                "{who} connected with {version}{}, {}, keep-alive {keep_alive} s",
                User(username.as_deref()),
                match (clean_start, session_present) {
                    (true, _) => "clean start",
                    (false, true) => "going on with its session",
                    (false, false) => "asking for a session that is not there",
                },
            ),
            EventKind::Reauthenticated => line!(info, event, {}, "{who} has authenticated again"),
            EventKind::Disconnected { admitted, cause } => self.ended(event, *admitted, cause),
            EventKind::PublishRefused { topic, reason } => self.limited(|| {
                line!(
                    warn,
                    event,
                    { topic = &**topic, cause = %reason, },
                    "{who}: publish to {} refused: {reason}",
                    Quoted(topic),
                );
            }),
            EventKind::SubscribeRefused {
                filter,
                reason,
                error,
            } => self.limited(|| {
                let why = error.map_or(String::new(), |error| format!(": {error}"));
                line!(
                    warn,
                    event,
                    { filter = &**filter, cause = %reason, },
                    "{who}: subscription to {} refused: {reason}{why}",
                    Quoted(filter),
                );
            }),
            EventKind::ReceiveMaximumExceeded => self.limited(|| {
                line!(
                    warn,
                    event,
                    {},
                    "{who} has more messages in flight than its Receive Maximum, which is let pass"
                );
            }),
            EventKind::SlowConsumer => self.limited(|| {
                line!(
                    warn,
                    event,
                    {},
                    "{who} reads too slowly and loses QoS 0 messages"
                );
            }),
        }
    }

    fn ended(&mut self, event: &Event, admitted: bool, cause: &Cause) {
        let who = Who(event);
        match (admitted, is_ordinary(cause)) {
            (true, true) => line!(info, event, { cause = %cause, }, "{who} disconnected: {cause}"),
            (true, false) => self.limited(|| {
                line!(warn, event, { cause = %cause, }, "{who} disconnected: {cause}");
            }),
            // Port scanners and health checks.
            (false, true) => {
                line!(
                    debug, event, { cause = %cause, },
                    "{who} left before it was let in: {cause}"
                );
            }
            (false, false) => self.limited(|| {
                line!(warn, event, { cause = %cause, }, "{who} was not let in: {cause}");
            }),
        }
    }

    /// A connection was refused before anything was known about the client.
    pub(crate) fn not_opened(&mut self, remote: Option<SocketAddr>, error: TooManyConnections) {
        self.limited(|| warn!("connection from {} refused: {error}", Address(remote)));
    }

    /// Has `line` logged unless there were too many such lines within this second.
    fn limited(&mut self, line: impl FnOnce()) {
        if self.logged == 0 {
            self.second_began = self.now;
        }
        if self.logged < REFUSALS_PER_SECOND {
            self.logged += 1;
            line();
        } else {
            self.suppressed += 1;
        }
    }
}

/// Whether an end belongs to the life of a client that has done nothing wrong.
fn is_ordinary(cause: &Cause) -> bool {
    match cause {
        Cause::ClientDisconnect(_)
        | Cause::EndOfStream
        | Cause::SocketError
        | Cause::KeepAliveTimeout
        | Cause::TakenOver
        | Cause::Shutdown
        | Cause::Kicked => true,
        Cause::Protocol(_)
        | Cause::PacketTooLarge { .. }
        | Cause::AnswerTooLarge
        | Cause::Topic(_)
        | Cause::ConnectTimeout
        | Cause::ChallengeTimeout
        | Cause::WriteTimeout
        | Cause::Unacknowledged
        | Cause::Refused(_)
        | Cause::NotSupported(_) => false,
    }
}

/// The client, as far as it is known, and where it comes from.
struct Who<'a>(&'a Event);

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.client_id {
            Some(client_id) => write!(f, "client {}", Quoted(client_id))?,
            None => f.write_str("peer")?,
        }
        write!(f, " {}", Route(&self.0.origin))
    }
}

/// Both ends of the connection.
struct Route<'a>(&'a Origin);

impl fmt::Display for Route<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "({} -> {})",
            Address(self.0.remote),
            Address(self.0.local)
        )
    }
}

struct Address(Option<SocketAddr>);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            // A dual-stack listener sees IPv4 peers under addresses that nobody would search for.
            Some(address) => SocketAddr::new(address.ip().to_canonical(), address.port()).fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

struct User<'a>(Option<&'a str>);

impl fmt::Display for User<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, " as user {}", Quoted(name)),
            None => Ok(()),
        }
    }
}

/// A string that a client chose: in quotes, with what does not print escaped, cut to a length that
/// a log can bear.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        let mut chars = self.0.chars();
        for character in chars.by_ref().take(SHOWN_CHARS) {
            match character {
                '\'' => f.write_char('\'')?,
                other => write!(f, "{}", other.escape_debug())?,
            }
        }
        let rest = chars.count();
        f.write_char('"')?;
        if rest > 0 {
            write!(f, " and {rest} more characters")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_a_client_chose_cannot_forge_a_line_or_drive_a_terminal() {
        let shown = Quoted("a\n\u{1b}[31m\"\u{202e}ä'").to_string();
        assert_eq!(shown, r#""a\n\u{1b}[31m\"\u{202e}ä'""#);
    }

    #[test]
    fn long_strings_are_cut() {
        let shown = Quoted(&"x".repeat(1000)).to_string();
        assert!(shown.len() < 200);
        assert!(shown.ends_with("and 872 more characters"));
    }

    #[test]
    fn a_flood_of_bad_peers_is_counted_rather_than_logged() {
        let mut log = EventLog::default();
        let lines = Cell::new(0);
        let line = || lines.set(lines.get() + 1);
        for _ in 0..1000 {
            log.limited(line);
        }
        assert_eq!(lines.get(), REFUSALS_PER_SECOND);
        assert_eq!(log.suppressed, 1000 - u64::from(REFUSALS_PER_SECOND));
        assert_eq!(log.next_deadline(), Some(Instant::from_millis(1000)));

        log.advance(Instant::from_millis(999));
        log.limited(line);
        assert_eq!(lines.get(), REFUSALS_PER_SECOND);

        log.advance(Instant::from_millis(1000));
        assert_eq!(log.next_deadline(), None);
        log.limited(line);
        assert_eq!(lines.get(), REFUSALS_PER_SECOND + 1);
    }
}
