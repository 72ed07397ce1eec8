//! Connections to one server. Every wait has a short deadline: a Redis that does not answer costs only the fast path.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, ConnectionAddr, ConnectionInfo, FromRedisValue, Pipeline, PushInfo};
use tokio::sync::mpsc;

use super::BrokerCounters;
use crate::cluster::client::{self, times};

/// Deadline of a server's answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Capacity of the inbox in pushes. Further ones are dropped, and this node's sweep finds their changes.
const INBOX: usize = 4096;

/// A connection for commands that counts its round trips.
#[derive(Clone)]
pub(crate) struct Link {
    link: client::Link,
    counters: Arc<BrokerCounters>,
}

impl Link {
    /// Creates a link that is not connected yet.
    pub fn new(info: ConnectionInfo, counters: &Arc<BrokerCounters>) -> Self {
        Self {
            link: client::Link::new(info, ANSWER_WITHIN),
            counters: counters.clone(),
        }
    }

    /// Sends commands as one pipeline and returns their answers.
    pub async fn query<T: FromRedisValue>(&self, commands: &Pipeline) -> redis::RedisResult<T> {
        let answer = self.link.query(commands).await;
        if answer.is_ok() {
            self.counters.trips.inc();
        }
        answer
    }
}

/// Opens a connection that receives pushes.
pub(crate) async fn listen(
    info: &ConnectionInfo,
    counters: &Arc<BrokerCounters>,
) -> redis::RedisResult<(MultiplexedConnection, mpsc::Receiver<PushInfo>)> {
    let (sender, pushes) = mpsc::channel(INBOX);
    // Must not wait, and an error would end the connection, so pushes that do not fit are dropped.
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
        .get_multiplexed_async_connection_with_config(&times(ANSWER_WITHIN).set_push_sender(offer))
        .await?;
    Ok((connection, pushes))
}

/// Returns a server's address, for logs and as the key of its line.
pub(crate) fn name(info: &ConnectionInfo) -> String {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => format!("{host}:{port}"),
        other => other.to_string(),
    }
}
