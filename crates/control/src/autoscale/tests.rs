use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::json;

use super::behavior::{Decision, decide};
use super::replicas::{Proposal, Sample, Target, Tolerance, propose};
use super::*;

const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);
const TOLERANCE: Tolerance = Tolerance { down: 0.1, up: 0.1 };

/// A pod that asks for half a CPU.
fn pod(name: &str, phase: &str, ready: bool) -> Arc<Pod> {
    let long_ago = NOW - SignedDuration::from_hours(1);
    let pod = json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "500m"}}}]},
        "status": {
            "phase": phase, "startTime": long_ago.to_string(),
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": long_ago.to_string()}],
        },
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn samples(values: &[i64]) -> BTreeMap<String, Sample> {
    let sample = |value: i64| Sample {
        value,
        at: NOW,
        window: SignedDuration::from_secs(30),
    };
    values
        .iter()
        .enumerate()
        .map(|(i, value)| (format!("p{i}"), sample(*value)))
        .collect()
}

const HALF: Target<'_> = Target::Utilization {
    percent: 50,
    resource: "cpu",
    container: None,
};

#[test]
fn replicas_follow_the_ratio_of_usage_and_target() {
    let running = |count: usize| {
        (0..count)
            .map(|i| pod(&format!("p{i}"), "Running", true))
            .collect::<Vec<_>>()
    };
    for (pods, used, replicas, utilization) in [
        (running(3), vec![500, 500, 500], 6, 100),
        (running(3), vec![250, 250, 270], 3, 51),
        (running(4), vec![50, 50, 50, 50], 1, 10),
        // One without a sample counts as idle when there should be more, and as busy when there should be less.
        (running(3), vec![500, 500], 4, 100),
        (running(3), vec![100, 100], 3, 20),
        // One that is not ready counts as idle, too.
        (
            vec![pod("p0", "Running", true), pod("p1", "Pending", false)],
            vec![500],
            2,
            100,
        ),
        // One that failed does not count at all.
        (
            vec![pod("p0", "Running", true), pod("p1", "Failed", false)],
            vec![500, 500],
            2,
            100,
        ),
    ] {
        let current = pods.len() as i32;
        let found = propose(&pods, samples(&used), &HALF, true, current, TOLERANCE, NOW).unwrap();
        assert_eq!(
            (found.replicas, found.utilization),
            (replicas, Some(utilization)),
            "{used:?}"
        );
    }
    let found = propose(
        &running(2),
        samples(&[300, 500]),
        &Target::Average(100),
        false,
        2,
        TOLERANCE,
        NOW,
    );
    assert_eq!(
        found,
        Ok(Proposal {
            replicas: 8,
            average: 400,
            utilization: None
        })
    );
}

#[test]
fn what_cannot_be_computed_says_why() {
    let mut bare = pod("p0", "Running", true).as_ref().clone();
    bare.spec.as_mut().unwrap().containers[0].resources = None;
    let why =
        |pods: &[Arc<Pod>], used: &[i64]| propose(pods, samples(used), &HALF, true, 1, TOLERANCE, NOW).unwrap_err();
    assert_eq!(
        why(&[], &[1]),
        "no pods returned by selector while calculating replica count"
    );
    assert_eq!(
        why(&[Arc::new(bare)], &[1]),
        "missing request for cpu in container c of Pod p0"
    );
    assert_eq!(
        why(&[pod("p0", "Pending", false)], &[1]),
        "did not receive metrics for targeted pods (pods might be unready)"
    );
}

fn autoscaler(behavior: Value) -> HorizontalPodAutoscaler {
    serde_json::from_value(json!({
        "metadata": {"name": "h", "namespace": "default"},
        "spec": {"minReplicas": 1, "maxReplicas": 50, "behavior": behavior, "scaleTargetRef": {"kind": "Deployment", "name": "web"}},
    }))
    .unwrap()
}

/// Follows recommendations, one every 15 seconds.
fn follow(behavior: Value, mut current: i32, wishes: &[i32]) -> Vec<(i32, &'static str)> {
    let (autoscaler, mut memory, mut now) = (autoscaler(behavior), Memory::default(), NOW);
    memory.recommendations.push((now, current));
    let mut path = Vec::new();
    for wish in wishes {
        let Decision {
            replicas, limit, able, ..
        } = decide(&autoscaler, &mut memory, current, *wish, now);
        let word = if able.0 == "ReadyForNewScale" { limit.0 } else { able.0 };
        path.push((replicas, word));
        if replicas != current {
            memory.changes.push((now, replicas - current));
        }
        current = replicas;
        now += SignedDuration::from_secs(15);
    }
    path
}

#[test]
fn growth_is_limited_and_shrinking_waits() {
    assert_eq!(
        follow(Value::Null, 3, &[40, 40, 40]),
        [(6, "ScaleUpLimit"), (12, "ScaleUpLimit"), (24, "ScaleUpLimit")]
    );
    assert_eq!(follow(Value::Null, 30, &[80]), [(50, "TooManyReplicas")]);
    // The highest recommendation of five minutes rules.
    let wishes = [vec![10], vec![2; 21]].concat();
    let path = follow(Value::Null, 10, &wishes);
    assert!(
        path[1..20].iter().all(|step| *step == (10, "ScaleDownStabilized")),
        "{path:?}"
    );
    assert_eq!(path[21], (2, "DesiredWithinRange"));
}

#[test]
fn a_behaviour_sets_the_rate_and_the_window_of_each_direction() {
    let slow = json!({
        "scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}], "stabilizationWindowSeconds": 0},
        "scaleDown": {"policies": [{"type": "Percent", "value": 50, "periodSeconds": 15}], "stabilizationWindowSeconds": 0},
    });
    assert_eq!(
        follow(slow.clone(), 4, &[20, 20, 20, 20, 20]),
        [
            (6, "ScaleUpLimit"),
            (6, "ScaleUpLimit"),
            (6, "ScaleUpLimit"),
            (6, "ScaleUpLimit"),
            (8, "ScaleUpLimit")
        ]
    );
    assert_eq!(
        follow(slow, 16, &[1, 1]),
        [(8, "ScaleDownLimit"), (4, "ScaleDownLimit")]
    );
    let never = json!({"scaleDown": {"selectPolicy": "Disabled", "stabilizationWindowSeconds": 0}});
    assert_eq!(follow(never, 5, &[1]), [(5, "ScaleDownLimit")]);
}
