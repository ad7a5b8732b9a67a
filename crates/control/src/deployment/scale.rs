//! How many replicas each ReplicaSet of a rollout gets.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::revision;
use crate::amount;

/// How old pods give way to new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// All old pods end before the first new one starts.
    Recreate,
    /// At most `surge` pods too many and `unavailable` too few at any time.
    Rolling { surge: i32, unavailable: i32 },
}

impl Strategy {
    pub(crate) fn of(deployment: &Deployment) -> Self {
        let strategy = deployment.spec.strategy.as_ref();
        if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate") {
            return Self::Recreate;
        }
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let total = replicas(deployment);
        let quarter = IntOrString::String("25%".into());
        // Percentages of the surge round up, of the unavailable ones down; both zero would never move.
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref()).map_or_else(
            || amount::rounded_up(&quarter, total),
            |surge| amount::rounded_up(surge, total),
        );
        let mut unavailable = rolling
            .and_then(|rolling| rolling.max_unavailable.as_ref())
            .map_or_else(
                || amount::rounded_down(&quarter, total),
                |most| amount::rounded_down(most, total),
            );
        if surge == 0 && unavailable == 0 {
            unavailable = 1;
        }
        Self::Rolling { surge, unavailable }
    }

    pub(crate) fn surge(self) -> i32 {
        match self {
            Self::Recreate => 0,
            Self::Rolling { surge, .. } => surge,
        }
    }

    /// How many of `total` may be missing.
    pub(crate) fn unavailable(self, total: i32) -> i32 {
        match self {
            Self::Recreate => 0,
            Self::Rolling { unavailable, .. } => unavailable.min(total),
        }
    }
}

/// Wanted replicas of a deployment.
pub(crate) fn replicas(deployment: &Deployment) -> i32 {
    deployment.spec.replicas.unwrap_or(1)
}

/// Wanted replicas of a set.
pub(crate) fn size(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

/// Available replicas of a set.
pub(crate) fn available(set: &ReplicaSet) -> i32 {
    set.status
        .as_ref()
        .and_then(|status| status.available_replicas)
        .unwrap_or(0)
}

/// The size of the new set: as much as the surge allows on top of what is there.
pub(crate) fn new_size(deployment: &Deployment, current: i32, all: i32) -> i32 {
    let wanted = replicas(deployment);
    match Strategy::of(deployment) {
        Strategy::Recreate => wanted,
        Strategy::Rolling { surge, .. } => {
            let room = wanted.saturating_add(surge) - all;
            if room <= 0 {
                current
            } else {
                current + room.min(wanted - current).max(0)
            }
        }
    }
}

/// This set's share of `to_add` replicas, of which `added` went to others: in proportion to its size, so that scaling
/// in the middle of a rollout keeps the mix of old and new.
pub(crate) fn share(set: &ReplicaSet, deployment: &Deployment, to_add: i32, added: i32) -> i32 {
    let size = size(set);
    if size == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let wanted = replicas(deployment);
    let fraction = if wanted == 0 {
        -size
    } else {
        let maximum = wanted.saturating_add(Strategy::of(deployment).surge());
        let recorded = revision::number(set.annotations(), revision::MAXIMUM);
        let observed = deployment
            .status
            .as_ref()
            .and_then(|status| status.replicas)
            .unwrap_or(0);
        let before = recorded.unwrap_or_else(|| observed.into());
        if before <= 0 {
            0
        } else {
            let scaled = f64::from(size) * f64::from(maximum) / before as f64;
            scaled.round() as i32 - size
        }
    };
    let left = to_add - added;
    if to_add > 0 {
        fraction.min(left)
    } else {
        fraction.max(left)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::{DeploymentStrategy, RollingUpdateDeployment};

    use super::*;

    #[test]
    fn percentages_round_in_favour_of_progress_and_never_stall() {
        let text = |text: &str| IntOrString::String(text.into());
        let cases = [
            (10, None, None, 3, 2),
            (1, Some(text("25%")), Some(text("25%")), 1, 0),
            (3, Some(IntOrString::Int(0)), Some(text("25%")), 0, 1),
            (4, Some(IntOrString::Int(2)), Some(IntOrString::Int(0)), 2, 0),
            (10, Some(text("100%")), Some(text("nonsense")), 10, 0),
        ];
        for (total, max_surge, max_unavailable, surge, unavailable) in cases {
            let mut deployment = Deployment::default();
            deployment.spec.replicas = Some(total);
            deployment.spec.strategy = Some(DeploymentStrategy {
                type_: Some("RollingUpdate".into()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge,
                    max_unavailable,
                }),
            });
            assert_eq!(
                Strategy::of(&deployment),
                Strategy::Rolling { surge, unavailable },
                "of {total}"
            );
        }
    }
}
