//! What every answer carries, and what a request carries once at most.

/// Where the documentation of an API lies: pages with styles and pictures of their own.
const DOCS: &str = "/docs";

/// Names and values of the headers of every answer: browsers come back over TLS only, guess no types, show it in no frame,
/// tell no other site where they came from, and keep no copy. No origin but our own may read an answer: there is no CORS
/// header.
pub fn protective_headers(path: &str) -> [(&'static str, &'static str); 6] {
    let is_docs = path.starts_with(DOCS);
    let policy = if is_docs {
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'"
    } else {
        "default-src 'none'; frame-ancestors 'none'"
    };
    [
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("content-security-policy", policy),
        ("cache-control", if is_docs { "max-age=3600" } else { "no-store" }),
    ]
}

/// Headers of a request that say who asks for what: with two of one, this server and whatever stands before it may each
/// believe another. (Two lengths of a body are refused by the HTTP library.)
pub const HEADERS_ONCE: [&str; 5] = ["host", "authorization", "content-type", "idempotency-key", "x-csrf-token"];
