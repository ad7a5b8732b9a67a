#!/usr/bin/env python3
"""Writes src/table/types.txt and src/openapi/roots.rs: run it when k8s-openapi or k8s-pb moves to a new version.

    cargo info k8s-pb@0.9 && cargo fetch      # in any scratch project that depends on both
    crates/schema/generate.py                 # reads $CARGO_HOME/registry/src

Two sources are joined. k8s-openapi (generated from Kubernetes' swagger) has the JSON names and types. k8s-pb (generated
from Kubernetes' .proto files) has the protobuf numbers and, in its comments, the markers that Kubernetes' own
generators read: +listType, +listMapKey, +mapType, +structType, +patchStrategy, +patchMergeKey.

Format of types.txt, one line each, words separated by blanks:

    :type NAME [atomic]                the name as in OpenAPI, without "io.k8s."
    :kind GROUP VERSION KIND           of the type above; "-" for the core group
    JSON-NAME TAG KIND [ATTRIBUTE...]  a field of the type above

TAG is the protobuf number (0: not in protobuf). "2.5" is number 5 of the message in number 2, which JSON does not show:
Go embeds that struct. KIND is one letter, or @NAME for another type, after "[]" for a list or "{}" for a map of strings:
    s string  i int32  l int64  d float64  b bool  y bytes (base64)  q Quantity  t Time  u MicroTime  x IntOrString
    r any JSON  w list of strings boxed in a message  A O S JSONSchemaProps or: array, bool, string array
ATTRIBUTES:
    !           required
    zero        a plain Go value with omitempty: 0 and false are not written
    ptr         a Go pointer to a string: "" is a value
    set, map=K,K2, atomic   the list type (or map/struct type) of server-side apply; without: lists are atomic, maps are not
    merge, merge=K          patchStrategy merge: of scalars, or by the key K
    retain                  patchStrategy retainKeys
    replace                 patchStrategy replace
    go=T                    the Go type, where it is not the plain one
"""

import os, re, sys, glob

CARGO = os.environ.get("CARGO_HOME", os.path.expanduser("~/.cargo"))
HERE = os.path.dirname(os.path.abspath(__file__))


def newest(pattern):
    found = sorted(glob.glob(f"{CARGO}/registry/src/*/{pattern}"))
    if not found:
        sys.exit(f"{pattern} is not in the registry's sources: fetch it first")
    return found[-1]


OPENAPI = newest("k8s-openapi-0.29.*/src/v1_37")
PB = newest("k8s-pb-0.9.*/src")

# The stable versions of every group, and what they reach.
STABLE = {
    "admissionregistration": ["v1"], "apps": ["v1"], "authentication": ["v1"], "authorization": ["v1"],
    "autoscaling": ["v1", "v2"], "batch": ["v1"], "certificates": ["v1"], "coordination": ["v1"], "core": ["v1"],
    "discovery": ["v1"], "events": ["v1"], "flowcontrol": ["v1"], "networking": ["v1"], "node": ["v1"],
    "policy": ["v1"], "rbac": ["v1"], "resource": ["v1"], "scheduling": ["v1"], "storage": ["v1"],
}

LETTER = {
    "std::string::String": "s", "i32": "i", "i64": "l", "f64": "d", "bool": "b", "crate::ByteString": "y",
    "Quantity": "q", "Time": "t", "MicroTime": "u", "IntOrString": "x", "RawExtension": "r", "FieldsV1": "r", "JSON": "r",
    "JSONSchemaPropsOrArray": "A", "JSONSchemaPropsOrBool": "O", "JSONSchemaPropsOrStringArray": "S",
}

