//! TLS to Postgres, by rustls. The parameters `sslmode` and `sslrootcert` mean what they mean to libpq. The driver knows
//! only three of the modes and verifies nothing itself, so this module takes both parameters out of the URL first.
//!
//! The default is `verify-full` for whatever is not on this machine: anything weaker must be written into the URL.

use std::borrow::Cow;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How a connection to Postgres is protected, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Without TLS.
    Disable,
    /// With TLS if the server offers it; who the server is stays unknown.
    Prefer,
    /// With TLS; who the server is stays unknown unless authorities are named.
    Require,
    /// With TLS, and a certificate from one of the authorities, whatever name it has.
    VerifyCa,
    /// With TLS, and a certificate from one of the authorities for the server's name.
    VerifyFull,
}

impl Mode {
    const NAMES: [(&str, Self); 5] = [
        ("disable", Self::Disable),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];

    fn named(name: &str) -> anyhow::Result<Self> {
        let found = Self::NAMES.into_iter().find(|(of, _)| *of == name);
        found.map(|(_, mode)| mode).with_context(|| {
            let names = Self::NAMES.map(|(name, _)| name).join(", ");
            format!("DATABASE_URL: sslmode is one of {names}")
        })
    }

    fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, mode)| *mode == self)
            .map_or("", |(name, _)| name)
    }
}

/// A database's address and how to protect the connection.
pub(super) struct Address {
    pub config: tokio_postgres::Config,
    mode: Mode,
    authorities: Option<String>,
}

impl Address {
    /// Parses a URL or a list of `key=value`.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let Taken {
            rest,
            sslmode,
            sslrootcert,
        } = take(url)?;
        let mut config: tokio_postgres::Config = rest.parse().context("DATABASE_URL")?;
        let mode = match sslmode {
            Some(name) => Mode::named(&name)?,
            None if is_here(&config) => Mode::Disable,
            None => Mode::VerifyFull,
        };
        // As libpq: with authorities, `require` verifies them.
        let mode = match (mode, &sslrootcert) {
            (Mode::Require, Some(_)) => Mode::VerifyCa,
            (mode, _) => mode,
        };
        config.ssl_mode(match mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
        });
        Ok(Self {
            config,
            mode,
            authorities: sslrootcert,
        })
    }

    /// The TLS that this address asks for. Without TLS, nothing uses it.
    pub fn connector(&self) -> anyhow::Result<MakeRustlsConnect> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let config = match self.mode {
            Mode::Disable => builder
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth(),
            Mode::Prefer | Mode::Require | Mode::VerifyCa => {
                let authority = match self.mode {
                    Mode::VerifyCa => {
                        let verifier = WebPkiServerVerifier::builder_with_provider(self.roots()?, provider.clone());
                        Some(verifier.build()?)
                    }
                    _ => None,
                };
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(Lenient { authority, provider }))
                    .with_no_client_auth()
            }
            Mode::VerifyFull => builder.with_root_certificates(self.roots()?).with_no_client_auth(),
        };
        Ok(MakeRustlsConnect::new(config))
    }

    /// The authorities that are trusted: those in the named file, or those of the system.
    fn roots(&self) -> anyhow::Result<Arc<RootCertStore>> {
        match &self.authorities {
            Some(path) => authorities_in(Path::new(path)).map(Arc::new),
            None => authorities_of_the_system(),
        }
    }
}

/// A sentence for the operator if the connection to this database leaves the machine less protected than it could be.
///
/// # Errors
/// If the URL is malformed.
pub fn exposed(url: &str) -> anyhow::Result<Option<String>> {
    let address = Address::parse(url)?;
    Ok((address.mode < Mode::VerifyFull && !is_here(&address.config)).then(|| {
        format!(
            "sslmode={}: the database's network can read or change what passes; verify-full is the default",
            address.mode.name()
        )
    }))
}

/// The URL with a file of authorities, for all that connects there.
///
/// # Errors
/// If the URL names such a file already.
pub fn with_authorities(url: &str, file: &Path) -> anyhow::Result<String> {
    anyhow::ensure!(
        take(url)?.sslrootcert.is_none(),
        "both DATABASE_CA_FILE and sslrootcert in DATABASE_URL are set; leave out one"
    );
    // Now, rather than at the first connection.
    authorities_in(file)?;
    let file = file.to_str().context("DATABASE_CA_FILE is not UTF-8")?;
    if is_url(url) {
        let sign = if url.contains('?') { '&' } else { '?' };
        return Ok(format!(
            "{url}{sign}sslrootcert={}",
            utf8_percent_encode(file, RESERVED)
        ));
    }
    let quoted = file.replace('\\', "\\\\").replace('\'', "\\'");
    Ok(format!("{url} sslrootcert='{quoted}'"))
}

