//! Session tokens: random, kept only as their hash.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jikai_schema::command::SessionTag;
use jikai_schema::crypto::{Suite, hash};
use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

use super::Busy;

/// What a browser holds to be known again: 32 random bytes.
pub struct SessionToken(Zeroizing<[u8; 32]>);

impl SessionToken {
    /// Draws a token.
    pub fn draw() -> Result<Self, Busy> {
        let mut bytes = Zeroizing::new([0; 32]);
        SysRng.try_fill_bytes(bytes.as_mut()).map_err(|_| Busy)?;
        Ok(SessionToken(bytes))
    }

    /// Reads a token from its text form.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
        Some(SessionToken(Zeroizing::new(bytes.as_slice().try_into().ok()?)))
    }

    /// The text form, 43 letters.
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(self.0.as_slice()))
    }

    /// What is kept of it: opens nothing.
    pub fn tag(&self) -> SessionTag {
        SessionTag(hash(Suite::configured(), &[self.0.as_slice()]))
    }

    /// What a page of ours sends along with changes, and a foreign page cannot know.
    pub fn csrf(&self) -> String {
        hex::encode(&hash(Suite::configured(), &[b"jikai csrf\n", self.0.as_slice()])[..16])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_from_its_text_and_nothing_else_is_one() {
        let token = SessionToken::draw().unwrap();
        let back = SessionToken::parse(&token.text()).unwrap();
        assert_eq!((back.tag(), back.csrf()), (token.tag(), token.csrf()));
        assert_ne!(token.tag(), SessionToken::draw().unwrap().tag());
        assert!(!token.text().contains(&token.csrf()));
        for bad in ["", "a", &token.text()[1..], "eyJhbGciOiJub25lIn0.e30."] {
            assert!(SessionToken::parse(bad).is_none(), "{bad}");
        }
    }
}
