//! Where Redis is: one server, the master that sentinels know, or a cluster.

use std::{fmt, slice};

use rand::seq::SliceRandom as _;
use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion,
    io::tcp::TcpSettings,
};

/// The port of a sentinel whose address names none.
const SENTINEL_PORT: u16 = 26_379;

/// An address of Redis that can be tried.
#[derive(Clone)]
pub struct RedisAddress(pub(super) Place);

/// What an address names.
#[derive(Clone)]
pub(super) enum Place {
    /// One server that takes writes.
    Server(Server),
    /// Some servers of a cluster; they know the others.
    Cluster(Seeds),
}

/// One server that takes writes.
#[derive(Clone)]
pub(super) enum Server {
    /// Always the same.
    Fixed(Client),
    /// The one that sentinels call the master.
    Master(Service),
}

/// A service that sentinels watch over.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) name: String,
    sentinels: Vec<Client>,
    /// How the master is spoken to.
    master: ConnectionInfo,
}

impl Service {
    /// The sentinels in an order of chance, so that one that is silent does not
    /// come first each time.
    pub(super) fn sentinels(&self) -> Vec<Client> {
        let mut sentinels = self.sentinels.clone();
        sentinels.shuffle(&mut rand::rng());
        sentinels
    }

    /// The master, if it is at this host and port.
    pub(super) fn master(&self, host: String, port: u16) -> Option<Client> {
        Client::open(at(&self.master, host, port)).ok()
    }
}

/// Some servers of a cluster.
#[derive(Clone)]
pub(super) struct Seeds {
    first: ConnectionInfo,
    others: Vec<ConnectionInfo>,
}

impl Seeds {
    /// The host and port of each seed.
    pub(super) fn addresses(&self) -> impl Iterator<Item = String> {
        slice::from_ref(&self.first)
            .iter()
            .chain(&self.others)
            .map(|seed| seed.addr().to_string())
    }

    /// The server at this `host:port`, spoken to like the seeds.
    pub(super) fn server(&self, address: &str) -> Option<Client> {
        let (host, port) = address.rsplit_once(':')?;
        let info = at(&self.first, host.to_owned(), port.parse().ok()?);
        Client::open(info).ok()
    }
}

/// Another server, spoken to in the same way.
fn at(like: &ConnectionInfo, host: String, port: u16) -> ConnectionInfo {
    let mut address = like.addr().clone();
    if let ConnectionAddr::TcpTls {
        host: like_host,
        port: like_port,
        ..
    } = &mut address
    {
        *like_host = host;
        *like_port = port;
    } else {
        address = ConnectionAddr::Tcp(host, port);
    }
    like.clone().set_addr(address)
}

/// How to speak to a server: in RESP3, without Nagle's delay.
fn server(url: &str) -> Option<ConnectionInfo> {
    let info = url.into_connection_info().ok()?;
    let settings = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3);
    let tcp = TcpSettings::default().set_nodelay(true);
    Some(info.set_redis_settings(settings).set_tcp_settings(tcp))
}

impl RedisAddress {
    /// Takes `redis://`, `rediss://` or `redis+unix://`; several of the first
    /// two, separated by commas, as seeds of a cluster; and
    /// `redis+sentinel://host,host/service`. The error is a sentence that does
    /// not repeat the address, which may hold a password.
    pub fn parse(url: &str) -> Result<Self, String> {
        let place = if let Some(rest) = url.strip_prefix("redis+sentinel://") {
            master(rest).ok_or("must be redis+sentinel://host,host/service")?
        } else if url.contains(',') {
            cluster(url).ok_or(
                "must be servers of one cluster, each redis:// or rediss://, \
                 with the same user and password",
            )?
        } else {
            let server = server(url).and_then(|info| Client::open(info).ok());
            Place::Server(Server::Fixed(server.ok_or(
                "must be redis://, rediss://, redis+unix:// or redis+sentinel://",
            )?))
        };
        Ok(Self(place))
    }
}

/// `user:password@host:port,host:port/service`.
fn master(rest: &str) -> Option<Place> {
    let (authority, name) = rest.rsplit_once('/')?;
    if name.is_empty() || name.contains(['?', '#']) {
        return None;
    }
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), authority),
    };
    let mut sentinels = Vec::new();
    for host in hosts.split(',') {
        let info = server(&format!("redis://{host}"))?;
        let named_port = host
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.ends_with(']'));
        let ConnectionAddr::Tcp(host, port) = info.addr().clone() else {
            return None;
        };
        let port = if named_port { port } else { SENTINEL_PORT };
        sentinels.push(Client::open(at(&info, host, port)).ok()?);
    }
    Some(Place::Server(Server::Master(Service {
        name: name.to_owned(),
        sentinels,
        // Only its host is another one.
        master: server(&format!("redis://{user}127.0.0.1"))?,
    })))
}

