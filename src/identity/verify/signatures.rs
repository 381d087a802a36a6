//! What every verifier says about handshake signatures, whoever the peer is: TLS 1.3 by our provider's algorithms, and nothing else.

/// The three methods that `ClientCertVerifier` and `ServerCertVerifier` have in common, to be written into an implementation of either.
/// A macro, for rustls has no trait of which they are the methods.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _cert: &rustls::pki_types::CertificateDer<'_>,
            _dss: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            // Never negotiated where these verifiers are used; if it were, this ends the handshake.
            Err(rustls::Error::General("tls 1.2 is not spoken here".into()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &rustls::pki_types::CertificateDer<'_>,
            dss: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            let algorithms = &$crate::identity::tls::provider().signature_verification_algorithms;
            rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            $crate::identity::tls::provider().signature_verification_algorithms.supported_schemes()
        }
    };
}
