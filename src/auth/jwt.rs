//! JSON Web Tokens (RFC 7519) with two algorithms: Ed25519 (RFC 8037) for access tokens, and HMAC with SHA-256 for
//! tokens of the conformance mode. This is a crypto provider for `jsonwebtoken`, whose own providers include RSA and
//! the NIST curves, which this server does not use. It refuses tokens that name them.

use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{self, Error};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, Header, TokenData, Validation};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;

/// Signs a token.
#[expect(clippy::disallowed_methods, reason = "the provider is installed")]
pub fn encode(header: &Header, claims: &impl Serialize, key: &EncodingKey) -> Result<String> {
    provide();
    jsonwebtoken::encode(header, claims, key)
}

/// Verifies a token's signature and claims, and reads the claims.
#[expect(clippy::disallowed_methods, reason = "the provider is installed")]
pub fn decode<T: DeserializeOwned>(token: &str, key: &DecodingKey, validation: &Validation) -> Result<TokenData<T>> {
    provide();
    jsonwebtoken::decode(token, key, validation)
}

/// The library's form of an Ed25519 signing key.
#[must_use]
pub fn signing_key(key: &SigningKey) -> EncodingKey {
    // The library stores these bytes as they are, and `signer` reads them back: the raw seed, not DER.
    EncodingKey::from_ed_der(key.as_bytes())
}

/// The library's form of an Ed25519 public key.
#[must_use]
pub fn verifying_key(public: &[u8]) -> DecodingKey {
    DecodingKey::from_ed_der(public)
}

fn provide() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: |algorithm, key| signer(*algorithm, key),
        verifier_factory: |algorithm, key| verifier(*algorithm, key),
        key_utils: KeyUtils::new_unimplemented(),
    };
    // Only the first call in a process succeeds; later ones change nothing.
    let _ = PROVIDER.install_default();
}

fn signer(algorithm: Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    match (algorithm, key.family()) {
        (Algorithm::EdDSA, AlgorithmFamily::Ed) => {
            let seed = key.as_bytes().try_into().map_err(|_| ErrorKind::InvalidEddsaKey)?;
            Ok(Box::new(Ed25519(SigningKey::from_bytes(seed))))
        }
        (Algorithm::HS256, AlgorithmFamily::Hmac) => Ok(Box::new(Hs256::new(key.as_bytes())?)),
        _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
    }
}

fn verifier(algorithm: Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    match (algorithm, key.family()) {
        (Algorithm::EdDSA, AlgorithmFamily::Ed) => {
            let public = key.try_get_as_bytes()?;
            let public = public.try_into().map_err(|_| ErrorKind::InvalidEddsaKey)?;
            let public = VerifyingKey::from_bytes(public).map_err(|_| ErrorKind::InvalidEddsaKey)?;
            Ok(Box::new(Ed25519(public)))
        }
        (Algorithm::HS256, AlgorithmFamily::Hmac) => Ok(Box::new(Hs256::new(key.try_get_as_bytes()?)?)),
        _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
    }
}

struct Ed25519<K>(K);

impl signature::Signer<Vec<u8>> for Ed25519<SigningKey> {
    fn try_sign(&self, message: &[u8]) -> signature::Result<Vec<u8>> {
        Ok(self.0.try_sign(message).map_err(|_| Error::new())?.to_bytes().to_vec())
    }
}

impl JwtSigner for Ed25519<SigningKey> {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

impl signature::Verifier<Vec<u8>> for Ed25519<VerifyingKey> {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> signature::Result<()> {
        let signature = Signature::from_slice(signature).map_err(|_| Error::new())?;
        self.0.verify(message, &signature).map_err(|_| Error::new())
    }
}

impl JwtVerifier for Ed25519<VerifyingKey> {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

struct Hs256(Hmac<Sha256>);

impl Hs256 {
    fn new(secret: &[u8]) -> Result<Self> {
        let mac = Hmac::new_from_slice(secret).map_err(|_| ErrorKind::InvalidKeyFormat)?;
        Ok(Self(mac))
    }
}

impl signature::Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> signature::Result<Vec<u8>> {
        Ok(self.0.clone().chain_update(message).finalize().into_bytes().to_vec())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl signature::Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> signature::Result<()> {
        let mac = self.0.clone().chain_update(message);
        mac.verify_slice(signature).map_err(|_| Error::new())
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::*;

    /// RFC 8037, appendix A.4.
    #[test]
    fn ed25519_reproduces_the_example_of_the_rfc() {
        let bytes = |text: &str| -> [u8; 32] {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64");
            bytes.try_into().expect("32 bytes")
        };
        let key = SigningKey::from_bytes(&bytes("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"));
        let public = bytes("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(key.verifying_key().to_bytes(), public);
        let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let expected = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        let signer = signer(Algorithm::EdDSA, &signing_key(&key)).expect("a signer");
        let signed = signer.try_sign(message).expect("signed");
        assert_eq!(BASE64_URL_SAFE_NO_PAD.encode(&signed), expected);
        let verifier = verifier(Algorithm::EdDSA, &verifying_key(&public)).expect("a verifier");
        verifier.verify(message, &signed).expect("good");
        let mut forged = signed.clone();
        forged[0] ^= 1;
        for (message, signature) in [
            (&message[1..], &signed),
            (message, &forged),
            (message, &signed[1..].to_vec()),
        ] {
            assert!(verifier.verify(message, signature).is_err());
        }
    }

    /// RFC 7515, appendix A.1.
    #[test]
    fn hmac_verifies_the_example_of_the_rfc() {
        let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let secret = BASE64_URL_SAFE_NO_PAD.decode(secret).expect("base64");
        let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
                     eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
                     dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        let read = |secret| decode::<Value>(token, &DecodingKey::from_secret(secret), &validation);
        assert_eq!(read(&secret).expect("good").claims["iss"], "joe");
        assert!(read(&secret[1..]).is_err());
    }

    #[test]
    fn each_key_works_with_its_own_algorithm_only() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let public = key.verifying_key();
        let ours = [
            (signing_key(&key), verifying_key(public.as_bytes())),
            (EncodingKey::from_secret(b"secret"), DecodingKey::from_secret(b"secret")),
            // An Ed25519 public key misused as an HMAC secret, which everyone knows.
            (
                EncodingKey::from_secret(public.as_bytes()),
                DecodingKey::from_secret(public.as_bytes()),
            ),
        ];
        let all = [
            Algorithm::HS256,
            Algorithm::HS384,
            Algorithm::HS512,
            Algorithm::ES256,
            Algorithm::ES384,
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
            Algorithm::EdDSA,
        ];
        for (at, (encoding, decoding)) in ours.iter().enumerate() {
            let own = if at == 0 { Algorithm::EdDSA } else { Algorithm::HS256 };
            for algorithm in all {
                let offered = algorithm == own;
                assert_eq!(signer(algorithm, encoding).is_ok(), offered, "{algorithm:?}");
                assert_eq!(verifier(algorithm, decoding).is_ok(), offered, "{algorithm:?}");
            }
        }
        for length in [0, 31, 33, 64] {
            assert!(verifier(Algorithm::EdDSA, &verifying_key(&vec![1; length])).is_err());
        }
        let claims = json!({"sub": "42"});
        let forged = encode(&Header::new(Algorithm::HS256), &claims, &ours[2].0).expect("a token");
        let validation = Validation::new(Algorithm::EdDSA);
        assert!(decode::<Value>(&forged, &ours[0].1, &validation).is_err());
    }
}
