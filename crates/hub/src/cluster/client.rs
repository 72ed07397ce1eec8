//! The one client of Redis or Valkey, for the broker and for all other users: parses `REDIS_URL` and makes connections.
//! Every wait for a server has a short deadline. This build has no TLS; adding it takes a change to [`Servers::parse`]
//! and a feature of the client library.

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

/// How long a connection attempt may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// The servers in `REDIS_URL`.
#[derive(Clone)]
pub enum Servers {
    /// One server.
    One(ConnectionInfo),
    /// A cluster; these seeds are asked for its other servers.
    Cluster(Vec<ConnectionInfo>),
}

impl Servers {
    /// Parses `redis://…` or `redis+cluster://user:password@host:port,host:port`. The schemes `valkey` and
    /// `valkey+cluster` mean the same.
    ///
    /// # Errors
    /// If the URL has neither form. The error does not contain the URL's password.
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
        let seeds = hosts
            .split(',')
            .map(|host| resp3(&format!("redis://{credentials}{host}")));
        Ok(Self::Cluster(seeds.collect::<anyhow::Result<_>>()?))
    }
}

/// Parses a server's URL and selects RESP3, which carries pushed messages and commands on one connection.
fn resp3(url: &str) -> anyhow::Result<ConnectionInfo> {
    // The library's error is dropped, because it would contain the password.
    let info = url
        .into_connection_info()
        .ok()
        .context("REDIS_URL is not redis://host:port or redis+cluster://host:port,host:port")?;
    anyhow::ensure!(
        info.addr().is_supported(),
        "REDIS_URL: this build connects to Redis without TLS only"
    );
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(info.set_redis_settings(settings))
}

/// Returns the deadlines of a connection to a server that must answer within `answer_within`.
pub(crate) fn times(answer_within: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_WITHIN))
        .set_response_timeout(Some(answer_within))
}

/// A connection for commands, made on first use and again after an error. Clones share it. Concurrent commands are
/// pipelined on it and matched to their answers by order, so a pool would only add connections.
#[derive(Clone)]
pub struct Link {
    info: ConnectionInfo,
    answer_within: Duration,
    current: Arc<Mutex<Option<MultiplexedConnection>>>,
    /// Runs the connection's I/O: on a busy worker thread, it would delay the answers to all others.
    runtime: Handle,
}

impl Link {
    /// Creates a link that is not connected yet, on the current tokio runtime.
    #[must_use]
    pub fn new(info: ConnectionInfo, answer_within: Duration) -> Self {
        Self {
            info,
            answer_within,
            current: Arc::default(),
            runtime: Handle::current(),
        }
    }

    /// Sends commands as one pipeline and returns their answers.
    ///
    /// # Errors
    /// If the server is unreachable, too slow, or refuses a command.
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
        // A task of its own, so that a caller that gives up early leaves the connection attempt to later callers.
        let made = self.runtime.spawn(async move {
            let client = Client::open(info)?;
            let made = client.get_multiplexed_async_connection_with_config(&times).await?;
            Ok(current.insert(made).clone())
        });
        made.await
            .unwrap_or_else(|_| Err((ErrorKind::Client, "the connection attempt was cancelled").into()))
    }
}

#[cfg(test)]
mod tests {
    use redis::ConnectionAddr;

    use super::*;

    #[test]
    fn urls_of_one_server_and_of_a_cluster_are_parsed() {
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
    fn an_unusable_url_is_refused_without_showing_its_password() {
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
    async fn a_silent_server_hits_the_deadline_and_is_asked_on_a_new_connection_next() {
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