/// Servers of one cluster. Those without a scheme are like the first.
fn cluster(url: &str) -> Option<Place> {
    let mut seeds = Vec::new();
    let first = url.split(',').next()?;
    let like_first = first.rfind('@').or_else(|| first.rfind('/'))? + 1;
    for part in url.split(',') {
        let info = if part.contains("://") {
            server(part)?
        } else {
            server(&format!("{}{part}", first.get(..like_first)?))?
        };
        seeds.push(info);
    }
    let mut seeds = seeds.into_iter();
    let first = seeds.next()?;
    let others: Vec<_> = seeds.collect();
    let user = |info: &ConnectionInfo| {
        let settings = info.redis_settings();
        let user = settings.username().map(ToOwned::to_owned);
        (user, settings.password().map(ToOwned::to_owned))
    };
    let one_cluster = !matches!(first.addr(), ConnectionAddr::Unix(_))
        && first.redis_settings().db() == 0
        && others.iter().all(|other| {
            user(other) == user(&first)
                && other.redis_settings().db() == 0
                && std::mem::discriminant(other.addr()) == std::mem::discriminant(first.addr())
        });
    one_cluster.then_some(Place::Cluster(Seeds { first, others }))
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisAddress")
            .field(&self.to_string())
            .finish()
    }
}

impl fmt::Display for RedisAddress {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = |info: &ConnectionInfo| match info.addr() {
            ConnectionAddr::TcpTls { .. } => format!("rediss://{}", info.addr()),
            ConnectionAddr::Unix(path) => format!("redis+unix://{}", path.display()),
            ConnectionAddr::Tcp(..) | _ => format!("redis://{}", info.addr()),
        };
        match &self.0 {
            Place::Server(Server::Fixed(client)) => f.write_str(&url(client.get_connection_info())),
            Place::Server(Server::Master(service)) => {
                let sentinels: Vec<String> = service
                    .sentinels
                    .iter()
                    .map(|sentinel| sentinel.get_connection_info().addr().to_string())
                    .collect();
                write!(
                    f,
                    "redis+sentinel://{}/{}",
                    sentinels.join(","),
                    service.name
                )
            }
            Place::Cluster(seeds) => {
                f.write_str(&url(&seeds.first))?;
                for seed in &seeds.others {
                    write!(f, ",{}", seed.addr())?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_address_is_shown_without_its_password() {
        for (url, shown) in [
            ("redis://:pw@a", "redis://a:6379"),
            ("rediss://me:pw@a:1/2", "rediss://a:1"),
            (
                "redis+unix:///run/redis.sock?pass=pw",
                "redis+unix:///run/redis.sock",
            ),
            ("redis://:pw@a:1,b,c:3", "redis://a:1,b:6379,c:3"),
            ("redis://a:1,redis://b:2", "redis://a:1,b:2"),
            ("rediss://me:pw@a:1,rediss://me:pw@b:2", "rediss://a:1,b:2"),
            (
                "redis+sentinel://me:p%40w@a:1,b,[::1]/rooms",
                "redis+sentinel://a:1,b:26379,::1:26379/rooms",
            ),
        ] {
            let address = RedisAddress::parse(url).unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(format!("{address:?}"), format!("RedisAddress({shown:?})"));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_not_repeated() {
        for url in [
            "hunter2",
            "http://hunter2",
            "redis://:hunter2@",
            "redis://a,",
            "redis://a,http://hunter2",
            "redis://a,redis://:hunter2@b",
            "redis://a,rediss://hunter2",
            "redis://a/1,hunter2/1",
            "redis+unix:///a,redis+unix:///hunter2",
            "redis+sentinel://hunter2",
            "redis+sentinel://hunter2/",
            "redis+sentinel:///hunter2",
            "redis+sentinel://:hunter2@/rooms",
            "redis+sentinel://a:hunter2/rooms",
            "redis+sentinel://a/rooms?hunter2",
        ] {
            let problem = RedisAddress::parse(url).unwrap_err();
            assert!(problem.starts_with("must be "), "{problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }

    #[test]
    fn other_servers_are_spoken_to_like_the_one_that_is_named() {
        let RedisAddress(place) = RedisAddress::parse("rediss://me:pw@a:1,b:2").unwrap();
        let Place::Cluster(seeds) = place else {
            panic!("no cluster");
        };
        assert_eq!(seeds.addresses().collect::<Vec<_>>(), ["a:1", "b:2"]);
        let node = seeds.server("c:3").unwrap();
        let info = node.get_connection_info();
        assert_eq!(info.redis_settings().password(), Some("pw"));
        assert!(matches!(info.addr(), ConnectionAddr::TcpTls { host, .. } if host == "c"));
        assert!(seeds.server("c").is_none() && seeds.server("c:x").is_none());
    }
}
