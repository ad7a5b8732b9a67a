//! `fortune`: a saying for every occasion.

const SAYINGS: &[&str] = &[
    "A pod is born, a pod dies; the ReplicaSet does not weep.",
    "Before you ask why it is Pending, ask what it asked for.",
    "Every label you leave off today is a selector you cannot write tomorrow.",
    "He who deletes the pod and not the Deployment will meet the pod again.",
    "It is not DNS. It cannot be DNS. It was DNS.",
    "Limits are promises that somebody else keeps for you.",
    "Many containers make light work; one container makes good logs.",
    "Readiness is telling the truth about oneself.",
    "The cattle have numbers, the pets have names, and both have an owner.",
    "The controller who reconciles without haste converges without regret.",
    "The best back-off is the one that was not needed.",
    "There is no cloud where there is no kubeconfig.",
    "What is declared will come to pass, eventually.",
    "When the probe fails thrice, the kubelet forgives by restarting.",
    "Who mounts a Secret should not echo it.",
    "You cannot step twice into the same resourceVersion.",
];

pub(crate) fn main(_: &[String]) -> i32 {
    let index = usize::try_from(crate::random::next() % SAYINGS.len() as u64).unwrap_or(0);
    crate::say::out(format!("{}\n", SAYINGS[index]));
    0
}
