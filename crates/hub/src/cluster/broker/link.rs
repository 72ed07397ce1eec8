//! Connections to one server. None of them waits for long: a Redis that does not answer costs the fast path, nothing else.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, FromRedisValue, Pipeline, PushInfo};
use tokio::sync::{Mutex, mpsc};

use super::BrokerCounters;

/// How long a server may take to be connected to, and to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Pushes that may wait to be looked at; over it they are dropped, and this node's own sweep finds what they said.
const INBOX: usize = 4096;

/// A connection for commands, made when it is first needed and made anew after an error. Clones share it.
#[derive(Clone)]
pub(crate) struct Link {
    info: ConnectionInfo,
    current: Arc<Mutex<Option<MultiplexedConnection>>>,
    counters: Arc<BrokerCounters>,
}

impl Link {
    /// One that has not connected yet.
    pub fn new(info: ConnectionInfo, counters: &Arc<BrokerCounters>) -> Self {
        Self {
            info,
            counters: counters.clone(),
            current: Arc::default(),
        }
    }

    /// Sends commands together and reads their answers.
    pub async fn query<T: FromRedisValue>(&self, commands: &Pipeline) -> redis::RedisResult<T> {
        let mut connection = self.connection().await?;
        self.counters.trips.inc();
        let result = commands.query_async(&mut connection).await;
        if result.is_err() {
            *self.current.lock().await = None;
        }
        result
    }

    async fn connection(&self) -> redis::RedisResult<MultiplexedConnection> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &*current {
            return Ok(connection.clone());
        }
        let made = Client::open(self.info.clone())?
            .get_multiplexed_async_connection_with_config(&brisk())
            .await?;
        Ok(current.insert(made).clone())
    }
}

/// A connection that hears pushes.
pub(crate) async fn listen(
    info: &ConnectionInfo,
    counters: &Arc<BrokerCounters>,
) -> redis::RedisResult<(MultiplexedConnection, mpsc::Receiver<PushInfo>)> {
    let (sender, pushes) = mpsc::channel(INBOX);
    // Never waits, and an error would end the connection: what does not fit is dropped.
    let counters = counters.clone();
    let offer = move |push: PushInfo| match sender.try_send(push) {
        Ok(()) => Ok(()),
        Err(mpsc::error::TrySendError::Full(_)) => {
            counters.overflowed.inc();
            Ok(())
        }
        Err(closed @ mpsc::error::TrySendError::Closed(_)) => Err(closed),
    };
    let connection = Client::open(info.clone())?
        .get_multiplexed_async_connection_with_config(&brisk().set_push_sender(offer))
        .await?;
    Ok((connection, pushes))
}

/// A server's name, for logs and as the key of its line.
pub(crate) fn name(info: &ConnectionInfo) -> String {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => format!("{host}:{port}"),
        other => other.to_string(),
    }
}

fn brisk() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER_WITHIN))
        .set_response_timeout(Some(ANSWER_WITHIN))
}
