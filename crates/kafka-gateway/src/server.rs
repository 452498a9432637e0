//! The listener: accepts, bounds the number of connections, drains at shutdown.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, FrontEnd, limits};
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::{Addresses, serve_connection};
use crate::fetch_sessions::FetchSessions;
use crate::settings::KafkaSettings;

/// Pause after a failed accept (no file descriptors left, most likely).
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A bound Kafka listener.
pub struct KafkaServer {
    listener: TcpListener,
    broker: Broker,
    sessions: FetchSessions,
    settings: KafkaSettings,
}

impl KafkaServer {
    /// Binds, so that a taken port is known before anything else starts.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn bind(address: SocketAddr, broker: Broker, settings: KafkaSettings) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(settings.backlog).unwrap_or(i32::MAX))?;
        Ok(Self::with_listener(TcpListener::from_std(socket.into())?, broker, settings))
    }

    /// Takes a listener that is bound already, for a process that binds before its broker starts.
    #[must_use]
    pub fn with_listener(listener: TcpListener, broker: Broker, settings: KafkaSettings) -> Self {
        Self { listener, broker, sessions: FetchSessions::default(), settings }
    }

    /// The bound address, with the port the kernel chose if 0 was asked for.
    ///
    /// # Errors
    /// If the socket is gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown`; then accepts nothing more, answers what was read, and returns: at the latest after
    /// [`KafkaSettings::grace`].
    pub async fn serve(self, shutdown: CancellationToken) {
        let Self { listener, broker, sessions, settings } = self;
        let grace = settings.grace;
        let settings = Arc::new(settings);
        let places = Places::default();
        let connections = TaskTracker::new();
        let abort = CancellationToken::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            let Some(place) = places.take(peer.ip()) else {
                broker.metrics().connection_refused(FrontEnd::Kafka);
                tracing::warn!(%peer, "too many Kafka connections: refused");
                continue;
            };
            let (broker, sessions) = (broker.clone(), sessions.clone());
            let connection = serve_stream(stream, peer, broker, sessions, settings.clone(), shutdown.clone());
            let abort = abort.clone();
            connections.spawn(async move {
                tokio::select! {
                    () = connection => {}
                    () = abort.cancelled() => {}
                }
                drop(place);
            });
        }
        drop(listener);
        connections.close();
        if tokio::time::timeout(grace, connections.wait()).await.is_err() {
            tracing::warn!(left = connections.len(), "Kafka connections were cut at the end of the grace period");
            abort.cancel();
            connections.wait().await;
        }
    }
}

async fn serve_stream(
    stream: TcpStream,
    peer: SocketAddr,
    broker: Broker,
    sessions: FetchSessions,
    settings: Arc<KafkaSettings>,
    shutdown: CancellationToken,
) {
    let prepared = stream.set_nodelay(true).and_then(|()| stream.local_addr());
    match prepared {
        Ok(local) => {
            serve_connection(stream, Addresses { peer, local }, broker, sessions, &settings, shutdown).await;
        }
        Err(error) => tracing::debug!(%peer, %error, "connection failed before it began"),
    }
}

/// Who is connected, by address.
#[derive(Clone, Default)]
struct Places(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One connection's place; free again when dropped.
struct Place {
    places: Places,
    address: IpAddr,
}

impl Places {
    fn take(&self, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let mut taken = self.0.lock();
        if taken.all >= limits::CONNECTIONS_MAX {
            return None;
        }
        let here = taken.by_address.entry(address).or_default();
        if *here >= limits::CONNECTIONS_PER_ADDRESS_MAX {
            return None;
        }
        *here += 1;
        taken.all += 1;
        drop(taken);
        Some(Place { places: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock();
        taken.all -= 1;
        if let Some(here) = taken.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_every_place() {
        let places = Places::default();
        let greedy = IpAddr::from([10, 0, 0, 1]);
        let mut taken: Vec<Place> = std::iter::from_fn(|| places.take(greedy)).collect();
        assert_eq!(taken.len(), limits::CONNECTIONS_PER_ADDRESS_MAX);
        assert!(places.take(IpAddr::from([10, 0, 0, 2])).is_some());
        taken.pop();
        assert!(places.take(greedy).is_some());
    }
}
