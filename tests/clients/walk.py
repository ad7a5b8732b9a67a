"""A walk over a cluster with the official Python client.

Usage: walk.py KUBECONFIG. Exits with a traceback at the first surprise, and prints a line per step.
"""

import base64
import io
import sys
import tarfile
import time

from kubernetes import client, config, dynamic, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import portforward, stream

NAMESPACE = "python-client"
PATIENCE = 90


def step(name):
    print("ok", name, flush=True)


def eventually(what, condition):
    """Waits for a condition; the bound only ever fails it."""
    end = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"never came true: {what}")
        time.sleep(0.1)


def refused(status, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except ApiException as error:
        assert error.status == status, f"{error.status} {error.body}"
        return error
    raise AssertionError(f"{call} was accepted, not refused with {status}")


def pod(name, command, image="busybox"):
    container = client.V1Container(name="main", image=image, command=command)
    spec = client.V1PodSpec(containers=[container], restart_policy="Never", termination_grace_period_seconds=1)
    return client.V1Pod(metadata=client.V1ObjectMeta(name=name, labels={"app": name}), spec=spec)


def config_maps(core):
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="one", labels={"tier": "a"}), data={"k": "1"})
    made = core.create_namespaced_config_map(NAMESPACE, body)
    refused(409, core.create_namespaced_config_map, NAMESPACE, body)
    made.data["k"] = "2"
    replaced = core.replace_namespaced_config_map("one", NAMESPACE, made)
    assert replaced.data == {"k": "2"}
    # What was made is old now.
    made.data["k"] = "3"
    refused(409, core.replace_namespaced_config_map, "one", NAMESPACE, made)
    patched = core.patch_namespaced_config_map("one", NAMESPACE, {"data": {"k": None, "j": "4"}})
    assert patched.data == {"j": "4"}, patched.data
    dry = core.patch_namespaced_config_map("one", NAMESPACE, {"data": {"dry": "run"}}, dry_run="All")
    assert dry.data["dry"] == "run"
    assert core.read_namespaced_config_map("one", NAMESPACE).data == {"j": "4"}
    found = core.list_namespaced_config_map(NAMESPACE, label_selector="tier in (a, b)", field_selector="metadata.name=one")
    assert [item.metadata.name for item in found.items] == ["one"]
    invalid = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="Not_A_Name"))
    assert "metadata.name" in refused(422, core.create_namespaced_config_map, NAMESPACE, invalid).body
    step("config maps: create, conflict, replace, patch, dry run, select, refuse")


def pages(core):
    for number in range(7):
        body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name=f"page-{number}", labels={"page": "yes"}))
        core.create_namespaced_config_map(NAMESPACE, body)
    names, token = [], None
    while True:
        page = core.list_namespaced_config_map(NAMESPACE, label_selector="page", limit=3, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert names == [f"page-{number}" for number in range(7)], names
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="page")
    assert not core.list_namespaced_config_map(NAMESPACE, label_selector="page").items
    step("pages of a list, and the deletion of a collection")


def watches(core):
    start = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version
    core.create_namespaced_config_map(NAMESPACE, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="seen")))
    core.patch_namespaced_config_map("seen", NAMESPACE, {"data": {"a": "b"}})
    core.delete_namespaced_config_map("seen", NAMESPACE)
    kinds = []
    events = watch.Watch().stream(
        core.list_namespaced_config_map,
        NAMESPACE,
        resource_version=start,
        field_selector="metadata.name=seen",
        timeout_seconds=PATIENCE,
    )
    for event in events:
        kinds.append(event["type"])
        if event["type"] == "DELETED":
            break
    assert kinds == ["ADDED", "MODIFIED", "DELETED"], kinds
    step("a watch from a version on")


