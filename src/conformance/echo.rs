//! `/connection/echo`: an echo server on the hub's own reader, frames and outbox, so that the results of an RFC 6455
//! test suite against it apply to the hub's sockets too.

use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use tokio::time::Instant;

use crate::error::Result;
use crate::server::upgrade::upgrade;
use liveplan_hub::ws::frame;
use liveplan_hub::ws::outbox::Outbox;
use liveplan_hub::ws::reader::{Message, Next, Reader};
use liveplan_hub::ws::socket::{self, Gone};
use liveplan_hub::ws::stream::Incoming;

/// Maximum bytes of a message.
const MESSAGE_BYTES: usize = 16 << 20;
/// Bytes in the outbox above which the server reads no further messages (backpressure).
const WAITING_BYTES: usize = 1 << 20;
/// Deadline for a client that violated the protocol to read the close frame.
const FAILED_WITHIN: Duration = Duration::from_secs(1);
/// Deadline for a client to read the last bytes before the connection closes.
const FINISHED_WITHIN: Duration = Duration::from_secs(10);

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.route("/connection/echo", web::get().to(open));
}

async fn open(request: HttpRequest) -> Result<HttpResponse> {
    upgrade(&request, &[], |stream, first| {
        let gone = Gone(Outbox::new(WAITING_BYTES, Some(stream)));
        let mut reader = Reader::new(Incoming::new(gone.0.clone(), first), MESSAGE_BYTES);
        Box::pin(async move {
            if echo(&mut reader, &gone.0).await {
                socket::finish(&gone.0, reader.into_inner(), FINISHED_WITHIN).await;
            }
        })
    })
}

/// Echoes messages until the connection ends. Returns whether the client has yet to read the last bytes.
async fn echo(reader: &mut Reader<Incoming>, outbox: &Arc<Outbox>) -> bool {
    let mut end_at = None;
    loop {
        let next = tokio::select! {
            next = reader.next() => next,
            () = outbox.write() => return false,
            () = tokio::time::sleep_until(end_at.unwrap_or_else(Instant::now)), if end_at.is_some() => return true,
        };
        match next {
            Next::Message(Message::Text(text)) => outbox.push_control(&frame::text(&text)),
            Next::Message(Message::Binary(bytes)) => outbox.push_control(&frame::binary(&bytes)),
            Next::Message(Message::Ping(payload)) => outbox.push_pong(&payload),
            Next::Message(Message::Pong) => {}
            Next::Message(Message::Close(code)) => {
                outbox.answer_close(code);
                return true;
            }
            Next::Failed(close) => {
                outbox.close(close);
                end_at = Some(Instant::now() + FAILED_WITHIN);
            }
            Next::Ended => return false,
        }
        tokio::select! {
            () = outbox.room() => {}
            () = outbox.write() => return false,
        }
    }
}
