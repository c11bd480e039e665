//! The token of a session: `{environment}.{terminal}.{secret}`. What stands in front of the secret is no proof: it tells whom to send on, and
//! where, when nobody here knows the session.

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jikai_schema::event::TokenTag;
use jikai_schema::id::TerminalId;

/// Octets of a secret.
const SECRET_LEN: usize = 32;

/// A token as a request bears it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    /// What the session is known by.
    pub tag: TokenTag,
    /// Whose it says to be; `None` in one that an earlier build gave out.
    pub terminal: Option<TerminalId>,
}

/// Why a request bears no token that could be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenError {
    /// There is none.
    Missing,
    /// It is of another environment.
    WrongEnvironment,
    /// No node gave out one like this.
    Malformed,
}

/// A new token of this environment for a terminal, and what its session is known by.
pub(super) fn issue(environment: &str, terminal: TerminalId) -> (String, TokenTag) {
    let secret: [u8; SECRET_LEN] = rand::random();
    (format!("{environment}.{terminal}.{}", URL_SAFE_NO_PAD.encode(secret)), TokenTag::of(&secret))
}

/// Reads `Authorization: Bearer …`.
pub(super) fn read(headers: &HeaderMap, environment: &str) -> Result<Token, TokenError> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let text = bearer.and_then(|value| value.strip_prefix("Bearer ")).ok_or(TokenError::Missing)?;
    let rest = match text.split_once('.') {
        Some((named, _)) if named != environment => return Err(TokenError::WrongEnvironment),
        Some((_, rest)) => rest,
        // Of a session that an early build opened.
        None => text,
    };
    let (terminal, secret) = match rest.split_once('.') {
        Some((terminal, secret)) => (Some(terminal.parse().map_err(|_| TokenError::Malformed)?), secret),
        None => (None, rest),
    };
    let secret = URL_SAFE_NO_PAD.decode(secret).map_err(|_| TokenError::Malformed)?;
    Ok(Token { tag: TokenTag::of(&secret), terminal })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_of(text: &str) -> Result<Token, TokenError> {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, text.parse().unwrap())]);
        read(&headers, "live")
    }

    #[test]
    fn a_token_tells_its_environment_and_its_terminal() {
        let terminal = TerminalId::new(1_301_000_101).unwrap();
        let (text, tag) = issue("live", terminal);
        assert_eq!(read_of(&format!("Bearer {text}")), Ok(Token { tag, terminal: Some(terminal) }));
        assert_ne!(issue("live", terminal).1, tag, "no two are the same");
        let (_, secret) = text.rsplit_once('.').unwrap();
        for earlier in [secret.to_owned(), format!("live.{secret}")] {
            assert_eq!(read_of(&format!("Bearer {earlier}")), Ok(Token { tag, terminal: None }), "{earlier}");
        }
    }

    #[test]
    fn what_is_no_token_of_this_environment_is_told_apart() {
        assert_eq!(read(&HeaderMap::new(), "live"), Err(TokenError::Missing));
        assert_eq!(read_of("Basic AAAA"), Err(TokenError::Missing));
        assert_eq!(read_of("Bearer training.1301000101.AAAA"), Err(TokenError::WrongEnvironment));
        for malformed in ["live.1301000101.A!", "live.13010001.AAAA", "live..AAAA", "live.1301000101.AAAA.AAAA", "!"] {
            assert_eq!(read_of(&format!("Bearer {malformed}")), Err(TokenError::Malformed), "{malformed}");
        }
    }
}
