//! Certificates that are thrown away, and servers that show and demand them.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// Certificates for one test, in a folder.
pub struct Trust {
    folder: tempfile::TempDir,
    ca: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Trust {
    pub fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        let ca = rcgen::CertifiedIssuer::self_signed(params, key).expect("a root");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), ca.pem()).expect("writes");
        Self { folder, ca }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes `NAME.pem` and `NAME.key`.
    pub fn issue(&self, name: &str) {
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        params.extended_key_usages = vec![
            rcgen::ExtendedKeyUsagePurpose::ServerAuth,
            rcgen::ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.ca).expect("signs");
        std::fs::write(self.file(&format!("{name}.pem")), certificate.pem()).expect("writes");
        std::fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).expect("writes");
    }

    fn certificates(&self, name: &str) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(self.file(name))
            .expect("a file")
            .map(|certificate| certificate.expect("a certificate"))
            .collect()
    }

    /// What a server with the certificate of `name` does; `clients` says whether it wants one of them, too.
    pub fn acceptor(&self, name: &str, clients: Clients) -> TlsAcceptor {
        super::http::crypto();
        self.issue(name);
        let key = PrivateKeyDer::from_pem_file(self.file(&format!("{name}.key"))).expect("a key");
        let chain = self.certificates(&format!("{name}.pem"));
        let builder = match clients {
            Clients::Anybody => ServerConfig::builder().with_no_client_auth(),
            Clients::Known => {
                let mut roots = RootCertStore::empty();
                roots.add(self.certificates("ca.pem").remove(0)).expect("a root");
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
                    .build()
                    .expect("a verifier");
                ServerConfig::builder().with_client_cert_verifier(verifier)
            }
        };
        TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).expect("a server")))
    }
}

/// Whom a server lets in.
#[derive(Debug, Clone, Copy)]
pub enum Clients {
    Anybody,
    Known,
}
