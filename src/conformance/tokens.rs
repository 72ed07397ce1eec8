//! Tokens of the conformance mode: JWTs signed with HS256 and the well-known key `secret`.

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use crate::auth::jwt;
use crate::error::{Code, Error, Result};

const KEY: &[u8] = b"secret";

/// The claims of a token.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct Claims {
    /// The user.
    pub(super) sub: String,
    /// The channel that a subscription token grants.
    channel: String,
    /// The expiry, in Unix seconds.
    exp: Option<i64>,
}

impl Claims {
    /// When the token expires; `None` if never.
    pub(super) fn ends(&self) -> Option<DateTime<Utc>> {
        self.exp.and_then(|exp| DateTime::from_timestamp(exp, 0))
    }
}

/// Verifies a connection token and reads its claims.
pub(super) fn connection(token: &str, now: DateTime<Utc>) -> Result<Claims> {
    let mut validation = Validation::new(Algorithm::HS256);
    // The expiry is checked below, with the injected clock.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let claims = jwt::decode::<Claims>(token, &DecodingKey::from_secret(KEY), &validation)
        .map_err(|_| Error::new(Code::Unauthenticated))?
        .claims;
    match claims.ends() {
        Some(ends) if ends <= now => Err(Error::new(Code::TokenExpired)),
        _ => Ok(claims),
    }
}

/// Verifies a subscription token. Returns when it expires.
pub(super) fn subscription(
    token: &str,
    user: &str,
    channel: &str,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>> {
    match connection(token, now) {
        Ok(claims) if claims.sub == user && claims.channel == channel => Ok(claims.ends()),
        Err(error) if error.code == Code::TokenExpired => Err(error),
        Ok(_) | Err(_) => Err(Error::forbidden()),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::{Value, json};
    use sha2::Sha384;

    use super::*;

    fn signed(key: &[u8], claims: &Value) -> String {
        jwt::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(key)).expect("a token")
    }

    /// A token signed with the right key and the wrong algorithm.
    fn signed_with_hs384(claims: &Value) -> String {
        let part = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let header = json!({"typ": "JWT", "alg": "HS384"});
        let message = [header.to_string(), claims.to_string()].map(|text| part(text.as_bytes()));
        let message = message.join(".");
        let mac = Hmac::<Sha384>::new_from_slice(KEY).expect("a key");
        let signature = mac.chain_update(&message).finalize().into_bytes();
        format!("{message}.{}", part(&signature))
    }

    fn token(claims: &Value) -> String {
        signed(KEY, claims)
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("an instant")
    }

    #[test]
    fn a_connection_token_names_the_user_and_may_expire() {
        let claims = connection(&token(&json!({"sub": "42"})), at(10)).expect("claims");
        assert_eq!((claims.sub.as_str(), claims.ends()), ("42", None));
        let brief = token(&json!({"sub": "42", "exp": 20}));
        assert_eq!(connection(&brief, at(19)).expect("claims").ends(), Some(at(20)));
        assert_eq!(
            connection(&brief, at(20)).expect_err("expired").code,
            Code::TokenExpired
        );
        for bad in [
            "invalid".to_owned(),
            signed(b"other", &json!({"sub": "42"})),
            signed_with_hs384(&json!({"sub": "42"})),
        ] {
            assert_eq!(
                connection(&bad, at(0)).expect_err("refused").code,
                Code::Unauthenticated
            );
        }
    }

    #[test]
    fn a_subscription_token_is_for_one_user_and_one_channel() {
        let good = token(&json!({"sub": "42", "channel": "c", "exp": 20}));
        assert_eq!(subscription(&good, "42", "c", at(10)).expect("granted"), Some(at(20)));
        let refused = |user, channel, now| subscription(&good, user, channel, now).expect_err("refused").code;
        assert_eq!(refused("43", "c", at(10)), Code::Forbidden);
        assert_eq!(refused("42", "d", at(10)), Code::Forbidden);
        assert_eq!(refused("42", "c", at(20)), Code::TokenExpired);
        assert_eq!(
            subscription("junk", "42", "c", at(0)).expect_err("refused").code,
            Code::Forbidden
        );
    }
}
