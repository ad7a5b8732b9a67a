//! What the clients of the API server share, on top of [`kube::Client`]: a store per kind that an informer keeps true, and the
//! recorder of events. Upstream's client-go has them as `tools/cache` and `tools/record`.

pub mod event;
pub mod key;
pub mod reflector;
pub mod store;