# What neither source knows: which optional fields are plain Go values, whose zero is not written (a pointer's is).
ZERO = set("""
ObjectMeta.generation DeploymentSpec.minReadySeconds DeploymentSpec.paused
ReplicaSetSpec.minReadySeconds DaemonSetSpec.minReadySeconds StatefulSetSpec.minReadySeconds
ReplicationControllerSpec.minReadySeconds
DeploymentStatus.observedGeneration DeploymentStatus.replicas DeploymentStatus.updatedReplicas DeploymentStatus.readyReplicas
DeploymentStatus.availableReplicas DeploymentStatus.unavailableReplicas ReplicaSetStatus.fullyLabeledReplicas
ReplicaSetStatus.readyReplicas ReplicaSetStatus.availableReplicas ReplicaSetStatus.observedGeneration
ReplicationControllerStatus.fullyLabeledReplicas ReplicationControllerStatus.readyReplicas
ReplicationControllerStatus.availableReplicas ReplicationControllerStatus.observedGeneration
DaemonSetStatus.observedGeneration DaemonSetStatus.updatedNumberScheduled DaemonSetStatus.numberAvailable
DaemonSetStatus.numberUnavailable StatefulSetStatus.observedGeneration StatefulSetStatus.readyReplicas
StatefulSetStatus.currentReplicas StatefulSetStatus.updatedReplicas StatefulSetStatus.availableReplicas
JobStatus.active JobStatus.succeeded JobStatus.failed ScaleSpec.replicas
PodSpec.hostNetwork PodSpec.hostPID PodSpec.hostIPC
Container.stdin Container.stdinOnce Container.tty EphemeralContainer.stdin EphemeralContainer.stdinOnce EphemeralContainer.tty
ContainerPort.hostPort Probe.initialDelaySeconds Probe.timeoutSeconds Probe.periodSeconds Probe.successThreshold
Probe.failureThreshold VolumeMount.readOnly
ServicePort.nodePort ServiceSpec.publishNotReadyAddresses ServiceSpec.healthCheckNodePort EndpointPort.port
NodeSpec.unschedulable ContainerStateTerminated.signal PodStatus.observedGeneration PodCondition.observedGeneration
AWSElasticBlockStoreVolumeSource.partition AWSElasticBlockStoreVolumeSource.readOnly
GCEPersistentDiskVolumeSource.partition GCEPersistentDiskVolumeSource.readOnly
AzureFileVolumeSource.readOnly AzureFilePersistentVolumeSource.readOnly CephFSVolumeSource.readOnly
CephFSPersistentVolumeSource.readOnly CinderVolumeSource.readOnly CinderPersistentVolumeSource.readOnly
CSIPersistentVolumeSource.readOnly FCVolumeSource.readOnly FlexVolumeSource.readOnly FlexPersistentVolumeSource.readOnly
GlusterfsVolumeSource.readOnly GlusterfsPersistentVolumeSource.readOnly ISCSIVolumeSource.readOnly
ISCSIVolumeSource.chapAuthDiscovery ISCSIVolumeSource.chapAuthSession ISCSIPersistentVolumeSource.readOnly
ISCSIPersistentVolumeSource.chapAuthDiscovery ISCSIPersistentVolumeSource.chapAuthSession NFSVolumeSource.readOnly
PersistentVolumeClaimVolumeSource.readOnly PortworxVolumeSource.readOnly QuobyteVolumeSource.readOnly
RBDVolumeSource.readOnly RBDPersistentVolumeSource.readOnly ScaleIOVolumeSource.readOnly
ScaleIOVolumeSource.sslEnabled ScaleIOPersistentVolumeSource.readOnly ScaleIOPersistentVolumeSource.sslEnabled
StorageOSVolumeSource.readOnly StorageOSPersistentVolumeSource.readOnly
Event.count EventSeries.count PriorityClass.globalDefault Condition.observedGeneration
PodDisruptionBudgetStatus.observedGeneration SubjectAccessReviewStatus.denied SubjectRulesReviewStatus.incomplete
TokenReviewStatus.authenticated APIServiceSpec.insecureSkipTLSVerify APIResource.namespaced Status.code
StatusDetails.retryAfterSeconds CustomResourceDefinitionSpec.preserveUnknownFields
CustomResourceDefinitionVersion.deprecated CustomResourceColumnDefinition.priority
JSONSchemaProps.exclusiveMaximum JSONSchemaProps.exclusiveMinimum JSONSchemaProps.uniqueItems JSONSchemaProps.nullable
JSONSchemaProps.x-kubernetes-embedded-resource JSONSchemaProps.x-kubernetes-int-or-string
HorizontalPodAutoscalerStatus.currentReplicas VolumeAttachmentStatus.attached
""".split())
# Every optional number in a status is a counter or a generation whose zero is not written, except these: pointers, and the
# counters of a disruption budget, which Go always writes.
STATUS_POINTERS = set("""
DaemonSetStatus.collisionCount DeploymentStatus.collisionCount DeploymentStatus.terminatingReplicas
ReplicaSetStatus.terminatingReplicas StatefulSetStatus.collisionCount JobStatus.ready JobStatus.terminating
ContainerStatus.started HorizontalPodAutoscalerStatus.observedGeneration
HorizontalPodAutoscalerStatus.currentCPUUtilizationPercentage
PodDisruptionBudgetStatus.currentHealthy PodDisruptionBudgetStatus.desiredHealthy
PodDisruptionBudgetStatus.disruptionsAllowed PodDisruptionBudgetStatus.expectedPods
""".split())

