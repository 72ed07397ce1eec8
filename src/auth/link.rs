//! One-time links: an invitation to a gym, or a new password. A link carries 32 random bytes in the fragment of its URL,
//! which browsers do not send, so that they appear in no access log and no `Referer`. The database stores their SHA-256.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use sha2::{Digest as _, Sha256};

use crate::error::{Code, Error, Result};

/// How long a link works.
pub const LIFE: TimeDelta = TimeDelta::days(7);

/// The page of the web app that a link opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Joins a gym.
    Invitation,
    /// Sets a new password.
    Reset,
}

/// The secret of a link. It has no `Serialize` and no revealing `Debug`; [`Secret::link`] is the only way to its text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A new secret.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Parses the text after the link's `#`.
    ///
    /// # Errors
    /// [`Code::LinkInvalid`], as for a secret that nobody made.
    pub fn parse(text: &str) -> Result<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| Error::new(Code::LinkInvalid))
    }

    /// The SHA-256. A fast hash is enough, because nobody can guess 32 random bytes.
    #[must_use]
    pub fn hash(&self) -> Vec<u8> {
        Sha256::digest(self.0).to_vec()
    }

    /// The link, relative to the server's origin.
    #[must_use]
    pub fn link(&self, page: Page) -> String {
        let page = match page {
            Page::Invitation => "invitation",
            Page::Reset => "reset",
        };
        format!("/app/{page}#{}", BASE64_URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_secret_is_in_the_links_fragment_only() {
        let secret = Secret::random();
        let link = secret.link(Page::Invitation);
        let (path, text) = link.split_once('#').expect("a fragment");
        assert_eq!((path, text.len()), ("/app/invitation", 43));
        assert_eq!(Secret::parse(text).expect("a secret"), secret);
        assert_ne!(Secret::random().hash(), secret.hash());
        assert!(!format!("{secret:?}").contains(&text[..4]));
    }

    #[test]
    fn a_malformed_secret_is_refused_like_an_unknown_one() {
        let text = Secret::random().link(Page::Reset);
        let text = text.split_once('#').expect("a fragment").1;
        for other in ["", "abc", &format!("{text}="), &"A".repeat(44), &"ü".repeat(43)] {
            assert_eq!(Secret::parse(other).expect_err(other).code, Code::LinkInvalid);
        }
    }
}
