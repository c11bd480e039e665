//! Connections that come through a front door: it tells in front of the TLS bytes who is behind it (PROXY protocol, version 2,
//! <https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt>). Limits and the trail are about that caller, not about the door.
//!
//! Only from addresses that are named as front doors are such words taken. From elsewhere they are no TLS, and the connection ends.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum_server::accept::Accept;
use http::Request;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tower_service::Service;

use super::Counted;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2 with the command that tells an address.
const PROXY: u8 = 0x21;
/// Version 2 with the command of a door that speaks for itself.
const LOCAL: u8 = 0x20;
const TCP_IPV4: u8 = 0x11;
const TCP_IPV6: u8 = 0x21;
/// Longest announcement behind its head: both addresses and what a door may add. Bytes.
const ANNOUNCEMENT_BYTES_MAX: usize = 512;

/// Who is behind a front door; an extension of each of its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerAddress(pub SocketAddr);

/// Takes announcements from front doors.
#[derive(Debug, Clone)]
pub struct Announced<Inner> {
    inner: Inner,
    front_doors: Arc<[IpAddr]>,
    patience: Duration,
}

impl<Inner> Announced<Inner> {
    /// Believes these addresses, which have so long to announce.
    pub fn new(inner: Inner, front_doors: &[IpAddr], patience: Duration) -> Self {
        Announced { inner, front_doors: front_doors.into(), patience }
    }
}

type Accepting<S> = Pin<Box<dyn Future<Output = io::Result<(Counted<TcpStream>, Behind<S>)>> + Send>>;

impl<Inner, S> Accept<TcpStream, S> for Announced<Inner>
where
    Inner: Accept<TcpStream, S, Stream = Counted<TcpStream>, Service = S>,
    Inner::Future: Send + 'static,
    S: Send + 'static,
{
    type Stream = Counted<TcpStream>;
    type Service = Behind<S>;
    type Future = Accepting<S>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let door = stream.peer_addr().map(|address| address.ip().to_canonical());
        let believed = door.is_ok_and(|door| self.front_doors.contains(&door));
        let (accepting, patience) = (self.inner.accept(stream, service), self.patience);
        Box::pin(async move {
            let (mut stream, service) = accepting.await?;
            let caller = match believed {
                true => tokio::time::timeout(patience, announced(&mut stream.stream)).await??,
                false => None,
            };
            Ok((stream, Behind { service, caller: caller.map(CallerAddress) }))
        })
    }
}

/// Reads an announcement where there is one; TLS never begins like it.
async fn announced(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 || first[0] != SIGNATURE[0] {
        return Ok(None);
    }
    let mut head = [0; 16];
    stream.read_exact(&mut head).await?;
    let [.., command, family, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if head[..12] != SIGNATURE || length > ANNOUNCEMENT_BYTES_MAX {
        return Err(malformed());
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    match (command, family) {
        (LOCAL, _) => Ok(None),
        (PROXY, TCP_IPV4) => source::<4>(&body, |ip| Ipv4Addr::from(ip).into()).map(Some),
        (PROXY, TCP_IPV6) => source::<16>(&body, |ip| Ipv6Addr::from(ip).into()).map(Some),
        _ => Err(malformed()),
    }
}

/// The source of source address, destination address, source port, destination port.
fn source<const N: usize>(body: &[u8], ip: impl Fn([u8; N]) -> IpAddr) -> io::Result<SocketAddr> {
    let address = body.first_chunk::<N>().ok_or_else(malformed)?;
    let port = body.get(2 * N..2 * N + 2).ok_or_else(malformed)?;
    let port = u16::from_be_bytes([port[0], port[1]]);
    Ok(SocketAddr::new(ip(*address).to_canonical(), port))
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a front door announced what cannot be read")
}

/// A service that knows who is behind the front door.
#[derive(Debug, Clone)]
pub struct Behind<S> {
    service: S,
    caller: Option<CallerAddress>,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Behind<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        if let Some(caller) = self.caller {
            request.extensions_mut().insert(caller);
        }
        self.service.call(request)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn read(bytes: &[u8]) -> (io::Result<Option<SocketAddr>>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut door = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        door.write_all(bytes).await.unwrap();
        drop(door);
        let announced = announced(&mut stream).await;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        (announced, rest)
    }

    fn announcement(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE.as_slice(), &[command, family], &length, body].concat()
    }

    #[tokio::test]
    async fn the_caller_behind_a_door_is_known_and_the_rest_is_left_for_tls() {
        let body = [[10, 0, 0, 7].as_slice(), &[10, 0, 0, 1], &[0x9c, 0x40], &[1, 0xbb]].concat();
        let (announced, rest) = read(&[announcement(PROXY, TCP_IPV4, &body).as_slice(), b"\x16\x03"].concat()).await;
        assert_eq!(announced.unwrap(), Some("10.0.0.7:40000".parse().unwrap()));
        assert_eq!(rest, b"\x16\x03");
        let mut body = vec![0; 36];
        body[..16].copy_from_slice(&"fd00::7".parse::<Ipv6Addr>().unwrap().octets());
        let (announced, _) = read(&announcement(PROXY, TCP_IPV6, &body)).await;
        assert_eq!(announced.unwrap(), Some("[fd00::7]:0".parse().unwrap()));
    }

    #[tokio::test]
    async fn a_door_that_speaks_for_itself_or_says_nothing_announces_nobody() {
        assert_eq!(read(&announcement(LOCAL, 0, &[])).await.0.unwrap(), None);
        let (announced, rest) = read(b"\x16\x03\x01").await;
        assert_eq!((announced.unwrap(), rest.as_slice()), (None, b"\x16\x03\x01".as_slice()));
    }

    #[tokio::test]
    async fn what_is_no_announcement_or_too_long_is_refused() {
        assert!(read(b"\r\n\r\nGET / HTTP/1.1\r\n").await.0.is_err());
        assert!(read(&announcement(PROXY, TCP_IPV4, &[1, 2, 3])).await.0.is_err());
        assert!(read(&announcement(PROXY, 0x12, &[0; 12])).await.0.is_err(), "UDP");
        assert!(read(&announcement(PROXY, TCP_IPV4, &vec![0; ANNOUNCEMENT_BYTES_MAX + 1])).await.0.is_err());
        assert!(read(b"\r\n\r").await.0.is_err(), "cut off");
    }
}