/// What a URL's query cannot contain as it is.
const RESERVED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'%')
    .add(b'&')
    .add(b'#')
    .add(b'+')
    .add(b'=')
    .add(b'?');

/// A URL without the parameters that the driver does not know.
#[derive(Debug, PartialEq, Eq)]
struct Taken<'a> {
    rest: Cow<'a, str>,
    sslmode: Option<String>,
    sslrootcert: Option<String>,
}

impl Taken<'_> {
    /// Takes a parameter that is one of both. Returns false for any other.
    fn set(&mut self, key: &str, value: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<bool> {
        let place = match key {
            "sslmode" => &mut self.sslmode,
            "sslrootcert" => &mut self.sslrootcert,
            _ => return Ok(false),
        };
        anyhow::ensure!(place.is_none(), "DATABASE_URL: {key} is given twice");
        *place = Some(value()?);
        Ok(true)
    }
}

fn is_url(text: &str) -> bool {
    text.starts_with("postgres://") || text.starts_with("postgresql://")
}

fn take(url: &str) -> anyhow::Result<Taken<'_>> {
    let mut taken = Taken {
        rest: Cow::Borrowed(url),
        sslmode: None,
        sslrootcert: None,
    };
    if !is_url(url) {
        let mut rest = String::new();
        for Pair { key, value, text } in pairs(url) {
            if !taken.set(key, || Ok(value))? {
                rest.push_str(text);
            }
        }
        taken.rest = Cow::Owned(rest);
        return Ok(taken);
    }
    let Some((before, query)) = url.split_once('?') else {
        return Ok(taken);
    };
    let mut kept = Vec::new();
    for parameter in query.split('&') {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let decoded = || {
            Ok(percent_decode_str(value)
                .decode_utf8()
                .context("DATABASE_URL")?
                .into_owned())
        };
        if !taken.set(key, decoded)? {
            kept.push(parameter);
        }
    }
    taken.rest = Cow::Owned(if kept.is_empty() {
        before.to_owned()
    } else {
        format!("{before}?{}", kept.join("&"))
    });
    Ok(taken)
}

/// One `key=value` of a list, with its text as written.
struct Pair<'a> {
    key: &'a str,
    value: String,
    text: &'a str,
}

/// Splits a list of `key=value`: values may be quoted with `'`, and `\` takes the next character as it is. A malformed
/// rest is one pair without a key; the driver's parser says what is wrong with it.
fn pairs(list: &str) -> Vec<Pair<'_>> {
    let mut found = Vec::new();
    let mut begin = 0;
    while begin < list.len() {
        let whole = &list[begin..];
        let Some(equals) = whole.find('=') else {
            found.push(Pair {
                key: "",
                value: String::new(),
                text: whole,
            });
            break;
        };
        let key = whole[..equals].trim();
        let after = &whole[equals + 1..];
        let spaces = after.len() - after.trim_start().len();
        let mut characters = after[spaces..].char_indices().peekable();
        let quoted = characters.next_if(|(_, c)| *c == '\'').is_some();
        let (mut value, mut end) = (String::new(), after.len());
        while let Some((at, c)) = characters.next() {
            match c {
                '\\' => value.extend(characters.next().map(|(_, c)| c)),
                '\'' if quoted => {
                    end = spaces + at + 1;
                    break;
                }
                c if !quoted && c.is_whitespace() => {
                    end = spaces + at;
                    break;
                }
                c => value.push(c),
            }
        }
        let length = equals + 1 + end;
        found.push(Pair {
            key,
            value,
            text: &whole[..length],
        });
        begin += length;
    }
    found
}

/// Whether all of a database's addresses are on this machine: Unix sockets and loopback.
fn is_here(config: &tokio_postgres::Config) -> bool {
    let here = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback()),
    };
    let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
    let some = !hosts.is_empty() || !addresses.is_empty();
    some && hosts.iter().all(here) && addresses.iter().all(IpAddr::is_loopback)
}

fn authorities_in(path: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let name = || format!("the authorities in {}", path.display());
    for certificate in CertificateDer::pem_file_iter(path).with_context(name)? {
        roots.add(certificate.with_context(name)?).with_context(name)?;
    }
    anyhow::ensure!(!roots.is_empty(), "{} contains no certificate in PEM", path.display());
    Ok(roots)
}