# Optional strings that are pointers in Go: an empty one says something.
POINTER = set("""
PersistentVolumeClaimSpec.storageClassName PersistentVolumeClaimSpec.volumeAttributesClassName
PersistentVolumeSpec.volumeAttributesClassName GRPCAction.service discovery.v1.EndpointPort.name
discovery.v1.EndpointPort.appProtocol ServicePort.appProtocol IngressSpec.ingressClassName
TypedLocalObjectReference.apiGroup TypedObjectReference.apiGroup LeaseSpec.holderIdentity
PodSpec.runtimeClassName JobSpec.managedBy CronJobSpec.timeZone
""".split())

# Named types of Go, as they appear in its error messages.
GO = {
    "Container.imagePullPolicy": "v1.PullPolicy", "EphemeralContainer.imagePullPolicy": "v1.PullPolicy",
    "Container.terminationMessagePolicy": "v1.TerminationMessagePolicy", "Container.restartPolicy": "v1.ContainerRestartPolicy",
    "ContainerPort.protocol": "v1.Protocol", "ServicePort.protocol": "v1.Protocol", "EndpointPort.protocol": "v1.Protocol",
    "PodSpec.restartPolicy": "v1.RestartPolicy", "PodSpec.dnsPolicy": "v1.DNSPolicy",
    "PodSpec.preemptionPolicy": "v1.PreemptionPolicy", "PodStatus.phase": "v1.PodPhase", "PodStatus.qosClass": "v1.PodQOSClass",
    "ServiceSpec.type": "v1.ServiceType", "ServiceSpec.sessionAffinity": "v1.ServiceAffinity",
    "ServiceSpec.externalTrafficPolicy": "v1.ServiceExternalTrafficPolicy",
    "ServiceSpec.ipFamilies": "[]v1.IPFamily", "ServiceSpec.ipFamilyPolicy": "v1.IPFamilyPolicy",
    "ServiceSpec.internalTrafficPolicy": "v1.ServiceInternalTrafficPolicy",
    "Secret.type": "v1.SecretType", "DeploymentStrategy.type": "v1.DeploymentStrategyType",
    "DaemonSetUpdateStrategy.type": "v1.DaemonSetUpdateStrategyType",
    "StatefulSetUpdateStrategy.type": "v1.StatefulSetUpdateStrategyType",
    "StatefulSetSpec.podManagementPolicy": "v1.PodManagementPolicyType",
    "PersistentVolumeClaimSpec.accessModes": "[]v1.PersistentVolumeAccessMode",
    "PersistentVolumeSpec.accessModes": "[]v1.PersistentVolumeAccessMode",
    "PersistentVolumeSpec.persistentVolumeReclaimPolicy": "v1.PersistentVolumeReclaimPolicy",
    "Toleration.operator": "v1.TolerationOperator", "Toleration.effect": "v1.TaintEffect", "Taint.effect": "v1.TaintEffect",
    "NodeSelectorRequirement.operator": "v1.NodeSelectorOperator",
    "LabelSelectorRequirement.operator": "v1.LabelSelectorOperator", "HTTPGetAction.scheme": "v1.URIScheme",
    "HTTPIngressPath.pathType": "v1.PathType", "NetworkPolicySpec.policyTypes": "[]v1.PolicyType",
    "CronJobSpec.concurrencyPolicy": "v1.ConcurrencyPolicy", "JobSpec.completionMode": "v1.CompletionMode",
    "ObjectMeta.uid": "types.UID", "OwnerReference.uid": "types.UID", "ObjectReference.uid": "types.UID",
    "Preconditions.uid": "types.UID", "Capabilities.add": "[]v1.Capability", "Capabilities.drop": "[]v1.Capability",
    "EmptyDirVolumeSource.medium": "v1.StorageMedium", "NamespaceStatus.phase": "v1.NamespacePhase",
    "NamespaceSpec.finalizers": "[]v1.FinalizerName", "DeleteOptions.propagationPolicy": "v1.DeletionPropagation",
}


