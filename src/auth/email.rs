//! Email addresses as the database knows accounts by them: trimmed, lower case, ASCII.

use std::fmt;

use crate::error::{Error, Result};

/// An address of plausible shape. Whether it receives mail is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// Reads an address; capitals and space around it do not matter.
    ///
    /// # Errors
    /// 422 on `email` where it has not the shape of one.
    pub fn parse(text: &str) -> Result<Self> {
        let email = text.trim().to_ascii_lowercase();
        if has_shape(&email) {
            Ok(Self(email))
        } else {
            Err(Error::invalid(
                "email",
                ("not an email address", "no es una dirección de correo"),
            ))
        }
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// RFC 5321's lengths and the usual characters; quoted and international addresses are refused.
fn has_shape(email: &str) -> bool {
    let Some((local, domain)) = email.rsplit_once('@') else {
        return false;
    };
    let local_ok = (1..=64).contains(&local.len())
        && local
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(is_atom));
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    email.len() <= 254 && local_ok && domain.contains('.') && domain.split('.').all(label_ok)
}

fn is_atom(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_account_has_one_spelling() {
        assert_eq!(
            Email::parse("  Ana.Lopez+gym@Example.COM ")
                .expect("an address")
                .as_str(),
            "ana.lopez+gym@example.com"
        );
    }

    #[test]
    fn what_has_not_the_shape_is_refused() {
        let long = format!("{}@example.com", "x".repeat(65));
        for text in [
            "",
            "ana",
            "@example.com",
            "ana@",
            "ana@local",
            "a b@example.com",
            "ana@-x.com",
            "a..b@example.com",
            "ana@exa_mple.com",
            &long,
        ] {
            assert!(Email::parse(text).is_err(), "{text}");
        }
    }
}
