//! Claims, volumes and mounts.

use serde_json::{Value, json};

use super::finding::{Finding, Fix, Thing};
use super::pod::{maker, standing};
use super::world::Known;
use super::{Cx, GRACE, brief, condition, few, is_going, name, namespace, pod, reference};
use crate::kind::field::{items, scalar, text, time};
use crate::text::parse_quantity;

/// The annotation that makes a class the default one.
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// The names of the claims a pod uses, those made for it included.
pub(super) fn claims_of(pod: &Value) -> Vec<String> {
    items(&pod["spec"]["volumes"])
        .iter()
        .filter_map(|volume| {
            let claim = volume["persistentVolumeClaim"]["claimName"].as_str().map(str::to_owned);
            let ephemeral = volume["ephemeral"].is_object();
            claim.or_else(|| ephemeral.then(|| format!("{}-{}", name(pod), text(&volume["name"]))))
        })
        .collect()
}

/// The pods that use a claim and have not ended.
fn users<'a>(cx: Cx<'a>, claim: &'a Value) -> Vec<&'a Value> {
    cx.world
        .within("", "Pod", namespace(claim))
        .filter(|pod| claims_of(pod).iter().any(|used| used == name(claim)))
        .collect()
}

/// What is wrong with a claim by itself.
pub(super) fn claim(cx: Cx<'_>, claim: &Value) -> Vec<Finding> {
    examine(cx, claim, false)
}

/// What is wrong with a claim that a pod waits for.
pub(super) fn claim_in_use(cx: Cx<'_>, claim: &Value) -> Vec<Finding> {
    examine(cx, claim, true)
}

fn examine(cx: Cx<'_>, claim: &Value, wanted: bool) -> Vec<Finding> {
    if is_going(claim) {
        return Vec::new();
    }
    let finding = match text(&claim["status"]["phase"]) {
        "Lost" => Some(
            Finding::critical(
                "pvc.lost",
                claim,
                format!(
                    "The volume behind this claim, {}, was deleted.",
                    text(&claim["spec"]["volumeName"])
                ),
            )
            .read("spec.volumeName", text(&claim["spec"]["volumeName"]))
            .advise("bring the volume back, or make a new claim", ""),
        ),
        "Pending" if cx.aged(claim, GRACE) || wanted => pending(cx, claim),
        "Bound" => resizing(cx, claim),
        _ => None,
    };
    let since = time(&claim["metadata"]["creationTimestamp"]);
    finding
        .map(|finding| {
            if finding.since.is_none() {
                finding.since(since)
            } else {
                finding
            }
        })
        .into_iter()
        .collect()
}

fn pending(cx: Cx<'_>, claim: &Value) -> Option<Finding> {
    let failed = cx.world.newest(claim, &["ProvisioningFailed"]);
    let classes_known = cx.world.knows("storage.k8s.io", "StorageClass", "");
    let Some(class_name) = claim["spec"]["storageClassName"].as_str() else {
        let has_default = cx
            .world
            .all("storage.k8s.io", "StorageClass")
            .iter()
            .any(|class| class["metadata"]["annotations"][DEFAULT_CLASS] == "true");
        if !classes_known || has_default {
            return None;
        }
        let first = cx.world.all("storage.k8s.io", "StorageClass").first();
        let finding = Finding::critical(
            "pvc.noclass",
            claim,
            "The claim names no storage class, and the cluster has no default one.",
        )
        .read("spec.storageClassName", "not set");
        return Some(match first {
            Some(class) => finding
                .advise(
                    format!("make {} the default class", name(class)),
                    format!("kubectl annotate storageclass {} {DEFAULT_CLASS}=true", name(class)),
                )
                .by(Fix::Merge {
                    target: Thing::of(class),
                    subresource: None,
                    patch: json!({"metadata": {"annotations": {DEFAULT_CLASS: "true"}}}),
                }),
            None => finding.advise("make a volume for it by hand, or a storage class", ""),
        });
    };
    if class_name.is_empty() {
        return unmatched(cx, claim);
    }
    let class = match cx.world.get("storage.k8s.io", "StorageClass", "", class_name) {
        Known::There(class) => class,
        Known::Absent => {
            let known = few(cx.world.all("storage.k8s.io", "StorageClass").iter().map(name));
            let offer = if known.is_empty() {
                String::new()
            } else {
                format!("; there is {known}")
            };
            let sentence = format!("Storage class {class_name} does not exist{offer}.");
            let me = Thing::of(claim);
            return Some(
                Finding::critical("pvc.classmissing", claim, sentence)
                    .read("spec.storageClassName", class_name)
                    .advise(
                        "make the claim anew with a class that exists",
                        format!("kubectl delete {}{}", me.argument(), me.flag()),
                    )
                    .by(Fix::Delete(me)),
            );
        }
        Known::Unread => return None,
    };
    let provisioner = text(&class["provisioner"]);
    if provisioner == "kubernetes.io/no-provisioner" {
        return unmatched(cx, claim);
    }
    if class["volumeBindingMode"] == "WaitForFirstConsumer"
        && claim["metadata"]["annotations"]["volume.kubernetes.io/selected-node"].is_null()
    {
        if users(cx, claim).iter().any(|pod| !is_going(pod)) {
            return None;
        }
        let sentence = format!("The claim waits for its first pod: the class {class_name} makes volumes only then.");
        return Some(Finding::note("pvc.wffc", claim, sentence).read_in(
            Thing::of(class),
            "volumeBindingMode",
            "WaitForFirstConsumer",
        ));
    }
    if let Some(event) = failed {
        let sentence = format!("The provisioner {provisioner} refuses: {}", brief(&event.message));
        return Some(
            Finding::critical("pvc.provision", claim, sentence)
                .since(event.last)
                .read("event ProvisioningFailed", event.message.as_str()),
        );
    }
    if !cx.aged(claim, 3 * GRACE) {
        return None;
    }
    let event = cx.world.newest(claim, &["ExternalProvisioning"]);
    let sentence = format!("Nobody makes a volume for this claim: the provisioner {provisioner} does not answer.");
    let finding =
        Finding::critical("pvc.nodriver", claim, sentence).read_in(Thing::of(class), "provisioner", provisioner);
    Some(match event {
        Some(event) => finding.read("event ExternalProvisioning", event.message.as_str()),
        None => finding,
    })
}

