//! `/connection/echo`: sends back what it gets, through the hub's own reader, frames and outgoing queue, so that what a
//! suite of RFC 6455 finds here holds for the hub's sockets too.

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

/// Bytes of a message.
const MESSAGE_BYTES: usize = 16 << 20;
/// Bytes that may wait for the client before more is read from it.
const WAITING_BYTES: usize = 1 << 20;
/// How long a client that broke the protocol has to read the close frame.
const FAILED_WITHIN: Duration = Duration::from_secs(1);
/// How long a client may take to read what was sent last.
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

/// Whether it ends with words that the client has yet to read.
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