def pods(core):
    core.create_namespaced_pod(NAMESPACE, pod("quick", ["sh", "-c", "echo first; echo second >&2; exit 3"]))
    phase = eventually("the pod ends", lambda: (p := core.read_namespaced_pod("quick", NAMESPACE).status.phase) in ("Failed", "Succeeded") and p)
    assert phase == "Failed", phase
    ended = core.read_namespaced_pod("quick", NAMESPACE).status.container_statuses[0].state.terminated
    assert ended.exit_code == 3
    log = core.read_namespaced_pod_log("quick", NAMESPACE)
    assert sorted(log.split()) == ["first", "second"], log
    step("a pod that fails, its exit code and its log")

    core.create_namespaced_pod(NAMESPACE, pod("long", ["sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait"]))
    eventually("the pod runs", lambda: core.read_namespaced_pod("long", NAMESPACE).status.phase == "Running")
    execute = core.connect_get_namespaced_pod_exec
    said = stream(execute, "long", NAMESPACE, command=["sh", "-c", "echo out; echo err >&2"], stdout=True, stderr=True)
    assert sorted(said.split()) == ["err", "out"], said
    talk = stream(execute, "long", NAMESPACE, command=["sh"], stdin=True, stdout=True, stderr=True, _preload_content=False)
    talk.write_stdin("echo $((6 * 7))\nexit 5\n")
    talk.run_forever(timeout=PATIENCE)
    assert talk.read_stdout().strip() == "42"
    assert talk.returncode == 5, talk.returncode
    step("exec: output, input and exit code")

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("hello.txt")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"hello"))
    unpack = stream(execute, "long", NAMESPACE, command=["tar", "xf", "-", "-C", "/tmp"], stdin=True, stdout=True, stderr=True, _preload_content=False)
    unpack.write_stdin(buffer.getvalue())
    unpack.update(timeout=1)
    unpack.close()
    eventually(
        "the file is there",
        lambda: stream(execute, "long", NAMESPACE, command=["cat", "/tmp/hello.txt"], stdout=True, stderr=True) == "hello",
    )
    step("a file by way of tar")

    core.delete_namespaced_pod("long", NAMESPACE, grace_period_seconds=0)
    eventually("the pod is gone", lambda: not core.list_namespaced_pod(NAMESPACE, label_selector="app=long").items)
    step("a deletion without grace")


def forwards(core):
    body = pod("web", None, image="gcr.io/kuar-demo/kuard-amd64:blue")
    body.spec.containers[0].command = None
    core.create_namespaced_pod(NAMESPACE, body)
    eventually("kuard runs", lambda: core.read_namespaced_pod("web", NAMESPACE).status.phase == "Running")

    def answer():
        forward = portforward(core.connect_get_namespaced_pod_portforward, "web", NAMESPACE, ports="8080")
        connection = forward.socket(8080)
        connection.setblocking(True)
        connection.sendall(b"GET /healthy HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
        said = b""
        while True:
            part = connection.recv(4096)
            if not part:
                return b"200 OK" in said
            said += part

    eventually("the forwarded port answers", answer)
    step("a port-forward")


def workloads(core, apps):
    labels = {"app": "deployed"}
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=labels), spec=pod("x", ["sleep", "100000"]).spec
    )
    template.spec.restart_policy = "Always"
    spec = client.V1DeploymentSpec(replicas=2, selector=client.V1LabelSelector(match_labels=labels), template=template)
    apps.create_namespaced_deployment(NAMESPACE, client.V1Deployment(metadata=client.V1ObjectMeta(name="deployed"), spec=spec))
    eventually("two are ready", lambda: apps.read_namespaced_deployment("deployed", NAMESPACE).status.ready_replicas == 2)
    apps.patch_namespaced_deployment_scale("deployed", NAMESPACE, {"spec": {"replicas": 1}})
    eventually("one is left", lambda: len(core.list_namespaced_pod(NAMESPACE, label_selector="app=deployed").items) == 1)
    apps.delete_namespaced_deployment("deployed", NAMESPACE, propagation_policy="Foreground")
    eventually("its pods go with it", lambda: not core.list_namespaced_pod(NAMESPACE, label_selector="app=deployed").items)
    step("a deployment: ready, scaled, deleted with its pods")


