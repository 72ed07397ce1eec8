//! `/connection/echo`: sends back what it gets, through the hub's own reader, frames and outgoing queue, so that what a
//! suite of RFC 6455 finds here holds for the hub's sockets too.

use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use tokio::time::Instant;

use crate::error::Result;
use crate::live::endpoint;
use crate::live::frame;
use crate::live::outbox::Outbox;
use crate::live::reader::{Message, Next, Reader};

/// Bytes of a message.
const MESSAGE_BYTES: usize = 16 << 20;
/// Bytes that may wait for the client before more is read from it.
const WAITING_BYTES: usize = 1 << 20;
/// How long a client that broke the protocol has to read the close frame.
const FAILED_WITHIN: Duration = Duration::from_secs(1);

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.route("/connection/echo", web::get().to(open));
}

async fn open(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse> {
    let outbox = Outbox::new(WAITING_BYTES);
    let response = endpoint::upgrade(&request, &[], &outbox, None)?;
    actix_web::rt::spawn(async move {
        echo(Reader::new(payload, MESSAGE_BYTES), &outbox).await;
        outbox.end();
    });
    Ok(response)
}

async fn echo(mut reader: Reader<web::Payload>, outbox: &Arc<Outbox>) {
    let mut end_at = None;
    loop {
        let next = tokio::select! {
            next = reader.next() => next,
            () = outbox.gone() => return,
            () = tokio::time::sleep_until(end_at.unwrap_or_else(Instant::now)), if end_at.is_some() => return,
        };
        match next {
            Next::Message(Message::Text(text)) => outbox.push_control(frame::text(&text)),
            Next::Message(Message::Binary(bytes)) => outbox.push_control(frame::binary(&bytes)),
            Next::Message(Message::Ping(payload)) => outbox.push_pong(&payload),
            Next::Message(Message::Pong) => {}
            Next::Message(Message::Close(code)) => {
                outbox.answer_close(code);
                return;
            }
            Next::Failed(close) => {
                outbox.close(close);
                end_at = Some(Instant::now() + FAILED_WITHIN);
            }
            Next::Ended => return,
        }
        outbox.room().await;
    }
}
