//! Who a peer is: ids, certificate authorities, issuing, strict verifiers, tokens and keys. Knows no HTTP, no QUIC and no store.
