//! The one client of Redis or Valkey, the broker's and every other's: what `REDIS_URL` names, and connections to a server.
//! Nobody waits for it long. This build speaks without TLS; with it, [`Servers::parse`] and the client library's feature change.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo as _, Pipeline,
    ProtocolVersion, RedisResult,
};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

/// How long a server may take to be connected to.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// What `REDIS_URL` names.
#[derive(Clone)]
pub enum Servers {
    /// One server.
    One(ConnectionInfo),
    /// A cluster, and those of its servers that are asked first.
    Cluster(Vec<ConnectionInfo>),
}

impl Servers {
    /// Reads `redis://…` or `redis+cluster://user:password@host:port,host:port`; `valkey` for `redis` means the same.
    ///
    /// # Errors
    /// A URL that is neither. It does not show the URL's password.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let cluster = ["redis+cluster://", "valkey+cluster://"];
        let Some(rest) = cluster.iter().find_map(|scheme| url.strip_prefix(scheme)) else {
            return Ok(Self::One(resp3(url)?));
        };
        let (credentials, hosts) = match rest.rsplit_once('@') {
            Some((credentials, hosts)) => (format!("{credentials}@"), hosts),
            None => (String::new(), rest),
        };
        anyhow::ensure!(
            !hosts.contains('/'),
            "a cluster has no numbered databases: REDIS_URL ends with a port"
        );
        let seeds = hosts.split(',').map(|host| resp3(&format!("redis://{credentials}{host}")));
        Ok(Self::Cluster(seeds.collect::<anyhow::Result<_>>()?))
    }
}

/// RESP3 is what carries messages on a connection that also takes commands.
fn resp3(url: &str) -> anyhow::Result<ConnectionInfo> {
    // The error would show the URL's password.
    let info = url
        .into_connection_info()
        .ok()
        .context("REDIS_URL is not redis://host:port or redis+cluster://host:port,host:port")?;
    anyhow::ensure!(
        info.addr().is_supported(),
        "REDIS_URL: this build speaks to Redis without TLS only"
    );
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(info.set_redis_settings(settings))
}

/// The times of a connection whose server answers within this.
pub(crate) fn times(answer_within: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_WITHIN))
        .set_response_timeout(Some(answer_within))
}

/// A connection for commands, made when it is first needed and made anew after an error. Clones share it, and so do commands
/// that are sent at the same time: they are told apart by their order, so a pool would add nothing but connections.
#[derive(Clone)]
pub struct Link {
    info: ConnectionInfo,
    answer_within: Duration,
    current: Arc<Mutex<Option<MultiplexedConnection>>>,
    /// Where its connections are read: a worker that is busy would hold up the others' answers.
    runtime: Handle,
}

impl Link {
    /// One to a server that answers within this, not connected yet, on the runtime that calls this.
    #[must_use]
    pub fn new(info: ConnectionInfo, answer_within: Duration) -> Self {
        Self {
            info,
            answer_within,
            current: Arc::default(),
            runtime: Handle::current(),
        }
    }

    /// Sends commands together and reads their answers.
    ///
    /// # Errors
    /// A server that is away, is late or refuses.
    pub async fn query<T: FromRedisValue>(&self, commands: &Pipeline) -> RedisResult<T> {
        let mut connection = self.connection().await?;
        let result = commands.query_async(&mut connection).await;
        if result.is_err() {
            *self.current.lock().await = None;
        }
        result
    }

    async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        let mut current = self.current.clone().lock_owned().await;
        if let Some(connection) = &*current {
            return Ok(connection.clone());
        }
        let (info, times) = (self.info.clone(), times(self.answer_within));
        // A task of its own: whoever has less time than it takes leaves the connection to those who come next.
        let made = self.runtime.spawn(async move {
            let client = Client::open(info)?;
            let made = client.get_multiplexed_async_connection_with_config(&times).await?;
            Ok(current.insert(made).clone())
        });
        made.await
            .unwrap_or_else(|_| Err((ErrorKind::Client, "connecting was given up").into()))
    }
}

#[cfg(test)]
mod tests {
    use redis::ConnectionAddr;

    use super::*;

    #[test]
    fn one_server_and_a_cluster_are_told_apart() {
        for url in ["redis://localhost", "valkey://u:p@localhost:7000/3"] {
            assert!(matches!(Servers::parse(url), Ok(Servers::One(_))), "{url}");
        }
        let Ok(Servers::Cluster(seeds)) = Servers::parse("valkey+cluster://u:p@a:7000,b:7001") else {
            panic!("a cluster");
        };
        let addresses: Vec<_> = seeds.iter().map(|s| s.addr().clone()).collect();
        let address = |host: &str, port| ConnectionAddr::Tcp(host.into(), port);
        assert_eq!(addresses, [address("a", 7000), address("b", 7001)]);
        assert!(seeds.iter().all(|s| s.redis_settings().username() == Some("u")));
        assert!(seeds.iter().all(|s| s.redis_settings().password() == Some("p")));
    }

    #[test]
    fn what_cannot_work_is_refused_and_shows_no_password() {
        for url in [
            "postgres://u:secret@x",
            "redis+cluster://u:secret@a:7000,b:x",
            "redis+cluster://u:secret@a:7000/1",
            "rediss://u:secret@a",
        ] {
            let error = Servers::parse(url).err().map(|e| format!("{e:#}"));
            assert!(
                error.as_ref().is_some_and(|e| !e.contains("secret")),
                "{url}: {error:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_not_waited_for_and_asked_on_another_connection_next() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("redis://{}", listener.local_addr().expect("an address"));
        let Ok(Servers::One(info)) = Servers::parse(&url) else {
            panic!("a server")
        };
        let link = Link::new(info, Duration::from_millis(50));
        let began = std::time::Instant::now();
        for _ in 0..2 {
            let mut ping = redis::pipe();
            ping.cmd("PING");
            let (answer, connection) = tokio::join!(link.query::<()>(&ping), listener.accept());
            assert!(answer.is_err() && connection.is_ok());
        }
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    }
}
