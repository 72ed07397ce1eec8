//! The one client of Redis or Valkey, for the broker and for all other users: parses `REDIS_URL` and makes connections.
//! Every wait for a server has a short deadline.
//!
//! TLS is by rustls, always with the server's name verified, against the system's certificates or a file of one's own.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo as _,
    Pipeline, ProtocolVersion, RedisResult, TlsCertificates,
};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

/// How long a connection attempt may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// The servers in `REDIS_URL`.
#[derive(Clone)]
pub enum Servers {
    /// One server.
    One(Box<ConnectionInfo>),
    /// A cluster; these seeds are asked for its other servers.
    Cluster(Vec<ConnectionInfo>),
}

/// The schemes of a cluster's URL, and the scheme of each of its servers.
const CLUSTER: [(&str, &str); 4] = [
    ("redis+cluster://", "redis://"),
    ("valkey+cluster://", "redis://"),
    ("rediss+cluster://", "rediss://"),
    ("valkeys+cluster://", "rediss://"),
];

impl Servers {
    /// Parses `redis://…` or `redis+cluster://user:password@host:port,host:port`. The schemes `valkey` and
    /// `valkey+cluster` mean the same; `rediss`, `valkeys`, `rediss+cluster` and `valkeys+cluster` mean TLS. With TLS, a
    /// server's certificate must come from an authority in `authorities` (PEM), or else in the system's store.
    ///
    /// # Errors
    /// If the URL has none of these forms, or `authorities` contains no certificate. The error does not contain the
    /// URL's password.
    pub fn parse(url: &str, authorities: Option<&[u8]>) -> anyhow::Result<Self> {
        let cluster = CLUSTER
            .iter()
            .find_map(|(of, each)| Some((url.strip_prefix(of)?, each)));
        let Some((rest, scheme)) = cluster else {
            return Ok(Self::One(Box::new(resp3(url, authorities)?)));
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
            .map(|host| resp3(&format!("{scheme}{credentials}{host}"), authorities));
        Ok(Self::Cluster(seeds.collect::<anyhow::Result<_>>()?))
    }

    /// What an operator should know about servers beyond this machine: sentences that start with the server's address.
    #[must_use]
    pub fn exposed(&self) -> Vec<String> {
        let servers = match self {
            Self::One(server) => std::slice::from_ref(server.as_ref()),
            Self::Cluster(seeds) => seeds,
        };
        let mut said = Vec::new();
        for server in servers {
            let (ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. }) = server.addr() else {
                continue;
            };
            if is_loopback(host) {
                continue;
            }
            if matches!(server.addr(), ConnectionAddr::Tcp(..)) {
                said.push(format!(
                    "{host}:{port} is reached without TLS: its network can read and delay all that it carries"
                ));
            }
            if server.redis_settings().password().is_none() {
                said.push(format!(
                    "{host}:{port} is used without a password: whoever reaches it can read and delete there"
                ));
            }
        }
        said
    }
}

/// Whether a host is this machine.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Parses a server's URL and selects RESP3, which carries pushed messages and commands on one connection.
fn resp3(url: &str, authorities: Option<&[u8]>) -> anyhow::Result<ConnectionInfo> {
    // The library's errors are dropped, because they would contain the password.
    let info = url.into_connection_info().ok().context(
        "REDIS_URL is not redis://host:port, rediss://host:port (with TLS), redis+cluster://host:port,host:port or \
         rediss+cluster://host:port,host:port",
    )?;
    let insecure = matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. });
    anyhow::ensure!(
        !insecure,
        "REDIS_URL: a server's certificate is always verified; leave out #insecure"
    );
    anyhow::ensure!(info.addr().is_supported(), "REDIS_URL: Redis is not reached that way");
    let info = match (info.addr(), authorities) {
        (ConnectionAddr::TcpTls { .. }, Some(pem)) => trusting(info, pem)?,
        _ => info,
    };
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(info.set_redis_settings(settings))
}

/// The same server, whose certificate must come from one of these authorities.
fn trusting(info: ConnectionInfo, pem: &[u8]) -> anyhow::Result<ConnectionInfo> {
    let begins = b"-----BEGIN CERTIFICATE-----";
    anyhow::ensure!(
        pem.windows(begins.len()).any(|w| w == begins),
        "REDIS_CA_FILE contains no certificate in PEM"
    );
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert: Some(pem.to_vec()),
    };
    let client = Client::build_with_tls(info, certificates).ok();
    let client = client.context("REDIS_CA_FILE contains a certificate that cannot be read")?;
    Ok(client.get_connection_info().clone())
}