def secrets_and_accounts(core):
    body = client.V1Secret(metadata=client.V1ObjectMeta(name="s"), string_data={"password": "hunter2"})
    core.create_namespaced_secret(NAMESPACE, body)
    read = core.read_namespaced_secret("s", NAMESPACE)
    assert base64.b64decode(read.data["password"]) == b"hunter2"
    core.create_namespaced_service_account(NAMESPACE, client.V1ServiceAccount(metadata=client.V1ObjectMeta(name="robot")))
    request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600))
    token = core.create_namespaced_service_account_token("robot", NAMESPACE, request).status.token
    configuration = client.Configuration.get_default_copy()
    configuration.api_key = {"authorization": "Bearer " + token}
    # Else the kubeconfig's own token is read again before each request.
    configuration.refresh_api_key_hook = None
    robot = client.CoreV1Api(client.ApiClient(configuration))
    refused(403, robot.list_namespaced_config_map, NAMESPACE)
    step("a secret, and a token that may nothing")


def custom_resources(api):
    extensions = client.ApiextensionsV1Api(api)
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["size"],
                "properties": {
                    "size": {"type": "integer", "minimum": 1},
                    "colour": {"type": "string", "default": "blue"},
                },
                "x-kubernetes-validations": [{"rule": "self.size < 10 || self.colour == 'red'", "message": "large ones are red"}],
            },
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.python.example.com"},
        "spec": {
            "group": "python.example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                }
            ],
        },
    }
    extensions.create_custom_resource_definition(definition)

    def established():
        read = extensions.read_custom_resource_definition("widgets.python.example.com")
        conditions = read.status.conditions or [] if read.status else []
        return any(c.type == "Established" and c.status == "True" for c in conditions)

    eventually("the definition is established", established)
    resources = dynamic.DynamicClient(api)
    widgets = resources.resources.get(api_version="python.example.com/v1", kind="Widget")

    def widget(name, size, **more):
        return {
            "apiVersion": "python.example.com/v1",
            "kind": "Widget",
            "metadata": {"name": name},
            "spec": {"size": size, **more},
        }

    made = widgets.create(body=widget("small", 3, unknown="field"), namespace=NAMESPACE)
    assert made.spec.colour == "blue"
    assert "unknown" not in made.spec.to_dict()
    for body, said in (
        (widget("none", 0), "spec.size"),
        (widget("large", 50), "large ones are red"),
    ):
        try:
            widgets.create(body=body, namespace=NAMESPACE)
        except ApiException as error:
            assert error.status == 422 and said in str(error.body), error.body
        else:
            raise AssertionError(f"accepted: {body}")
    widgets.create(body=widget("large", 50, colour="red"), namespace=NAMESPACE)
    applied = widgets.server_side_apply(body=widget("small", 4), namespace=NAMESPACE, field_manager="walk", force_conflicts=True)
    assert applied.spec.size == 4 and applied.metadata.generation == 2
    widgets.delete(name="small", namespace=NAMESPACE)
    extensions.delete_custom_resource_definition("widgets.python.example.com")

    def gone():
        try:
            extensions.read_custom_resource_definition("widgets.python.example.com")
        except ApiException as error:
            return error.status == 404
        return False

    eventually("the definition goes, and its objects with it", gone)
    step("custom resources: defaults, pruning, rules, apply, clean end")


def main():
    config.load_kube_config(sys.argv[1])
    api = client.ApiClient()
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))
    config_maps(core)
    pages(core)
    watches(core)
    pods(core)
    forwards(core)
    workloads(core, apps)
    secrets_and_accounts(core)
    custom_resources(api)
    core.delete_namespace(NAMESPACE)
    eventually(
        "the namespace goes",
        lambda: NAMESPACE not in [item.metadata.name for item in core.list_namespace().items],
    )
    step("the namespace goes with all that is in it")


if __name__ == "__main__":
    main()
