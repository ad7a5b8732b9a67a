//! Who asks (authentication) and whether they may (authorization).

pub(crate) mod aggregation;
pub(crate) mod authn;
pub(crate) mod authorizer;
pub(crate) mod defaults;
pub(crate) mod escalate;
pub(crate) mod node;
pub(crate) mod rbac;
pub(crate) mod review;
pub(crate) mod token;
pub(crate) mod x509;

pub(crate) use knarr_resource::admission::UserInfo;

/// The name of a request without credentials.
pub(crate) const ANONYMOUS: &str = "system:anonymous";
/// Members may do everything, whatever the roles in the store say. This is how a cluster is set up and rescued.
pub(crate) const MASTERS: &str = "system:masters";
