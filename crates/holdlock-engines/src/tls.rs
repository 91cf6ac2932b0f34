//! TLS, by rustls: which certificates are trusted, and how strictly.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{self, CryptoProvider};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::Error as EngineError;
use crate::stream::{Stream, Wire};
use crate::sys::fork::PerProcess;
use crate::url::wrong;

/// What the user wants of TLS.
#[derive(Clone, Debug)]
pub(crate) struct TlsSettings {
    pub(crate) check: Check,
    /// The certificates to trust; the system's if there is none.
    ca: Option<PathBuf>,
    /// The certificate and the key of the client.
    client: Option<(PathBuf, PathBuf)>,
}

/// What is checked of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    NoTls,
    /// TLS if the server has it, or always. Protects against those who only listen.
    Nothing {
        required: bool,
    },
    Chain,
    ChainAndName,
}

impl TlsSettings {
    /// As the options `ca`, `cert` and `key_file` have it. `ca=system` is the default.
    pub(crate) fn new(
        check: Check,
        ca: Option<PathBuf>,
        cert: Option<PathBuf>,
        key: Option<PathBuf>,
    ) -> Result<TlsSettings, EngineError> {
        if cert.is_some() != key.is_some() {
            return Err(wrong(
                "cert= and key_file= belong together",
                "give both, or neither",
            ));
        }
        Ok(TlsSettings {
            check,
            ca: ca.filter(|ca| ca.as_os_str() != "system"),
            client: cert.zip(key),
        })
    }

    /// Reads the files.
    fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let provider = Arc::new(crypto::ring::default_provider());
        let chain = match self.check {
            Check::NoTls | Check::Nothing { .. } => None,
            Check::Chain | Check::ChainAndName => {
                let roots = self.roots()?;
                let verifier =
                    WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
                Some(verifier.map_err(|error| error.to_string())?)
            }
        };
        let verifier = Verifier {
            chain,
            checks_name: self.check == Check::ChainAndName,
            provider: provider.clone(),
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match &self.client {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let read = |error| format!("{}: {error}", key.display());
                let key = PrivateKeyDer::from_pem_file(key).map_err(read)?;
                config
                    .with_client_auth_cert(certificates(certificate)?, key)
                    .map_err(|error| error.to_string())?
            }
        };
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, String> {
        /// There are many, and a program may open many locks.
        static SYSTEM: PerProcess<Arc<RootCertStore>> = PerProcess::new();
        match (&self.ca, SYSTEM.get()) {
            (Some(ca), _) => store(certificates(ca)?),
            (None, Some(known)) => Ok(known.clone()),
            (None, None) => {
                let found = store(rustls_native_certs::load_native_certs().certs)?;
                Ok(SYSTEM.set(found).clone())
            }
        }
    }
}

fn store(certificates: Vec<CertificateDer<'static>>) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    match roots.add_parsable_certificates(certificates) {
        (0, _) => Err("there is no certificate to check the server by; give ca=FILE".to_owned()),
        _ => Ok(Arc::new(roots)),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |error| format!("{}: {error}", path.display());
    let found = CertificateDer::pem_file_iter(path).map_err(failed)?;
    found.collect::<Result<_, _>>().map_err(failed)
}

/// What TLS needs, for all connections of a lock.
pub(crate) struct Certificates {
    config: Arc<ClientConfig>,
    checks_name: bool,
}

impl Certificates {
    /// Reads the files. The error names the one that is wrong. The helper thread must not call
    /// this: a file can be a pipe, or on a server that is silent.
    pub(crate) fn read(settings: &TlsSettings) -> Result<Certificates, EngineError> {
        let wrong = |why: String| {
            wrong(
                &format!("TLS cannot be set up: {why}"),
                "check ca=, cert= and key_file=, and whether this user may read the files",
            )
        };
        Ok(Certificates {
            config: settings.config().map_err(wrong)?,
            checks_name: settings.check == Check::ChainAndName,
        })
    }

    /// TLS with the server of this name or address.
    pub(crate) fn tls(&self, server: &str) -> Result<Tls, String> {
        let server = match ServerName::try_from(server.to_owned()) {
            Ok(name) => name,
            Err(_) if self.checks_name => {
                return Err(format!("{server} is no name that a certificate can have"));
            }
            // Nothing is compared with it. The server is not told an address.
            Err(_) => ServerName::from(IpAddr::from(Ipv4Addr::UNSPECIFIED)),
        };
        Ok(Tls {
            config: self.config.clone(),
            server,
        })
    }
}

/// Checks as much as the user has asked for.
#[derive(Debug)]
struct Verifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    checks_name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        // The name is what rustls looks at last: the chain is good when only the name is wrong.
        match chain.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.checks_name => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let known = &self.provider.signature_verification_algorithms;
        known.supported_schemes()
    }
}

/// A stream with TLS.
pub(crate) type Encrypted<S> = Wire<TlsStream<S>>;

/// TLS with one server.
#[derive(Clone)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    server: ServerName<'static>,
}

impl Tls {
    /// Shakes hands with the server. The caller limits the time.
    pub(crate) async fn encrypt<S: Stream + 'static>(self, stream: S) -> io::Result<Encrypted<S>> {
        let connector = TlsConnector::from(self.config);
        let stream = connector.connect(self.server, stream).await?;
        Ok(Wire(stream))
    }
}
