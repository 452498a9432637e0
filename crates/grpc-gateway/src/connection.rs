//! Accepted connections: counted, bounded in all and per address, and closable from here.
//!
//! tonic owns a connection once it is accepted and waits for it without bound when it shuts down; so the socket is wrapped, and
//! reads as broken when the agent's patience ends, or when the HTTP/2 preface does not come.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use broker::{Broker, FrontEnd, limits as shared};
use futures::Stream;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Sleep, sleep},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::limits;

/// How long accepting rests after an error such as "too many open files", which would else come back at once.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// The connections of `listener`, those over a limit closed at once. Ends only with its owner. `cut` breaks them all.
pub(crate) fn accepted(
    listener: TcpListener,
    broker: Broker,
    cut: CancellationToken,
) -> impl Stream<Item = io::Result<Connection>> {
    let places = Places::default();
    futures::stream::unfold((listener, broker, cut, places), |(listener, broker, cut, places)| async {
        loop {
            match listener.accept().await {
                Ok((stream, remote)) => match places.take(remote.ip(), &broker) {
                    Some(place) => {
                        let connection = Connection::new(stream, place, cut.clone());
                        return Some((Ok(connection), (listener, broker, cut, places)));
                    }
                    None => {
                        broker.metrics().connection_refused(FrontEnd::Grpc);
                        tracing::debug!(%remote, "gRPC connection refused: too many connections");
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, "gRPC connections cannot be accepted");
                    sleep(ACCEPT_REST).await;
                }
            }
        }
    })
}

/// How many connections there are, in all and per address.
#[derive(Clone, Debug, Default)]
struct Places(Arc<Mutex<Occupied>>);

#[derive(Debug, Default)]
struct Occupied {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Places {
    fn take(&self, address: IpAddr, broker: &Broker) -> Option<Place> {
        let address = address.to_canonical();
        self.0.lock().add(address).then(|| {
            broker.metrics().connection_opened(FrontEnd::Grpc);
            Place { places: self.clone(), address, broker: broker.clone() }
        })
    }
}

impl Occupied {
    fn add(&mut self, address: IpAddr) -> bool {
        let here = self.by_address.get(&address).copied().unwrap_or(0);
        if self.total >= shared::CONNECTIONS_MAX || here >= shared::CONNECTIONS_PER_ADDRESS_MAX {
            return false;
        }
        self.total += 1;
        self.by_address.insert(address, here + 1);
        true
    }

    fn remove(&mut self, address: IpAddr) {
        assert!(self.total > 0, "a place is given back once");
        self.total -= 1;
        match self.by_address.get_mut(&address) {
            Some(here) if *here > 1 => *here -= 1,
            _ => drop(self.by_address.remove(&address)),
        }
    }
}

/// One connection's share of the limits; given back when dropped.
struct Place {
    places: Places,
    address: IpAddr,
    broker: Broker,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.0.lock().remove(self.address);
        self.broker.metrics().connection_closed(FrontEnd::Grpc);
    }
}

/// An accepted connection.
pub(crate) struct Connection {
    stream: TcpStream,
    remote: Option<SocketAddr>,
    /// `None` once the preface has come.
    preface: Option<Preface>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: Place,
}

struct Preface {
    bytes_left: usize,
    deadline: Pin<Box<Sleep>>,
}

impl Connection {
    fn new(stream: TcpStream, place: Place, cut: CancellationToken) -> Self {
        // Fails only for a socket that is closed already, which the first read will tell.
        let _ = stream.set_nodelay(true);
        let remote = stream.peer_addr().ok();
        let deadline = Box::pin(sleep(limits::PREFACE_TIMEOUT));
        let preface = Some(Preface { bytes_left: limits::PREFACE_BYTES, deadline });
        Self { stream, remote, preface, cut: Box::pin(cut.cancelled_owned()), _place: place }
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        TcpConnectInfo { local_addr: self.stream.local_addr().ok(), remote_addr: self.remote }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the agent shuts down")));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if let Some(preface) = &mut this.preface {
            preface.bytes_left = preface.bytes_left.saturating_sub(buffer.filled().len() - before);
            if preface.bytes_left == 0 {
                this.preface = None;
            } else if read.is_pending() && preface.deadline.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no HTTP/2 preface")));
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_places() {
        let mut occupied = Occupied::default();
        let [one, other] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
        for _ in 0..shared::CONNECTIONS_PER_ADDRESS_MAX {
            assert!(occupied.add(one));
        }
        assert!(!occupied.add(one));
        assert!(occupied.add(other));
        occupied.remove(one);
        assert!(occupied.add(one));
    }

    #[test]
    fn an_address_that_left_is_forgotten() {
        let mut occupied = Occupied::default();
        assert!(occupied.add(IpAddr::from([10, 0, 0, 1])));
        occupied.remove(IpAddr::from([10, 0, 0, 1]));
        assert_eq!((occupied.total, occupied.by_address.len()), (0, 0));
    }
}
