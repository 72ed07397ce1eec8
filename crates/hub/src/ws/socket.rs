//! The life of a socket: reads its messages until it ends, pings the client, and enforces the deadlines.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::Hub;
use crate::backend::{Backend, Language};
use crate::protocol::Codec;
use crate::protocol::close::Close;
use crate::session::connection::Connection;
use crate::session::lifetime::REFRESH_GRACE;
use crate::session::{commands, reauthorise};
use crate::ws::admission::Place;
use crate::ws::frame;
use crate::ws::outbox::Outbox;
use crate::ws::pace::Pace;
use crate::ws::reader::{Message, Next, Reader};
use crate::ws::stream::Incoming;

/// How long a client may take to answer a close.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// How long the node waits for a client to close after it violated the WebSocket protocol; its input is discarded.
const FAILED_WITHIN: Duration = Duration::from_secs(1);

/// How long the node waits for the client to close after the output has ended.
const LINGER: Duration = Duration::from_secs(1);

/// Removes the connection from the registry however the reader ends.
struct Leave(Arc<Connection>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.leave();
        self.0.hub().closed(&self.0);
    }
}

/// Releases the stream however the reader ends.
pub struct Gone(pub Arc<Outbox>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// The deadlines of a reader.
struct Timers {
    connect_by: Instant,
    ping_at: Option<Instant>,
    pong_by: Option<Instant>,
    closed_by: Option<Instant>,
    /// True once the connection was closed and has left the registry.
    left: bool,
    /// Rate limit of messages and commands.
    pace: Pace,
}

/// An admitted socket, besides its stream.
pub struct Accepted {
    /// The encoding of its messages.
    pub codec: Codec,
    /// The language of its error replies.
    pub language: Language,
    /// Its place, from admission.
    pub place: Arc<Place>,
}

/// Serves a socket until its end: a stream after the handshake, and the bytes that were read together with it.
pub async fn serve(hub: Hub, backend: Arc<dyn Backend>, accepted: Accepted, stream: TcpStream, first: Bytes) {
    let Accepted { codec, language, place } = accepted;
    let limits = hub.limits();
    let outbox = Outbox::counted(limits.outbox_bytes, stream, hub.counters.clone(), place.clone());
    let incoming = Incoming::new(outbox.clone(), first);
    let connection = Connection::new(hub.clone(), codec, language, outbox, &place);
    drop(place);
    hub.opened(&connection);
    let pace = Pace::new(limits.bytes_per_second, limits.bytes_at_once);
    let reader = Reader::new(incoming, limits.frame_bytes).paced(pace);
    read(backend, connection, reader).await;
}

/// Reads a socket until its end.
async fn read(backend: Arc<dyn Backend>, connection: Arc<Connection>, mut reader: Reader<Incoming>) {
    let gone = Gone(connection.outbox.clone());
    let leave = Leave(connection.clone());
    let limits = connection.hub().limits();
    let ping_every = Duration::from_secs(limits.ping_seconds.into());
    let now = Instant::now();
    let mut timers = Timers {
        connect_by: now + limits.connect_within,
        ping_at: None,
        pong_by: None,
        closed_by: None,
        left: false,
        pace: Pace::new(limits.commands_per_second, limits.commands_at_once),
    };
    loop {
        if connection.outbox.closed().is_some() && !std::mem::replace(&mut timers.left, true) {
            // Its subscriptions are of no use any more; the client has `CLOSE_WITHIN` to answer the close.
            connection.leave();
            timers.closed_by = timers.closed_by.or(Some(Instant::now() + CLOSE_WITHIN));
        }
        let deadline = next_deadline(&connection, &timers, limits.write_within);
        tokio::select! {
            next = reader.next() => match next {
                Next::Message(message) => match take(&backend, &connection, message, &mut timers.pace) {
                    Taken::More => {}
                    Taken::Pong => timers.pong_by = None,
                    Taken::End => break,
                },
                Next::Failed(close) => {
                    connection.close(close);
                    timers.closed_by = Some(Instant::now() + FAILED_WITHIN);
                }
                Next::Ended => return,
            },
            () = connection.outbox.write() => return,
            // Recomputes the deadline, now that bytes are waiting.
            () = connection.outbox.grown() => {}
            () = connection.woken() => {
                if connection.must_authorise() {
                    tokio::task::spawn_local(reauthorise::check_again(backend.clone(), connection.clone()));
                }
            }
            () = tokio::time::sleep_until(deadline) => {
                if stuck_until(&connection, limits.write_within).is_some_and(|at| at <= Instant::now()) {
                    connection.outbox.give_up(Close::Slow);
                    break;
                }
                if !tick(&backend, &connection, &mut timers, ping_every, limits.pong_within) {
                    break;
                }
            }
        }
        if timers.ping_at.is_none() && connection.session().is_some() {
            // The first ping comes at a random moment, so that sockets that connected together do not ping together.
            timers.ping_at = Some(Instant::now() + ping_every.mul_f64(rand::random_range(0.5..1.0)));
        }
    }
    drop(leave);
    finish(&gone.0, reader.into_inner(), limits.write_within).await;
}

/// Writes the waiting frames within a time, ends the output, and waits briefly for the client to close. Input is
/// discarded meanwhile, because closing a socket with unread input resets it, and the client would lose the last
/// frames.
pub async fn finish(outbox: &Outbox, mut incoming: Incoming, within: Duration) {
    let told = tokio::select! {
        () = incoming.drain() => false,
        written = tokio::time::timeout(within, outbox.finish()) => written.is_ok(),
    };
    if told {
        let _ = tokio::time::timeout(LINGER, incoming.drain()).await;
    }
}

/// Returns the instant from which the waiting output has made no progress for too long.
fn stuck_until(connection: &Connection, write_within: Duration) -> Option<Instant> {
    connection.outbox.stuck_since().map(|since| since + write_within)
}

fn next_deadline(connection: &Connection, timers: &Timers, write_within: Duration) -> Instant {
    let stuck = stuck_until(connection, write_within);
    if let Some(at) = timers.closed_by {
        return stuck.map_or(at, |stuck| stuck.min(at));
    }
    let token = match connection.session() {
        None => Some(timers.connect_by),
        Some(session) => session.expires_at.map(|at| at + REFRESH_GRACE),
    };
    [token, timers.ping_at, timers.pong_by, connection.rights_end_at(), stuck]
        .into_iter()
        .flatten()
        .min()
        // Nothing is due between `connect` and the first ping if the token does not expire.
        .unwrap_or_else(|| Instant::now() + CLOSE_WITHIN)
}

/// Acts on the deadlines that have passed; returns false if the reader must end.
fn tick(
    backend: &Arc<dyn Backend>,
    connection: &Arc<Connection>,
    timers: &mut Timers,
    ping_every: Duration,
    pong_within: Duration,
) -> bool {
    let now = Instant::now();
    let past = |at: Option<Instant>| at.is_some_and(|at| at <= now);
    if past(timers.closed_by) {
        return false;
    }
    match connection.session() {
        None if timers.connect_by <= now => connection.close(Close::Stale),
        Some(session) if past(session.expires_at.map(|at| at + REFRESH_GRACE)) => connection.close(Close::Expired),
        _ => {}
    }
    if past(timers.pong_by) {
        connection.close(Close::NoPong);
        return true;
    }
    if past(timers.ping_at) {
        let ping = frame::message(connection.codec, connection.codec.ping());
        connection.outbox.push_control(&ping);
        timers.ping_at = Some(now + ping_every);
        timers.pong_by = timers.pong_by.or(Some(now + pong_within));
    }
    if connection.rights_have_ended(now) {
        connection.doubt(None, 0);
        tokio::task::spawn_local(reauthorise::check_again(backend.clone(), connection.clone()));
    }
    true
}

enum Taken {
    More,
    Pong,
    End,
}

fn take(backend: &Arc<dyn Backend>, connection: &Arc<Connection>, message: Message, pace: &mut Pace) -> Taken {
    if !pace.take(1) {
        connection.close(Close::TooManyRequests);
    }
    let frame = match (message, connection.codec) {
        (Message::Text(frame), Codec::Json) | (Message::Binary(frame), Codec::Protobuf) => frame,
        (Message::Ping(payload), _) => {
            connection.outbox.push_pong(&payload);
            return Taken::More;
        }
        (Message::Pong, _) => return Taken::More,
        (Message::Close(code), _) => {
            connection.outbox.answer_close(code);
            return Taken::End;
        }
        (Message::Text(_) | Message::Binary(_), _) => {
            connection.close(Close::BadRequest);
            return Taken::More;
        }
    };
    if connection.outbox.closed().is_some() {
        return Taken::More;
    }
    let Ok(mut commands) = connection.codec.decode(&frame) else {
        connection.close(Close::BadRequest);
        return Taken::More;
    };
    let before = commands.len();
    commands.retain(|c| !c.is_pong());
    let ponged = commands.len() < before;
    if !commands.is_empty() {
        if !pace.take(commands.len() - 1) {
            connection.close(Close::TooManyRequests);
            return Taken::More;
        }
        match connection.queue(commands, frame.len()) {
            Ok(true) => {
                tokio::task::spawn_local(commands::work(backend.clone(), connection.clone()));
            }
            Ok(false) => {}
            Err(close) => connection.close(close),
        }
    }
    if ponged { Taken::Pong } else { Taken::More }
}
