//! `jikai-node renew` asks the running node through a socket in its data directory, which only its owner may enter.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::Asked;

/// The socket's name.
const SOCKET: &str = "control.sock";
/// All that can be asked.
const RENEW: &str = "renew\n";
/// How long one exchange may take. An answer of the hub takes at most five seconds.
const EXCHANGE_WAIT: Duration = Duration::from_secs(20);

/// Opens the socket; whoever asks there is passed on. Where it cannot be opened the node works all the same.
pub fn listen(data: &Path, cancelled: CancellationToken) -> mpsc::Receiver<Asked> {
    let (asking, asked) = mpsc::channel(1);
    match bind(data) {
        Ok(listener) => drop(tokio::spawn(answer(listener, asking, cancelled))),
        Err(error) => {
            tracing::warn!(error = format!("{error:#}"), "`jikai-node renew` will not reach this node");
        }
    }
    asked
}

fn bind(data: &Path) -> anyhow::Result<UnixListener> {
    let path = data.join(SOCKET);
    // A node that was killed leaves it behind.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).context("remove the old socket");
        }
        _ => {}
    }
    let listener = UnixListener::bind(&path).with_context(|| format!("bind {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).context("close the socket to others")?;
    Ok(listener)
}

/// One at a time: nobody but the node's owner comes here.
async fn answer(listener: UnixListener, asking: mpsc::Sender<Asked>, cancelled: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = cancelled.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else { continue };
        if let Ok(Err(error)) = tokio::time::timeout(EXCHANGE_WAIT, exchange(stream, &asking)).await {
            tracing::info!(%error, "a control connection failed");
        }
    }
}

async fn exchange(mut stream: UnixStream, asking: &mpsc::Sender<Asked>) -> std::io::Result<()> {
    let mut request = String::new();
    (&mut stream).take(RENEW.len() as u64 + 1).read_to_string(&mut request).await?;
    let reply = if request == RENEW {
        let (answer, answered) = oneshot::channel();
        let sent = asking.send(answer).await.is_ok();
        match answered.await {
            Ok(Ok(renewed)) => {
                format!("ok serial number {}, until {}\n", renewed.serial, renewed.not_after_ms.business_day())
            }
            Ok(Err(error)) => format!("no {error}\n"),
            Err(_) => format!("no {}\n", if sent { "the node is stopping" } else { "the node renews nothing" }),
        }
    } else {
        "no unknown request\n".to_string()
    };
    stream.write_all(reply.as_bytes()).await
}

/// Asks the running node of a data directory for a renewal; what it says.
pub fn ask_running(data: &Path) -> anyhow::Result<String> {
    let path = data.join(SOCKET);
    let hint = || format!("connect to {}: is the node running (`jikai-node run`)?", path.display());
    let mut stream = BlockingStream::connect(&path).with_context(hint)?;
    stream.set_read_timeout(Some(EXCHANGE_WAIT)).context("set a limit")?;
    stream.write_all(RENEW.as_bytes()).and_then(|()| stream.shutdown(Shutdown::Write)).context("ask the node")?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).context("read the node's answer")?;
    match reply.trim_end().split_once(' ') {
        Some(("ok", said)) => Ok(said.to_string()),
        Some((_, why)) => bail!("{why}"),
        None => bail!("the node gave no answer; its log tells more"),
    }
}
