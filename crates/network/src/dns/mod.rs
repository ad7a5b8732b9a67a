//! The cluster's DNS: names of services and pods, answered from the view.
//!
//! | name | stands for |
//! |---|---|
//! | `web.shop.svc.cluster.local` | the service's address; of a headless service, its pods |
//! | `db-0.db.shop.svc.cluster.local` | one pod of a service |
//! | `_http._tcp.web.shop.svc.cluster.local` | a named port, with its number (SRV) |
//! | `10-244-0-7.shop.pod.cluster.local` | that address |
//! | `7.0.244.10.in-addr.arpa` | the name of that address (PTR) |
//!
//! Other names are refused: the network has no way out to whoever knows them.

mod answer;
mod message;
pub(crate) mod serve;

#[cfg(test)]
mod tests;
