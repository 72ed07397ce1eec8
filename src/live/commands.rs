//! What a client asks for over its socket. A connection's commands are worked through in order, by a task of their own, so
//! that reading, pongs and close never wait for them; an accepted command is finished even when its socket has gone.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::connection::{Connection, Session};
use super::protocol::close::Close;
use super::protocol::{
    Answer, Command, Empty, ErrorReply, ProtocolError, PublishRequest, RpcRequest, RpcResult, payload,
};
use super::{connect, queries, subscribe};
use crate::app::App;
use crate::auth::Caller;
use crate::error::Error;

/// Works through a connection's commands until none waits. A client that does not read its answers is not given more.
pub(super) async fn work(app: App, connection: Arc<Connection>) {
    loop {
        connection.outbox.room().await;
        let Some(command) = connection.next_command() else {
            return;
        };
        let id = command.id;
        match answer(&app, &connection, command).await {
            Ok(Some(answer)) => connection.reply(id, answer),
            Ok(None) => {}
            Err(close) => connection.close(close),
        }
    }
}

/// The answer to a command; none where it has been sent, or none is due.
async fn answer(app: &App, connection: &Arc<Connection>, command: Command) -> Result<Option<Answer>, Close> {
    let id = command.id;
    let open = connection.outbox.closed().is_none();
    if let Some(request) = command.connect {
        return connect::connect(app, connection, id, request).await;
    }
    let Some(session) = connection.session() else {
        return Err(Close::BadRequest);
    };
    if let Some(request) = command.rpc {
        return Ok(Some(rpc(app, connection, &session.caller, &request).await));
    }
    if let Some(request) = command.publish {
        return Ok(Some(publish(app, connection, &session, request).await));
    }
    if !open || command.send.is_some() {
        return Ok(None);
    }
    if let Some(request) = command.subscribe {
        return Ok(subscribe::subscribe(app, connection, id, &session, &request).await);
    }
    if let Some(request) = command.unsubscribe {
        connection.forget(&request.channel);
        return Ok(Some(Answer::Unsubscribe(Empty {})));
    }
    if let Some(request) = command.refresh {
        return connect::refresh(app, connection, &session, &request).await.map(Some);
    }
    if let Some(request) = command.sub_refresh {
        return Ok(Some(subscribe::refresh(app, connection, &session, &request)));
    }
    if let Some(request) = command.presence {
        return Ok(Some(
            queries::presence(app, connection, &session, &request.channel).await,
        ));
    }
    if let Some(request) = command.presence_stats {
        return Ok(Some(
            queries::presence_stats(app, connection, &session, &request.channel).await,
        ));
    }
    if let Some(request) = command.history {
        return Ok(Some(queries::history(app, connection, &session, &request).await));
    }
    Err(Close::BadRequest)
}

async fn rpc(app: &App, connection: &Connection, caller: &Caller, request: &RpcRequest) -> Answer {
    let Some(call) = connection.hub().table().call else {
        return Answer::Error(ProtocolError::NotAvailable.into());
    };
    let data = if request.data.is_empty() {
        Value::Null
    } else {
        match serde_json::from_slice(&request.data) {
            Ok(data) => data,
            Err(_) => return Answer::Error(ProtocolError::BadRequest.into()),
        }
    };
    match call(app, caller, &request.method, data).await {
        Ok(json) => Answer::Rpc(RpcResult { data: json.into() }),
        Err(error) => failed(connection, &error),
    }
}

async fn publish(app: &App, connection: &Connection, session: &Session, request: PublishRequest) -> Answer {
    let table = connection.hub().table();
    let Some(publish) = table.publish else {
        return Answer::Error(ErrorReply::denied(connection.lang));
    };
    let Some(data): Option<Bytes> = payload::checked(request.data) else {
        return Answer::Error(ProtocolError::BadRequest.into());
    };
    let gym = match (table.place)(app, &session.caller, &request.channel).await {
        Ok(Some(gym)) => gym,
        Ok(None) => return Answer::Error(ProtocolError::UnknownChannel.into()),
        Err(error) => return failed(connection, &error),
    };
    match publish(app, gym, &request.channel, data).await {
        Ok(()) => Answer::Publish(Empty {}),
        Err(error) => failed(connection, &error),
    }
}

fn failed(connection: &Connection, error: &Error) -> Answer {
    error.log();
    Answer::Error(ErrorReply::of(error, connection.lang))
}
