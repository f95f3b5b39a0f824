//! The cryptography of TLS, for the clients that webhooks and traces go out by.

/// Chooses it for the whole process, which every such client needs before it is made. Only the first call counts, and all
/// are the same.
pub fn make_ready() {
    let _chosen = rustls::crypto::ring::default_provider().install_default();
}