def fold(name):
    """Names differ in case and punctuation between the two sources, never in letters."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def read_pb():
    """module path -> folded message name -> {markers, fields: folded name -> (tag, kind words, markers)}"""
    types = {}
    for path in glob.glob(f"{PB}/**/mod.rs", recursive=True):
        module = os.path.relpath(os.path.dirname(path), PB).replace("/", ".")
        comment, name, attr = [], None, None
        messages, derive = {}, False
        text = open(path).read()
        # A field's type may go on to the next line.
        text = re.sub(r"(pub [\w#]+:)\s+([^;{}]*?),\n", lambda m: m.group(1) + " " + re.sub(r"\s+", "", m.group(2)) + ",\n", text)
        for line in text.split("\n"):
            line = line.strip()
            if line.startswith("///"):
                comment.append(line[3:].strip())
            elif "::prost::Message)]" in line:
                derive = True
            elif derive and line.startswith("pub struct "):
                name = line.split()[2].rstrip("{}; ")
                messages[fold(name)] = {"name": name, "markers": markers(comment), "fields": {}}
                comment, derive = [], False
                if line.endswith("{}"):
                    name = None
            elif line.startswith("#[prost("):
                attr = line
            elif name and line.startswith("pub ") and attr:
                field, type_ = re.match(r"pub (?:r#)?([a-z0-9_]+): (.*),$", line).groups()
                tag = int(re.search(r'tag = "(\d+)"', attr).group(1))
                messages[fold(name)]["fields"][fold(field)] = (tag, type_, markers(comment), field)
                comment, attr = [], None
            elif line == "}":
                name, comment = None, []
            elif not line.startswith("#[") and line:
                comment = []
        types[module] = messages
    return types


def markers(comment):
    out = {}
    for line in comment:
        m = re.match(r"\+(listType|listMapKey|mapType|structType|patchStrategy|patchMergeKey)=(\S+)", line)
        if m:
            out.setdefault(m.group(1), []).append(m.group(2))
    return out


def read_openapi():
    """(module path, struct) -> {name, gvk, fields: [(json, rust type, required)], strategies}"""
    types = {}
    for path in glob.glob(f"{OPENAPI}/**/*.rs", recursive=True):
        text = open(path).read()
        m = re.match(r"// Generated from definition io\.k8s\.(\S+)", text)
        s = re.search(r"^pub (struct|enum) (\w+)(.*)$", text, re.M)
        if not m or not s or "<" in s.group(3):
            continue
        module = os.path.relpath(os.path.dirname(path), OPENAPI).replace("/", ".")
        gvk = None
        if "impl crate::Resource for" in text:
            const = lambda c: re.search(rf"const {c}: &'static str = \"(.*?)\";", text).group(1)
            gvk = (const("GROUP"), const("VERSION"), const("KIND"))
        rust = {}
        if s.group(1) == "struct" and s.group(3).strip().startswith("{"):
            body = text[s.end():text.index("\n}", s.end())] if not s.group(3).strip().endswith("}") else ""
            rust = dict(re.findall(r"^    pub (\w+): (.*),$", body, re.M))
        json = dict((k, j) for j, k in re.findall(r'^\s+"([^"]+)" => Field::Key_(\w+),$', text, re.M))
        required = set()
        r = re.search(r'"required": \[(.*?)\]', text, re.S)
        schemas = text[text.find("impl crate::schemars"):]
        r = re.search(r'\n            "required": \[(.*?)\]', schemas, re.S)
        if r:
            required = set(re.findall(r'"([^"]+)"', r.group(1)))
        types[(module, s.group(2))] = {
            "name": m.group(1), "gvk": gvk, "json": json, "rust": rust, "required": required,
            "path": f"{module.replace('.', '::')}::{s.group(2)}",
            "empty": not rust and s.group(1) == "struct",
            "scope": re.search(r"type Scope = crate::(\w+);", text).group(1) if gvk else None,
        }
    return types


def kind_of(type_, openapi):
    """The kind's notation, and what it refers to."""
    while True:
        m = re.fullmatch(r"(?:Option|std::boxed::Box)<(.*)>", type_)
        if not m:
            break
        type_ = m.group(1)
    m = re.fullmatch(r"std::vec::Vec<(.*)>", type_)
    if m:
        inner, ref = kind_of(m.group(1), openapi)
        return "[]" + inner, ref
    m = re.fullmatch(r"std::collections::BTreeMap<std::string::String, (.*)>", type_)
    if m:
        if m.group(1) == "std::vec::Vec<std::string::String>":
            return "{}w", None
        inner, ref = kind_of(m.group(1), openapi)
        return "{}" + inner, ref
    if type_ in LETTER:
        return LETTER[type_], None
    m = re.fullmatch(r"crate::(.*)::(\w+)", type_)
    module, name = m.group(1).replace("::", "."), m.group(2)
    if name in LETTER:
        return LETTER[name], None
    return "@" + openapi[(module, name)]["name"], (module, name)


