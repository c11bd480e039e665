//! Too many connections, streams and requests, and requests that do not end. Each bound is the server's own: its settings, and
//! the constants in `sync/src/https/mod.rs`.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::frames::{
    ENHANCE_YOUR_CALM, Frame, Frames, PROTOCOL_ERROR, REFUSED_STREAM, body, end_of_body, endless_headers, get,
    header_bomb, malformed, post_without_body, reset,
};
use super::problem;
use crate::https::{Outcome, Request, Server, outcome};
use crate::process::PATIENCE;

/// Streams at once on one connection.
const STREAMS_MAX: u32 = 64;
/// Streams of one connection that are refused before it is closed.
const REFUSALS_MAX: u32 = 32;
/// Between two bytes of a caller who dawdles.
const TRICKLE: Duration = Duration::from_millis(20);

/// What a flood needs to know of a server.
pub struct Target<'a> {
    /// The server.
    pub server: &'a Server,
    /// An address that takes a body from anybody.
    pub open_to_all: &'a str,
    /// An address that takes a body within a session only.
    pub of_a_session: &'a str,
}

/// Sends bytes one by one until the server has had enough; gives what it said.
fn trickle(stream: &mut (impl Read + Write), bytes: &mut dyn Iterator<Item = u8>) -> Vec<u8> {
    let (started, mut said) = (Instant::now(), Vec::new());
    while started.elapsed() < PATIENCE {
        if let Some(byte) = bytes.next() {
            // Once it has closed nothing more is heard.
            let _ = stream.write_all(&[byte]).and_then(|()| stream.flush());
        }
        let mut part = [0; 4_096];
        match stream.read(&mut part) {
            Ok(0) => return said,
            Ok(count) => said.extend_from_slice(&part[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return said,
        }
    }
    panic!("the server listens for ever; it said {:?}", String::from_utf8_lossy(&said));
}

fn hurry(stream: &TcpStream) {
    stream.set_read_timeout(Some(TRICKLE)).expect("a time limit can be set");
}

/// Handshakes, headers and bodies that never end, on a server with little patience. Gives how many were sent.
///
/// # Panics
/// When the server waits for one.
pub fn dawdle(target: &Target<'_>) -> u64 {
    let (server, mut silence) = (target.server, std::iter::empty());
    let mut bare = server.dial_tcp().expect("a connection");
    hurry(&bare);
    assert!(trickle(&mut bare, &mut silence).is_empty(), "no handshake");
    let mut half = server.dial_tcp().expect("a connection");
    hurry(&half);
    // A record of 16 KiB is announced and comes byte by byte.
    let said = trickle(&mut half, &mut [22, 3, 1, 64, 0].into_iter().chain(std::iter::repeat(1)));
    assert!(said.len() < 100, "a handshake that does not end");
    let post = format!("POST {} HTTP/1.1\r\nhost: jikai\r\n", target.open_to_all);
    let body = format!("{post}content-type: application/json\r\ncontent-length: 60000\r\n\r\n{{\"a\":\"");
    let chunks = format!("{post}content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n");
    let one_header = format!("{post}x: ");
    let endless: [(&str, &str, &str, bool); 6] = [
        ("silence", "", "", false),
        ("a method", "G", "E", false),
        ("headers", &post, "x: a\r\n", false),
        ("one header", &one_header, "a", false),
        ("a body", &body, "a", true),
        ("chunks", &chunks, "1\r\na\r\n", true),
    ];
    std::thread::scope(|scope| {
        for (what, start, rest, is_answered) in endless {
            scope.spawn(move || dawdle_over(server, what, start, rest, is_answered));
        }
    });
    8
}

/// One request that never ends: its start at once, then the rest byte by byte, again and again.
fn dawdle_over(server: &Server, what: &str, start: &str, rest: &str, is_answered: bool) {
    let mut stream = server.dial("http/1.1").expect("a connection");
    stream.write_all(start.as_bytes()).expect("a start can be sent");
    hurry(&stream.sock);
    match outcome(&trickle(&mut stream, &mut rest.bytes().cycle())) {
        Outcome::Answered(answer) if answer.body.is_empty() => {
            assert!((400..500).contains(&answer.status) && !is_answered, "{what}: {}", answer.head);
        }
        Outcome::Answered(answer) => drop(problem(&answer).expect(what)),
        Outcome::Closed => assert!(!is_answered, "{what}: closed without a word"),
    }
}

/// As many connections as the server takes, then more: those are closed, the others are served. Gives how many were opened.
///
/// # Panics
/// When one too many is served, or one that is held is not.
pub fn connections(target: &Target<'_>, connections_max: usize) -> u64 {
    let held: Vec<_> = (0..connections_max).map(|_| target.server.dial("http/1.1").expect("a place")).collect();
    let more = 5 * connections_max;
    for _ in 0..more {
        assert!(target.server.dial("http/1.1").is_err(), "a connection beyond the limit is closed");
    }
    for mut stream in held {
        stream.write_all(&Request::new("GET", "/health/live").bytes()).expect("a held connection is open");
        match outcome(&crate::https::read_all(&mut stream)) {
            Outcome::Answered(answer) => assert_eq!(answer.status, 200),
            Outcome::Closed => panic!("a held connection is served"),
        }
    }
    crate::process::wait_until("a place that was given back", || target.server.dial("http/1.1").is_ok());
    (connections_max + more) as u64
}

/// Requests without a session until the allowance of the address is used up. Gives how many were sent.
///
/// # Panics
/// When it never is.
pub fn strangers(target: &Target<'_>) -> u64 {
    let request = Request::new("POST", target.open_to_all).body("application/json", "{");
    for count in 1..2_000 {
        if problem(&target.server.ask(&request)).expect("a refusal") == "too_many_requests" {
            return count;
        }
    }
    panic!("an address may ask as often as it likes");
}

/// Requests that are refused before their body has come, over HTTP/2: the answer waits for it, or the client would find the
/// stream reset and forget the answer. Gives how many were sent.
///
/// # Panics
/// When a stream is reset.
pub fn late_bodies(target: &Target<'_>) -> u64 {
    let mut frames = Frames::open(target.server);
    // No session, no such address, no JSON: refused in the guard, in the router and in a handler.
    let paths = [target.of_a_session, "/v1/nothing", target.open_to_all];
    for (at, path) in (0..).zip(paths) {
        let (id, next) = (4 * at + 1, 4 * at + 3);
        // What comes behind is answered: the server has seen the request, and would have refused it by now.
        frames.send(&[post_without_body(id, path), get(next, "/health/live")].concat());
        await_end(&mut frames, next);
        frames.send(&body(id, b"[\"late"));
        await_end(&mut frames, id);
    }
    let last = 4 * paths.len() as u32 + 1;
    frames.send(&get(last, "/health/live"));
    await_end(&mut frames, last);
    2 * paths.len() as u64 + 1
}

/// Reads up to the end of this stream's answer; no stream is reset meanwhile.
fn await_end(frames: &mut Frames, stream: u32) {
    loop {
        match frames.hear().expect("the connection stays open") {
            Frame::End(ended) if ended == stream => return,
            Frame::End(_) | Frame::Answer(..) | Frame::Other => {}
            other => panic!("{other:?} before the answer on stream {stream}"),
        }
    }
}

/// More requests at once on one connection than are taken: the rest is refused, the others are answered. Gives how many were
/// sent.
///
/// # Panics
/// When the bound does not hold.
pub fn streams(target: &Target<'_>) -> u64 {
    let (mut frames, more) = (Frames::open(target.server), REFUSALS_MAX - 2);
    let ids = (0..STREAMS_MAX + more).map(|at| 2 * at + 1);
    let requests: Vec<u8> = ids.flat_map(|id| post_without_body(id, target.open_to_all)).collect();
    frames.send(&requests);
    let (mut refused, mut answered) = (0, 0);
    while refused < more {
        match frames.hear().expect("the connection stays open") {
            Frame::Reset(_, REFUSED_STREAM) => refused += 1,
            Frame::End(_) | Frame::Other => {}
            other => panic!("{other:?} after {refused} refusals"),
        }
    }
    frames.send(&(0..STREAMS_MAX).flat_map(|at| end_of_body(2 * at + 1)).collect::<Vec<u8>>());
    while answered < STREAMS_MAX {
        match frames.hear().expect("the connection stays open") {
            Frame::Answer(_, false) => answered += 1,
            Frame::End(_) | Frame::Other => {}
            other => panic!("{other:?} after {answered} answers"),
        }
    }
    u64::from(STREAMS_MAX + more)
}

/// Requests beyond all bounds, that are taken back at once, or break the protocol, by the hundred; headers without end. Each ends the connection,
/// and the next one is served. Gives how many were sent.
///
/// # Panics
/// When the server goes on listening, or serves nobody afterwards.
pub fn resets(target: &Target<'_>) -> u64 {
    // No more than one record of TLS: what the server says at the end must not be lost with bytes that it never reads.
    let ids = |count: u32| (0..count).map(|at| 2 * at + 1);
    let (beyond, taken_back, broken) = (STREAMS_MAX + REFUSALS_MAX + 10, 300, 200);
    let floods: [(&str, Vec<u8>, Option<u32>); 5] = [
        (
            "requests beyond all bounds",
            ids(beyond).flat_map(|id| post_without_body(id, target.open_to_all)).collect(),
            Some(ENHANCE_YOUR_CALM),
        ),
        (
            "requests taken back",
            ids(taken_back).flat_map(|id| [get(id, "/health/live"), reset(id)].concat()).collect(),
            Some(ENHANCE_YOUR_CALM),
        ),
        ("malformed requests", ids(broken).flat_map(malformed).collect(), Some(PROTOCOL_ERROR)),
        ("headers without end", endless_headers(1, 200), None),
        ("headers that unpack to megabytes", [header_bomb(1), header_bomb(3)].concat(), None),
    ];
    for (what, bytes, expected) in floods {
        let mut frames = Frames::open(target.server);
        frames.send(&bytes);
        match expected {
            Some(reason) => assert_eq!(frames.end(), Some(reason), "{what}"),
            None => assert!(is_refused(frames), "{what} are served"),
        }
        let after = target.server.ask(&Request::new("GET", "/health/live"));
        assert_eq!(after.status, 200, "after {what}");
    }
    u64::from(beyond + taken_back + broken + 3)
}

/// Whether the first that matters is no good answer: a reset stream, the end, or a request that is refused.
fn is_refused(mut frames: Frames) -> bool {
    loop {
        match frames.hear() {
            None | Some(Frame::Reset(..) | Frame::GoAway(_)) => return true,
            Some(Frame::Answer(_, is_good)) => return !is_good,
            Some(Frame::End(_) | Frame::Other) => {}
        }
    }
}