/// No volume fits a claim for which none is made.
fn unmatched(cx: Cx<'_>, claim: &Value) -> Option<Finding> {
    if !cx.world.knows("", "PersistentVolume", "") {
        return None;
    }
    let class = text(&claim["spec"]["storageClassName"]);
    let wanted = scalar(&claim["spec"]["resources"]["requests"]["storage"]);
    let wanted_amount = parse_quantity(&wanted).unwrap_or_default();
    let modes = items(&claim["spec"]["accessModes"]);
    let mut nearest: Option<(usize, &Value, String)> = None;
    for volume in cx.world.all("", "PersistentVolume") {
        let mut misses = Vec::new();
        if volume["status"]["phase"] != "Available" {
            misses.push(format!("is {}", text(&volume["status"]["phase"])));
        }
        let has = scalar(&volume["spec"]["capacity"]["storage"]);
        if parse_quantity(&has).unwrap_or_default() < wanted_amount {
            misses.push(format!("has {has}, the claim asks for {wanted}"));
        }
        let offered = items(&volume["spec"]["accessModes"]);
        if !modes.iter().all(|mode| offered.contains(mode)) {
            misses.push(format!(
                "offers {}, the claim asks for {}",
                few(offered.iter().map(text)),
                few(modes.iter().map(text))
            ));
        }
        if text(&volume["spec"]["storageClassName"]) != class {
            misses.push(format!(
                "is of class {:?}, the claim of {class:?}",
                text(&volume["spec"]["storageClassName"])
            ));
        }
        if misses.is_empty() {
            // It will be bound.
            return None;
        }
        if nearest.as_ref().is_none_or(|(count, ..)| misses.len() < *count) {
            nearest = Some((misses.len(), volume, misses.remove(0)));
        }
    }
    let sentence = match &nearest {
        Some((_, volume, miss)) => format!(
            "No volume fits this claim; {} comes nearest, but it {miss}.",
            name(volume)
        ),
        None => "No volume fits this claim: there is none, and its class makes none.".to_owned(),
    };
    let finding = Finding::critical("pvc.nopv", claim, sentence)
        .read("spec.resources.requests.storage", wanted)
        .advise("make a volume that fits, or correct the claim", "");
    Some(match nearest {
        Some((_, volume, miss)) => finding.read_in(Thing::of(volume), "spec", miss),
        None => finding,
    })
}