def embedded(pb, module, message, known, prefix=""):
    """The fields of messages that JSON does not show, because Go embeds them: folded name -> ("2.5", markers)."""
    out = {}
    for folded, (tag, type_, _, _) in message["fields"].items():
        inner = re.fullmatch(r"::core::option::Option<((?:super::)*)(?:(.*)::)?(\w+)>", type_)
        if folded in known or not inner or "prost" in type_:
            continue
        ups, down, name = inner.groups()
        parts = module.split(".")
        parts = parts[:len(parts) - ups.count("super")] + (down.split("::") if down else [])
        target = pb.get(".".join(parts), {}).get(fold(name))
        if not target:
            continue
        path = f"{prefix}{tag}."
        for f, info in target["fields"].items():
            if f in known:
                out[f] = (f"{path}{info[0]}", info[2])
        out.update(embedded(pb, ".".join(parts), target, known, path))
    return out


def main():
    pb, openapi = read_pb(), read_openapi()
    todo = [key for key, t in openapi.items() if t["gvk"] and (
        any(key[0] == f"api.{g}.{v}" for g, vs in STABLE.items() for v in vs)
        or key[0].startswith("apiextensions_apiserver") or key[0].startswith("kube_aggregator")
        or key[1] in ("Status",))]
    meta = "apimachinery.pkg.apis.meta.v1"
    todo += [(meta, n) for n in ("DeleteOptions", "APIGroup", "APIGroupList", "APIResourceList", "ObjectMeta", "ListMeta",
                                 "OwnerReference", "LabelSelector", "Condition", "Status")]
    done, lines, roots = {}, [], []
    unmatched, optional = [], []
    while todo:
        key = todo.pop()
        if key in done:
            continue
        t = openapi[key]
        message = pb.get(key[0], {}).get(fold(key[1]))
        fields = []
        known = {fold(j) for j in t["json"].values()}
        inline = embedded(pb, key[0], message, known) if message else {}
        group_short = t["name"].removeprefix("api.")
        for rust_name, json_name in t["json"].items():
            if rust_name not in t["rust"] and not (json_name in ("apiVersion", "kind") and t["gvk"]):
                sys.exit(f"{t['name']}: {json_name} has no Rust field")
            type_ = t["rust"].get(rust_name, "Option<std::string::String>")
            kind, ref = kind_of(type_, openapi)
            if ref:
                todo.append(ref)
            tag, marks = "0", {}
            if message and fold(json_name) in message["fields"]:
                info = message["fields"][fold(json_name)]
                tag, marks = str(info[0]), info[2]
            elif fold(json_name) in inline:
                tag, marks = inline[fold(json_name)]
            elif message and not (json_name in ("apiVersion", "kind")):
                # k8s-pb is a little older than k8s-openapi, and drops fields that Kubernetes has removed since.
                unmatched.append(f"{t['name']}.{json_name}")
            short, words = f"{key[1]}.{json_name}", []
            required = json_name in t["required"]
            if required and not (json_name == "metadata" and t["gvk"]):
                words.append("!")
            if kind in "ildb" and not required:
                status = key[1].endswith("Status") and kind in "il" and short not in STATUS_POINTERS
                if short in ZERO or status:
                    words.append("zero")
                else:
                    optional.append(short)
            if kind == "s" and (short in POINTER or f"{group_short}.{json_name}" in POINTER):
                words.append("ptr")
            list_type = marks.get("listType", [None])[0]
            if kind.startswith("[]"):
                if list_type == "map":
                    words.append("map=" + ",".join(marks["listMapKey"]))
                elif list_type == "set":
                    words.append("set")
            if marks.get("mapType") == ["atomic"] or marks.get("structType") == ["atomic"]:
                words.append("atomic")
            strategy = ",".join(marks.get("patchStrategy", [])).split(",")
            if "merge" in strategy and kind.startswith("[]"):
                merge_key = marks.get("patchMergeKey")
                words.append("merge=" + merge_key[0] if merge_key else "merge")
            if "retainKeys" in strategy:
                words.append("retain")
            if "replace" in strategy:
                words.append("replace")
            if short in GO:
                words.append("go=" + GO[short])
            elif kind == "{}q" and key[0].startswith("api.core"):
                words.append("go=v1.ResourceList")
            fields.append((json_name, tag, kind, words))
        atomic = message and message["markers"].get("structType") == ["atomic"]
        done[key] = (t, atomic, fields)
    for key in sorted(done, key=lambda k: done[k][0]["name"]):
        t, atomic, fields = done[key]
        lines.append(f":type {t['name']}" + (" atomic" if atomic else ""))
        if t["gvk"]:
            g, v, k = t["gvk"]
            lines.append(f":kind {g or '-'} {v} {k}")
            if key[0].startswith(("api.", "apiext", "kube_aggr")):
                roots.append((t["name"], t["path"]))
        for json_name, tag, kind, words in fields:
            lines.append(" ".join([json_name, tag, kind] + words))
    os.makedirs(f"{HERE}/src/table", exist_ok=True)
    with open(f"{HERE}/src/table/types.txt", "w") as out:
        out.write("\n".join(lines) + "\n")
    os.makedirs(f"{HERE}/src/openapi", exist_ok=True)
    with open(f"{HERE}/src/openapi/roots.rs", "w") as out:
        out.write("//! Written by generate.py: the types whose schemas, with all that they refer to, make up the documents.\n\n")
        out.write("use k8s_openapi::{api, apiextensions_apiserver, apimachinery, kube_aggregator};\n")
        out.write("use schemars::SchemaGenerator;\n\n")
        out.write("/// Lets the generator see every root type.\n")
        out.write("pub(super) fn collect(generator: &mut SchemaGenerator) {\n")
        extra = [f"apimachinery::pkg::apis::meta::v1::{n}" for n in
                 ("APIGroup", "APIGroupList", "APIResourceList", "DeleteOptions", "ListMeta", "Status")]
        for path in extra + [p for _, p in sorted(roots)]:
            out.write(f"    generator.subschema_for::<{path}>();\n")
        out.write("}\n")
    print(f"{len(done)} types, {sum(len(d[2]) for d in done.values())} fields, {len(roots)} roots")
    if "-v" in sys.argv:
        print("in JSON only:", *unmatched)
        print("optional numbers taken for pointers:", *optional)


main()
