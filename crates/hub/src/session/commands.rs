//! Executes a connection's commands in order, in a task of their own, so that reads, pongs and closes never wait for a
//! command. An accepted command is finished even if its socket has gone.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::{connect, queries, subscribe};
use crate::backend::{Backend, Failure, Kind, Session};
use crate::protocol::close::Close;
use crate::protocol::{Answer, Command, Empty, ProtocolError, PublishRequest, RpcRequest, RpcResult, payload};
use crate::session::connection::Connection;

/// Executes a connection's commands until none waits. A command starts only once the client has read enough of the
/// earlier answers.
pub(crate) async fn work(backend: Arc<dyn Backend>, connection: Arc<Connection>) {
    loop {
        connection.outbox.room().await;
        let Some(command) = connection.next_command() else {
            return;
        };
        let id = command.id;
        match answer(&backend, &connection, command).await {
            Ok(Some(answer)) => connection.reply(id, answer),
            Ok(None) => {}
            Err(close) => connection.close(close),
        }
    }
}

/// Executes a command and returns its answer; `None` if the answer was sent already, or if none is due.
async fn answer(
    backend: &Arc<dyn Backend>,
    connection: &Arc<Connection>,
    command: Command,
) -> Result<Option<Answer>, Close> {
    let id = command.id;
    let open = connection.outbox.closed().is_none();
    if let Some(request) = command.connect {
        return connect::connect(backend, connection, id, request).await;
    }
    let Some(session) = connection.session() else {
        return Err(Close::BadRequest);
    };
    // An SDK whose `unsubscribe` fails would reconnect, which costs more.
    if command.unsubscribe.is_none()
        && let Err(failure) = admit(&**backend, &session).await
    {
        return Ok(command.send.is_none().then(|| failed(connection, &failure)));
    }
    if let Some(request) = command.rpc {
        return Ok(Some(rpc(&**backend, connection, &session, &request).await));
    }
    if let Some(request) = command.publish {
        return Ok(Some(publish(&**backend, connection, &session, request).await));
    }
    if !open || command.send.is_some() {
        return Ok(None);
    }
    if let Some(request) = command.subscribe {
        return Ok(subscribe::subscribe(backend, connection, id, &session, &request).await);
    }
    if let Some(request) = command.unsubscribe {
        connection.forget(&request.channel);
        return Ok(Some(Answer::Unsubscribe(Empty {})));
    }
    if let Some(request) = command.refresh {
        return connect::refresh(&**backend, connection, &session, &request)
            .await
            .map(Some);
    }
    if let Some(request) = command.sub_refresh {
        return Ok(Some(subscribe::refresh(&**backend, connection, &session, &request)));
    }
    if let Some(request) = command.presence {
        return Ok(Some(
            queries::presence(&**backend, connection, &session, &request.channel).await,
        ));
    }
    if let Some(request) = command.presence_stats {
        return Ok(Some(
            queries::presence_stats(&**backend, connection, &session, &request.channel).await,
        ));
    }
    if let Some(request) = command.history {
        return Ok(Some(queries::history(&**backend, connection, &session, &request).await));
    }
    Err(Close::BadRequest)
}

/// Asks the backend whether it admits a command of a session.
pub(crate) async fn admit(backend: &dyn Backend, session: &Session) -> Result<(), Failure> {
    match backend.admit(session) {
        Some(decision) => decision.await,
        None => Ok(()),
    }
}

async fn rpc(backend: &dyn Backend, connection: &Connection, session: &Session, request: &RpcRequest) -> Answer {
    let data = if request.data.is_empty() {
        Ok(Value::Null)
    } else {
        serde_json::from_slice(&request.data)
    };
    let Ok(data) = data else {
        return Answer::Error(ProtocolError::BadRequest.into());
    };
    let Some(call) = backend.call(session, &request.method, data) else {
        return Answer::Error(ProtocolError::NotAvailable.into());
    };
    match call.await {
        Ok(json) => Answer::Rpc(RpcResult { data: json.into() }),
        Err(failure) => failed(connection, &failure),
    }
}

async fn publish(backend: &dyn Backend, connection: &Connection, session: &Session, request: PublishRequest) -> Answer {
    if !backend.takes_publications() {
        return failed(connection, &backend.failure(Kind::Denied));
    }
    let Some(data): Option<Bytes> = payload::checked(request.data) else {
        return Answer::Error(ProtocolError::BadRequest.into());
    };
    let Some(location) = backend.locate(session, &request.channel) else {
        return Answer::Error(ProtocolError::UnknownChannel.into());
    };
    match backend.publish(location.log, &request.channel, data).await {
        Ok(()) => Answer::Publish(Empty {}),
        Err(failure) => failed(connection, &failure),
    }
}

fn failed(connection: &Connection, failure: &Failure) -> Answer {
    Answer::Error(failure.logged(connection.lang))
}
