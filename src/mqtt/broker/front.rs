//! The listener in front of the embedded broker: it reads and checks the first packet of each client before rumqttd sees the client.
//!
//! rumqttd 0.20 stops taking clients for good once it has refused one after its CONNECT packet was read: for a client id with
//! `+`, `#`, `$` or `/`, or because it has too many clients (`server/broker.rs` unwraps a `try_send` while it holds a mutex).
//! So it must never have to refuse one for these reasons. What is refused here costs the refused client alone.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Clients at once. rumqttd is given room for more, since it notices later than we do that one has gone.
pub(super) const CLIENTS: usize = 120;
/// A client that sends no CONNECT packet for this long is dropped.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);
/// The longest CONNECT packet: client id, user, password and the topic of a will have at most 65535 bytes each.
const LONGEST_CONNECT: usize = 320 << 10;
/// A pause after the system gave no connection, because it has no file handle left.
const NO_HANDLE: Duration = Duration::from_millis(200);

/// The packet that refuses a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Protocol = 1,
    ClientId = 2,
    Full = 3,
}

/// Hands the clients of `listener` on to the broker at `inner`, for ever.
pub(super) async fn serve(listener: StdListener, inner: SocketAddr) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let Ok((mut client, peer)) = listener.accept().await else {
            tokio::time::sleep(NO_HANDLE).await;
            continue;
        };
        let place = places.clone().try_acquire_owned();
        #[expect(clippy::disallowed_methods, reason = "it ends with the process, as the embedded broker does")]
        tokio::spawn(async move {
            let refused = match place {
                Ok(_place) => pass(&mut client, inner).await,
                Err(_) => refuse(&mut client, Refusal::Full).await,
            };
            if let Err(error) = refused {
                tracing::info!(%peer, %error, "the embedded broker's client went away");
            }
        });
    }
}

async fn pass(client: &mut TcpStream, inner: SocketAddr) -> io::Result<()> {
    client.set_nodelay(true)?;
    let Ok(connect) = timeout(HANDSHAKE, read_connect(client)).await else {
        return Err(io::Error::other("it sent no CONNECT packet in time"));
    };
    let connect = connect?;
    if let Err(refusal) = check(&connect) {
        return refuse(client, refusal).await;
    }
    let mut broker = TcpStream::connect(inner).await?;
    broker.set_nodelay(true)?;
    broker.write_all(&connect).await?;
    // rumqttd must be able to write its answer even where the client has gone: see above.
    let mut answer = [0; 4];
    let Ok(answered) = timeout(HANDSHAKE, broker.read_exact(&mut answer)).await else {
        return Err(io::Error::other("rumqttd did not answer it in time"));
    };
    answered?;
    client.write_all(&answer).await?;
    copy_bidirectional(client, &mut broker).await.map(drop)
}

async fn refuse(client: &mut TcpStream, refusal: Refusal) -> io::Result<()> {
    client.write_all(&[0x20, 2, 0, refusal as u8]).await?;
    client.shutdown().await?;
    Err(io::Error::other(match refusal {
        Refusal::Protocol => "it does not speak MQTT 3.1.1: refused",
        Refusal::ClientId => "its client id has one of the characters + # $ /: refused",
        Refusal::Full => "there are too many clients: refused",
    }))
}

/// The first packet, whole.
async fn read_connect(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut packet = vec![client.read_u8().await?];
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let byte = client.read_u8().await?;
        packet.push(byte);
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    if packet[0] != 0x10 || length > LONGEST_CONNECT {
        return Err(io::Error::other("its first packet is no CONNECT packet"));
    }
    let start = packet.len();
    packet.resize(start + length, 0);
    client.read_exact(&mut packet[start..]).await?;
    Ok(packet)
}

/// Whether rumqttd may see the client: its CONNECT packet is of MQTT 3.1.1 and has a client id that rumqttd takes.
fn check(packet: &[u8]) -> Result<(), Refusal> {
    let length_bytes = packet[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
    let body = packet.get(1 + length_bytes..).ok_or(Refusal::Protocol)?;
    // Protocol name (6 bytes), level, flags, keep-alive (2 bytes), then the client id.
    let rest = body.strip_prefix(b"\0\x04MQTT\x04").ok_or(Refusal::Protocol)?;
    let rest = rest.get(3..).ok_or(Refusal::Protocol)?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or(Refusal::Protocol)?;
    let id = rest.get(..usize::from(u16::from_be_bytes(*length))).ok_or(Refusal::Protocol)?;
    let id = std::str::from_utf8(id).map_err(|_| Refusal::ClientId)?;
    if id.contains(['+', '#', '$', '/']) { Err(Refusal::ClientId) } else { Ok(()) }
}
