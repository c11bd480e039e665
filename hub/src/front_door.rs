//! The configuration of a front door: HAProxy, through which browsers and other systems reach whichever machine is ready.
//!
//! It passes TLS on as it is, so that the hub's own certificate is shown and no key lies at the door, and announces who is behind
//! it (PROXY protocol), so that limits and the trail are about that caller. A machine that drains, or knows no leader, is not ready:
//! it gets no new connection and keeps those that it has.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Open connections of a door.
const CONNECTIONS_MAX: u32 = 4_096;

/// A machine behind the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Its number.
    pub machine: u64,
    /// Where the centre's API listens.
    pub http: SocketAddr,
}

/// What a front door is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontDoor {
    /// Where it listens.
    pub bind: Vec<SocketAddr>,
    /// File of the authority that signed the machines' certificates.
    pub ca_file: PathBuf,
    /// Socket through which a new process of the door takes over the listening ones of the old.
    pub socket: PathBuf,
    /// The name in every machine's certificate.
    pub server_name: &'static str,
    /// By number.
    pub backends: Vec<Backend>,
}

impl FrontDoor {
    /// The text of `haproxy.cfg`. The same machines give the same text.
    pub fn config(&self) -> String {
        let mut text =
            String::from("# Written by `jikai-hub front-door config`; it is written again when machines come or go.\n");
        let (socket, ca_file) = (self.socket.display(), self.ca_file.display());
        // Writing into a string does not fail.
        let _ = writeln!(
            text,
            "global\n    maxconn {CONNECTIONS_MAX}\n    stats socket {socket} mode 600 level admin expose-fd listeners\n\n\
             defaults\n    mode tcp\n    timeout connect 3s\n    timeout client 15m\n    timeout server 15m\n    timeout check 2s\n    \
             retries 3\n    option redispatch\n\nfrontend centre"
        );
        for bind in &self.bind {
            let _ = writeln!(text, "    bind {bind}");
        }
        let name = self.server_name;
        let _ = writeln!(
            text,
            "    default_backend hub\n\nbackend hub\n    balance leastconn\n    option httpchk\n    \
             http-check send meth GET uri /health/ready ver HTTP/1.1 hdr Host {name}\n    http-check expect status 200\n    \
             default-server check inter 1s fastinter 500ms fall 2 rise 2 send-proxy-v2 check-send-proxy check-ssl \
             check-sni {name} verify required verifyhost {name} ca-file {ca_file}"
        );
        for Backend { machine, http } in &self.backends {
            let _ = writeln!(text, "    server machine-{machine} {http}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_machine_is_checked_for_readiness_over_tls_and_told_who_calls() {
        let backend = |machine, http: &str| Backend { machine, http: http.parse().unwrap() };
        let door = FrontDoor {
            bind: vec!["10.0.0.100:443".parse().unwrap(), "[fd00::100]:443".parse().unwrap()],
            ca_file: "/hub/ca/ca.pem".into(),
            socket: "/run/door.sock".into(),
            server_name: "hub.jikai",
            backends: vec![backend(1, "10.0.0.1:8443"), backend(2, "10.0.0.2:8443")],
        };
        let text = door.config();
        for line in [
            "    bind 10.0.0.100:443\n",
            "    bind [fd00::100]:443\n",
            "    server machine-1 10.0.0.1:8443\n",
            "    server machine-2 10.0.0.2:8443\n",
            "/health/ready",
            "send-proxy-v2 check-send-proxy check-ssl check-sni hub.jikai verify required",
            "expose-fd listeners",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
