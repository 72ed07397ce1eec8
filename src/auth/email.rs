//! Email addresses in the form that identifies accounts in the database: trimmed, lower case, ASCII.

use std::fmt;

use crate::error::{Error, Result};

/// A well-formed address. Nothing verifies that it receives mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// Parses an address. Ignores case and surrounding whitespace.
    ///
    /// # Errors
    /// 422 on the field `email` if the address is malformed.
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

/// Checks the lengths of RFC 5321 and the usual characters. Refuses quoted and international addresses.
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
    fn case_and_surrounding_whitespace_do_not_matter() {
        assert_eq!(
            Email::parse("  Ana.Lopez+gym@Example.COM ")
                .expect("an address")
                .as_str(),
            "ana.lopez+gym@example.com"
        );
    }

    #[test]
    fn a_malformed_address_is_refused() {
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