/// The same credentials and TLS settings at another server of the cluster.
#[must_use]
pub fn at(seed: &ConnectionInfo, host: &str, port: u16) -> ConnectionInfo {
    let addr = match seed.addr().clone() {
        ConnectionAddr::TcpTls {
            insecure, tls_params, ..
        } => ConnectionAddr::TcpTls {
            host: host.to_owned(),
            port,
            insecure,
            tls_params,
        },
        _ => ConnectionAddr::Tcp(host.to_owned(), port),
    };
    seed.clone().set_addr(addr)
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
    use super::*;

    #[test]
    fn urls_of_one_server_and_of_a_cluster_are_parsed() {
        for url in [
            "redis://localhost",
            "valkey://u:p@localhost:7000/3",
            "rediss://u:p@a",
            "valkeys://a",
        ] {
            assert!(matches!(Servers::parse(url, None), Ok(Servers::One(_))), "{url}");
        }
        let Ok(Servers::Cluster(seeds)) = Servers::parse("valkey+cluster://u:p@a:7000,b:7001", None) else {
            panic!("a cluster");
        };
        let addresses: Vec<_> = seeds.iter().map(|s| s.addr().clone()).collect();
        let address = |host: &str, port| ConnectionAddr::Tcp(host.into(), port);
        assert_eq!(addresses, [address("a", 7000), address("b", 7001)]);
        assert!(seeds.iter().all(|s| s.redis_settings().username() == Some("u")));
        assert!(seeds.iter().all(|s| s.redis_settings().password() == Some("p")));
    }

    #[test]
    fn every_server_of_a_cluster_with_tls_is_reached_with_tls() {
        for scheme in ["rediss", "valkeys"] {
            let url = format!("{scheme}+cluster://u:p@a:7000,b:7001");
            let Ok(Servers::Cluster(seeds)) = Servers::parse(&url, None) else {
                panic!("a cluster");
            };
            for server in [seeds[0].clone(), seeds[1].clone(), at(&seeds[0], "c", 7002)] {
                let secure = matches!(server.addr(), ConnectionAddr::TcpTls { insecure: false, .. });
                assert!(secure, "{}", server.addr());
                assert_eq!(server.redis_settings().password(), Some("p"));
            }
            assert_eq!(*at(&seeds[0], "b", 7001).addr(), *seeds[1].addr());
        }
    }

    #[test]
    fn a_server_beyond_this_machine_without_tls_or_password_is_named() {
        for (url, lines) in [
            ("redis://localhost", 0),
            ("redis://127.0.0.1:7000", 0),
            ("redis://[::1]:7000", 0),
            ("rediss://u:p@cache.example", 0),
            ("redis://u:p@cache.example", 1),
            ("rediss://cache.example", 1),
            ("redis://10.0.0.1", 2),
            ("redis+cluster://:p@10.0.0.1:7000,10.0.0.2:7000", 2),
        ] {
            let said = Servers::parse(url, None).expect(url).exposed();
            assert_eq!(said.len(), lines, "{url}: {said:?}");
            assert!(said.iter().all(|line| !line.contains(":p@")), "{said:?}");
        }
    }

    #[test]
    fn an_unusable_url_is_refused_without_showing_its_password() {
        for url in [
            "postgres://u:secret@x",
            "redis+cluster://u:secret@a:7000,b:x",
            "redis+cluster://u:secret@a:7000/1",
            "rediss://u:secret@a/#insecure",
        ] {
            let error = Servers::parse(url, None).err().map(|e| format!("{e:#}"));
            assert!(
                error.as_ref().is_some_and(|e| !e.contains("secret")),
                "{url}: {error:?}"
            );
        }
    }

    #[test]
    fn a_file_of_authorities_without_a_usable_certificate_is_refused() {
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for pem in ["", "no certificate", broken] {
            assert!(Servers::parse("rediss://a", Some(pem.as_bytes())).is_err(), "{pem}");
        }
    }

    #[tokio::test]
    async fn a_silent_server_hits_the_deadline_and_is_asked_on_a_new_connection_next() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("redis://{}", listener.local_addr().expect("an address"));
        let Ok(Servers::One(info)) = Servers::parse(&url, None) else {
            panic!("a server")
        };
        let link = Link::new(*info, Duration::from_millis(50));
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