fn resizing(cx: Cx<'_>, claim: &Value) -> Option<Finding> {
    const BAD: &[(&str, i64, &str)] = &[
        (
            "FileSystemResizePending",
            0,
            "The disk has grown; the file system grows when the pod starts again.",
        ),
        ("ControllerResizeError", 0, "The volume cannot grow."),
        ("NodeResizeError", 0, "The file system on the volume cannot grow."),
        ("ModifyVolumeError", 0, "The volume cannot be changed."),
        ("Resizing", 600, "The volume has been growing for long."),
    ];
    BAD.iter().find_map(|(kind, patience, sentence)| {
        let condition = condition(claim, kind);
        let since = time(&condition["lastTransitionTime"]);
        (condition["status"] == "True" && (*patience == 0 || cx.older(since, *patience))).then(|| {
            Finding::warning("pvc.resize", claim, *sentence)
                .since(since)
                .read(super::condition_path(kind), text(&condition["message"]))
        })
    })
}

/// What is wrong with a volume.
pub(super) fn volume(cx: Cx<'_>, volume: &Value) -> Vec<Finding> {
    let keeps = volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain";
    let claim = &volume["spec"]["claimRef"];
    let claim = format!("{}/{}", text(&claim["namespace"]), text(&claim["name"]));
    let me = Thing::of(volume);
    let finding = match text(&volume["status"]["phase"]) {
        "Failed" => {
            let message = text(&volume["status"]["message"]);
            Finding::warning(
                "pv.released",
                volume,
                format!("The volume could not be deleted: {}", brief(message)),
            )
            .read("status.message", message)
        }
        "Released" if keeps => {
            let sentence = format!("The volume is kept (Retain) with the data of the deleted claim {claim}.");
            Finding::note("pv.released", volume, sentence)
                .read("spec.claimRef", claim)
                .advise(
                    "free it for another claim; the data stays on it",
                    format!(
                        "kubectl patch pv {} --type=merge -p '{{\"spec\":{{\"claimRef\":null}}}}'",
                        me.name
                    ),
                )
                .by(Fix::Merge {
                    target: me,
                    subresource: None,
                    patch: json!({"spec": {"claimRef": null}}),
                })
        }
        "Released" => match cx.world.newest(volume, &["VolumeFailedDelete"]) {
            Some(event) => Finding::warning(
                "pv.released",
                volume,
                "The volume is no longer used and cannot be deleted.",
            )
            .since(event.last)
            .read("event VolumeFailedDelete", event.message.as_str()),
            None => return Vec::new(),
        },
        _ => return Vec::new(),
    };
    vec![finding]
}

/// A volume that could not be attached or mounted.
pub(super) fn mount(cx: Cx<'_>, pod: &Value) -> Option<Finding> {
    if let Some(finding) = reference::unmounted(cx, pod) {
        return Some(finding);
    }
    if let Some(event) = standing(cx, pod, &["FailedAttachVolume"]) {
        let several = event.message.contains("Multi-Attach");
        let sentence = if several {
            "A volume is still attached to another node, for another pod.".to_owned()
        } else {
            format!("A volume cannot be attached to the node: {}", brief(&event.message))
        };
        let finding = Finding::critical(if several { "vol.multiattach" } else { "vol.attach" }, pod, sentence)
            .since(event.last)
            .read("event FailedAttachVolume", event.message.as_str());
        return Some(if several {
            finding.edit(
                &maker(cx, pod),
                "use the strategy Recreate, so that the old pod goes first",
            )
        } else {
            finding
        });
    }
    // The sum of what is unmounted is told again and again; what failed in particular is better.
    let event = cx
        .world
        .events(pod)
        .iter()
        .filter(|event| event.reason == "FailedMount")
        .max_by_key(|event| (!event.message.starts_with("Unable to attach or mount"), event.last))?;
    pod::standing(cx, pod, &["FailedMount"])?;
    if event.count < 2 && !cx.aged(pod, GRACE) {
        return None;
    }
    let message = &event.message;
    let volume = message
        .split("volume \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or_default();
    let low = message.to_lowercase();
    let why = if low.contains("not found in the list of registered csi drivers") {
        "its CSI driver does not run on this node".to_owned()
    } else if low.contains("access denied by server") {
        "the NFS server refuses".to_owned()
    } else if low.contains("hostpath type check failed") {
        "the path on the node is not of the type asked for".to_owned()
    } else {
        brief(message.split(" : ").last().unwrap_or(message))
    };
    let sentence = format!("Volume {volume} cannot be mounted: {why}.").replace("..", ".");
    Some(
        Finding::critical("vol.mount", pod, sentence)
            .since(event.last)
            .read("event FailedMount", message.as_str())
            .edit(&maker(cx, pod), "correct the volume in the template"),
    )
}
