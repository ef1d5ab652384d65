//! One visitor: a request is read, answered, and the connection ends.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use tracing::debug;

use super::pages::{Page, Pages};
use super::request::{self, Asked, Refusal, Text};

/// How long, and for how many bytes, we listen to a visitor who has its answer. A connection that
/// is closed with bytes unread is reset, and the answer may be lost with it.
const LINGER: Duration = Duration::from_secs(1);
const MOST_IGNORED: usize = 64 << 10;

/// Serves one visitor, which may take `timeout` for its request, and then for taking the answer.
pub(super) fn serve(stream: &TcpStream, pages: &Pages, timeout: Duration) {
    if let Err(error) = converse(stream, pages, timeout) {
        debug!("a visitor of health and metrics was lost: {error}");
    }
}

fn converse(stream: &TcpStream, pages: &Pages, timeout: Duration) -> io::Result<()> {
    // Some systems hand on that the listener does not block.
    stream.set_nonblocking(false)?;
    let Some((page, text)) = hear(stream, pages, timeout)? else {
        return Ok(());
    };
    say(stream, &page.to_bytes(text), timeout)?;
    stream.shutdown(Shutdown::Write)?;
    let deadline = Instant::now() + LINGER;
    let (mut buffer, mut ignored) = ([0; 1024], 0);
    while ignored < MOST_IGNORED {
        match read(stream, &mut buffer, deadline)? {
            Some(0) | None => break,
            Some(count) => ignored += count,
        }
    }
    Ok(())
}

/// Reads a request and finds the answer; nothing if nothing was asked.
fn hear(stream: &TcpStream, pages: &Pages, timeout: Duration) -> io::Result<Option<(Page, Text)>> {
    let deadline = Instant::now() + timeout;
    let refused = |refusal| Ok(Some((Page::from(refusal), Text::Wanted)));
    let (mut buffer, mut head) = ([0; 1024], Vec::new());
    loop {
        match read(stream, &mut buffer, deadline)? {
            Some(0) | None if head.is_empty() => return Ok(None),
            Some(0) => return refused(Refusal::BadRequest),
            None => return refused(Refusal::TimeOut),
            Some(count) => head.extend(buffer.iter().take(count)),
        }
        match request::read(&head) {
            Asked::NotYet => {}
            Asked::For(topic, text) => return Ok(Some((pages.page(topic), text))),
            Asked::Refused(refusal, text) => return Ok(Some((refusal.into(), text))),
        }
    }
}

/// The time until `deadline`, if it is not over.
fn left(deadline: Instant) -> Option<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    (!left.is_zero()).then_some(left)
}

/// Reads something; `None` if nothing comes until `deadline`.
fn read(mut stream: &TcpStream, into: &mut [u8], deadline: Instant) -> io::Result<Option<usize>> {
    while let Some(left) = left(deadline) {
        stream.set_read_timeout(Some(left))?;
        match stream.read(into) {
            Ok(count) => return Ok(Some(count)),
            Err(error) if is_over(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn say(mut stream: &TcpStream, mut bytes: &[u8], timeout: Duration) -> io::Result<()> {
    let deadline = Instant::now() + timeout;
    while !bytes.is_empty() {
        let Some(left) = left(deadline) else {
            return Err(io::ErrorKind::TimedOut.into());
        };
        stream.set_write_timeout(Some(left))?;
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if is_over(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether an attempt merely ended: the deadline says whether there is another.
fn is_over(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