/// The system's authorities, read once.
fn authorities_of_the_system() -> anyhow::Result<Arc<RootCertStore>> {
    static SYSTEM: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = SYSTEM.get() {
        return Ok(roots.clone());
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    anyhow::ensure!(
        !roots.is_empty(),
        "this system has no certificates of authorities (Debian: apt install ca-certificates); name a file in \
         DATABASE_CA_FILE"
    );
    Ok(SYSTEM.get_or_init(|| Arc::new(roots)).clone())
}

/// Verifies less than the server's name and authority. The handshake still proves that the server has the certificate's
/// key.
#[derive(Debug)]
struct Lenient {
    /// Verifies the authority; if there is none, any certificate is accepted.
    authority: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        let Some(authority) = &self.authority else {
            return Ok(ServerCertVerified::assertion());
        };
        // The verifier checks the name last.
        match authority.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mode(url: &str) -> Mode {
        Address::parse(url).unwrap_or_else(|e| panic!("{url}: {e:#}")).mode
    }

    #[test]
    fn whatever_is_not_on_this_machine_is_verified_fully_by_default() {
        for url in [
            "postgres://u@db.example/d",
            "postgres://u@10.0.0.1:5432/d?connect_timeout=3",
            "postgresql://u@localhost,db.example/d",
            "postgres://u@[2001:db8::1]/d",
            "postgres://u@db.example/d?hostaddr=127.0.0.1",
            "postgres://u@localhost/d?hostaddr=10.0.0.1",
            "postgres://u@localhost.example/d",
            "host=db.example user=u",
            "user=u",
        ] {
            assert_eq!(mode(url), Mode::VerifyFull, "{url}");
            assert_eq!(exposed(url).expect(url), None);
        }
        for url in [
            "postgres://u@localhost/d",
            "postgres://u@127.0.0.1:5433/d",
            "postgres://u@[::1]/d",
            "postgres://u@%2Fvar%2Frun/d",
            "host=/var/run user=u",
            "hostaddr=127.1.2.3 user=u",
        ] {
            assert_eq!(mode(url), Mode::Disable, "{url}");
            assert_eq!(exposed(url).expect(url), None);
        }
    }

    #[test]
    fn less_is_done_only_by_name_and_is_said() {
        for (name, expected) in Mode::NAMES {
            for url in [
                format!("postgres://u@db.example/d?sslmode={name}"),
                format!("postgres://u@db.example/d?connect_timeout=3&sslmode={name}&application_name=a"),
                format!("host=db.example sslmode = '{name}' user=u"),
                format!("sslmode={name} host=db.example"),
            ] {
                assert_eq!(mode(&url), expected, "{url}");
                let said = exposed(&url).expect("an address");
                assert_eq!(said.is_some(), expected < Mode::VerifyFull, "{said:?}");
            }
        }
        for url in [
            "postgres://u@db.example/d?sslmode=verify",
            "postgres://u@db.example/d?sslmode=",
            "postgres://u@db.example/d?sslmode=allow",
            "postgres://u@db.example/d?sslmode=verify-full&sslmode=disable",
            "host=db.example sslmode=verify-full sslmode=disable",
        ] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
        assert_eq!(
            mode("postgres://u@db.example/d?sslmode=require&sslrootcert=/ca.pem"),
            Mode::VerifyCa
        );
    }

    #[test]
    fn a_malformed_url_is_refused_without_showing_its_password() {
        for url in [
            "postgres://u:hunter2@h:x/d",
            "host=h password=hunter2 sslmode=no",
            "nonsense hunter2",
        ] {
            let error = Address::parse(url).err().map(|error| format!("{error:#}")).expect(url);
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    proptest! {
        /// What the driver gets is what was written, without the two parameters.
        #[test]
        fn only_the_two_parameters_are_taken_out_of_a_list(
            password in "[a-z'\\\\ =&%]{0,12}",
            path in "/[a-z'\\\\ =&%+?#ñ]{1,12}",
            before: bool,
        ) {
            let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
            let plain = format!("host=h user=u password='{}' dbname = d", quoted(&password));
            let ours = format!("sslmode=require sslrootcert='{}'", quoted(&path));
            let list = if before { format!("{ours} {plain}") } else { format!("{plain} {ours}") };
            let taken = take(&list).expect("parameters");
            prop_assert_eq!(taken.sslmode.as_deref(), Some("require"));
            prop_assert_eq!(taken.sslrootcert.as_deref(), Some(&path[..]));
            let config: tokio_postgres::Config = taken.rest.parse().expect("the rest");
            prop_assert_eq!(config.get_password(), Some(password.as_bytes()));
            prop_assert_eq!((config.get_user(), config.get_dbname()), (Some("u"), Some("d")));
        }

        #[test]
        fn a_path_survives_in_a_url(path in "/[a-z'\\\\ =&%+?#ñ]{1,12}") {
            let url = format!("postgres://u@h/d?sslrootcert={}&connect_timeout=3", utf8_percent_encode(&path, RESERVED));
            let taken = take(&url).expect("parameters");
            prop_assert_eq!(taken.sslrootcert.as_deref(), Some(&path[..]));
            prop_assert_eq!(&taken.rest[..], "postgres://u@h/d?connect_timeout=3");
        }

        #[test]
        fn any_text_is_parsed_or_refused_without_a_panic(text in ".{0,60}") {
            let _ = Address::parse(&text);
            let _ = Address::parse(&format!("host={text}"));
        }
    }
}
