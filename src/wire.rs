//! What travels on a link: frames, codes, generated protobuf and the rules of a stream. No I/O, no clock, no QUIC, no Kubernetes client.
