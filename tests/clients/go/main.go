// A walk over a cluster with client-go: once with JSON, once with protobuf.
//
// Usage: walk KUBECONFIG. Ends with an error at the first surprise, and prints a line per step.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"
	"k8s.io/client-go/util/retry"
)

const patience = 90 * time.Second

func must(err error) {
	if err != nil {
		log.Output(2, err.Error())
		os.Exit(1)
	}
}

func assert(holds bool, format string, arguments ...any) {
	if !holds {
		log.Output(2, fmt.Sprintf(format, arguments...))
		os.Exit(1)
	}
}

func step(name string) { fmt.Println("ok", name) }

// eventually waits for a condition; the bound only ever fails it.
func eventually(ctx context.Context, what string, condition func() (bool, error)) {
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		return condition()
	})
	assert(err == nil, "never came true: %s: %v", what, err)
}

type walker struct {
	ctx       context.Context
	config    *rest.Config
	client    *kubernetes.Clientset
	namespace string
}

func (w *walker) pod(name string, command ...string) *corev1.Pod {
	grace := int64(1)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			RestartPolicy:                 corev1.RestartPolicyNever,
			TerminationGracePeriodSeconds: &grace,
			Containers:                    []corev1.Container{{Name: "main", Image: "busybox", Command: command}},
		},
	}
}

func (w *walker) running(name string) {
	eventually(w.ctx, name+" runs", func() (bool, error) {
		pod, err := w.client.CoreV1().Pods(w.namespace).Get(w.ctx, name, metav1.GetOptions{})
		return err == nil && pod.Status.Phase == corev1.PodRunning, err
	})
}

func (w *walker) objects() {
	maps := w.client.CoreV1().ConfigMaps(w.namespace)
	made, err := maps.Create(w.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "made-"}, Data: map[string]string{"a": "1"}}, metav1.CreateOptions{FieldManager: "walk"})
	must(err)
	_, err = maps.Create(w.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: made.Name}}, metav1.CreateOptions{})
	assert(apierrors.IsAlreadyExists(err), "%v", err)
	stale := made.DeepCopy()
	made.Data["a"] = "2"
	_, err = maps.Update(w.ctx, made, metav1.UpdateOptions{})
	must(err)
	_, err = maps.Update(w.ctx, stale, metav1.UpdateOptions{})
	assert(apierrors.IsConflict(err), "%v", err)
	patched, err := maps.Patch(w.ctx, made.Name, types.StrategicMergePatchType, []byte(`{"data":{"b":"3"}}`), metav1.PatchOptions{})
	must(err)
	assert(patched.Data["a"] == "2" && patched.Data["b"] == "3", "%v", patched.Data)
	_, err = maps.Get(w.ctx, "missing", metav1.GetOptions{})
	assert(apierrors.IsNotFound(err), "%v", err)
	must(maps.DeleteCollection(w.ctx, metav1.DeleteOptions{}, metav1.ListOptions{FieldSelector: "metadata.name=" + made.Name}))
	step("objects: create, conflict, update, patch, delete by selector")
}

func (w *walker) applies() {
	labels := map[string]string{"app": "applied"}
	deployment := func(replicas int32) *appsapply.DeploymentApplyConfiguration {
		container := coreapply.Container().WithName("main").WithImage("busybox").WithCommand("sleep", "100000")
		template := coreapply.PodTemplateSpec().WithLabels(labels).WithSpec(coreapply.PodSpec().WithContainers(container).WithTerminationGracePeriodSeconds(1))
		spec := appsapply.DeploymentSpec().WithReplicas(replicas).WithSelector(metaapply.LabelSelector().WithMatchLabels(labels)).WithTemplate(template)
		return appsapply.Deployment("applied", w.namespace).WithSpec(spec)
	}
	deployments := w.client.AppsV1().Deployments(w.namespace)
	_, err := deployments.Apply(w.ctx, deployment(1), metav1.ApplyOptions{FieldManager: "walk"})
	must(err)
	_, err = deployments.Apply(w.ctx, deployment(2), metav1.ApplyOptions{FieldManager: "other"})
	assert(apierrors.IsConflict(err) && strings.Contains(err.Error(), ".spec.replicas"), "%v", err)
	_, err = deployments.Apply(w.ctx, deployment(2), metav1.ApplyOptions{FieldManager: "other", Force: true})
	must(err)
	eventually(w.ctx, "both are available", func() (bool, error) {
		found, err := deployments.Get(w.ctx, "applied", metav1.GetOptions{})
		return err == nil && found.Status.AvailableReplicas == 2, err
	})
	scale, err := deployments.GetScale(w.ctx, "applied", metav1.GetOptions{})
	must(err)
	scale.Spec.Replicas = 0
	_, err = deployments.UpdateScale(w.ctx, "applied", scale, metav1.UpdateOptions{})
	must(err)
	foreground := metav1.DeletePropagationForeground
	must(deployments.Delete(w.ctx, "applied", metav1.DeleteOptions{PropagationPolicy: &foreground}))
	eventually(w.ctx, "the deployment goes", func() (bool, error) {
		_, err := deployments.Get(w.ctx, "applied", metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
	step("server-side apply with a conflict, scale, foreground deletion")
}

func (w *walker) informers() {
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	factory := informers.NewSharedInformerFactoryWithOptions(w.client, 0, informers.WithNamespace(w.namespace))
	lister := factory.Core().V1().Secrets().Lister()
	informer := factory.Core().V1().Secrets().Informer()
	deleted := make(chan string, 16)
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: func(object any) {
		if secret, ok := object.(*corev1.Secret); ok {
			deleted <- secret.Name
		}
	}})
	must(err)
	factory.Start(ctx.Done())
	assert(cache.WaitForCacheSync(ctx.Done(), informer.HasSynced), "the cache is in sync")
	secrets := w.client.CoreV1().Secrets(w.namespace)
	for number := range 20 {
		_, err := secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("s-%d", number)}, StringData: map[string]string{"k": "v"}}, metav1.CreateOptions{})
		must(err)
	}
	eventually(ctx, "the informer has them", func() (bool, error) {
		all, err := lister.Secrets(w.namespace).List(labels.Everything())
		return len(all) == 20, err
	})
	must(retry.RetryOnConflict(retry.DefaultRetry, func() error {
		secret, err := secrets.Get(ctx, "s-3", metav1.GetOptions{})
		must(err)
		secret.Labels = map[string]string{"x": "y"}
		_, err = secrets.Update(ctx, secret, metav1.UpdateOptions{})
		return err
	}))
	eventually(ctx, "the change is seen", func() (bool, error) {
		secret, err := lister.Secrets(w.namespace).Get("s-3")
		return err == nil && secret.Labels["x"] == "y" && string(secret.Data["k"]) == "v", err
	})
	must(secrets.Delete(ctx, "s-4", metav1.DeleteOptions{}))
	select {
	case name := <-deleted:
		assert(name == "s-4", "%s", name)
	case <-time.After(patience):
		assert(false, "the deletion is not seen")
	}
	step("an informer and its lister")
}

func (w *walker) streams() {
	pods := w.client.CoreV1().Pods(w.namespace)
	_, err := pods.Create(w.ctx, w.pod("long", "sh", "-c", "echo hello; trap 'exit 0' TERM; sleep 100000 & wait"), metav1.CreateOptions{})
	must(err)
	w.running("long")
	raw, err := pods.GetLogs("long", &corev1.PodLogOptions{}).DoRaw(w.ctx)
	must(err)
	assert(string(raw) == "hello\n", "%q", raw)
	step("a log")

	options := &corev1.PodExecOptions{Command: []string{"sh", "-c", "read line; echo got $line; echo no >&2; exit 7"}, Stdin: true, Stdout: true, Stderr: true}
	request := w.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(w.namespace).Name("long").SubResource("exec").VersionedParams(options, scheme.ParameterCodec)
	overSpdy, err := remotecommand.NewSPDYExecutor(w.config, http.MethodPost, request.URL())
	must(err)
	overWebSocket, err := remotecommand.NewWebSocketExecutor(w.config, http.MethodGet, request.URL().String())
	must(err)
	for name, executor := range map[string]remotecommand.Executor{"SPDY": overSpdy, "WebSocket": overWebSocket} {
		var out, errs bytes.Buffer
		err := executor.StreamWithContext(w.ctx, remotecommand.StreamOptions{Stdin: strings.NewReader("this\n"), Stdout: &out, Stderr: &errs})
		var exit utilexec.CodeExitError
		assert(errors.As(err, &exit) && exit.Code == 7, "%s: %v", name, err)
		assert(out.String() == "got this\n" && errs.String() == "no\n", "%s: %q %q", name, out.String(), errs.String())
	}
	step("exec over SPDY and WebSocket: input, output, exit code")

	web := w.pod("web")
	web.Spec.Containers[0] = corev1.Container{Name: "main", Image: "gcr.io/kuar-demo/kuard-amd64:blue"}
	_, err = pods.Create(w.ctx, web, metav1.CreateOptions{})
	must(err)
	w.running("web")
	forward := w.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(w.namespace).Name("web").SubResource("portforward")
	transport, upgrader, err := spdy.RoundTripperFor(w.config)
	must(err)
	stop, ready := make(chan struct{}), make(chan struct{})
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, forward.URL())
	forwarder, err := portforward.New(dialer, []string{"0:8080"}, stop, ready, nil, os.Stderr)
	must(err)
	go func() { must(forwarder.ForwardPorts()) }()
	<-ready
	ports, err := forwarder.GetPorts()
	must(err)
	eventually(w.ctx, "the forwarded port answers", func() (bool, error) {
		answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/healthy", ports[0].Local))
		if err != nil {
			return false, nil
		}
		defer answer.Body.Close()
		return answer.StatusCode == 200, nil
	})
	close(stop)
	step("a port-forward")
}

func (w *walker) elections() {
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	leads := make(chan struct{})
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Name: "leader", Namespace: w.namespace},
		Client:     w.client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: "walk"},
	}
	go leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: time.Second, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) { close(leads) }, OnStoppedLeading: func() {}},
	})
	select {
	case <-leads:
	case <-time.After(patience):
		assert(false, "nobody leads")
	}
	step("leader election")
}

func (w *walker) customResources() {
	resources, err := dynamic.NewForConfig(w.config)
	must(err)
	definitions := resources.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	group := w.namespace + ".example.com"
	object := func(text map[string]any) *unstructured.Unstructured { return &unstructured.Unstructured{Object: text} }
	anything := map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}
	version := map[string]any{
		"name": "v1", "served": true, "storage": true,
		"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "properties": map[string]any{
			"spec": map[string]any{"type": "object", "properties": map[string]any{"replicas": map[string]any{"type": "integer", "default": int64(1)}}}, "status": anything,
		}}},
		"subresources": map[string]any{"status": map[string]any{}, "scale": map[string]any{"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
	}
	name := "things." + group
	_, err = definitions.Create(w.ctx, object(map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"group": group, "scope": "Namespaced", "names": map[string]any{"plural": "things", "kind": "Thing"}, "versions": []any{version}},
	}), metav1.CreateOptions{})
	must(err)
	things := resources.Resource(schema.GroupVersionResource{Group: group, Version: "v1", Resource: "things"}).Namespace(w.namespace)
	eventually(w.ctx, "the kind is served", func() (bool, error) {
		_, err := things.List(w.ctx, metav1.ListOptions{})
		return err == nil, nil
	})
	watch, err := things.Watch(w.ctx, metav1.ListOptions{})
	must(err)
	made, err := things.Create(w.ctx, object(map[string]any{"apiVersion": group + "/v1", "kind": "Thing", "metadata": map[string]any{"name": "t"}, "spec": map[string]any{}}), metav1.CreateOptions{})
	must(err)
	replicas, _, _ := unstructured.NestedInt64(made.Object, "spec", "replicas")
	assert(replicas == 1, "defaulted: %v", made.Object)
	event := <-watch.ResultChan()
	assert(event.Type == "ADDED", "%v", event)
	_, err = things.Patch(w.ctx, "t", types.MergePatchType, []byte(`{"spec":{"replicas":4}}`), metav1.PatchOptions{}, "scale")
	must(err)
	read, err := things.Get(w.ctx, "t", metav1.GetOptions{})
	must(err)
	replicas, _, _ = unstructured.NestedInt64(read.Object, "spec", "replicas")
	assert(replicas == 4, "scaled: %v", read.Object)
	must(definitions.Delete(w.ctx, name, metav1.DeleteOptions{}))
	eventually(w.ctx, "the definition goes", func() (bool, error) {
		_, err := definitions.Get(w.ctx, name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
	step("a custom resource: default, watch, scale, end")
}

func (w *walker) walk() {
	_, err := w.client.CoreV1().Namespaces().Create(w.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}, metav1.CreateOptions{})
	must(err)
	w.objects()
	w.applies()
	w.informers()
	w.streams()
	w.elections()
	w.customResources()
	must(w.client.CoreV1().Namespaces().Delete(w.ctx, w.namespace, metav1.DeleteOptions{}))
	eventually(w.ctx, "the namespace goes", func() (bool, error) {
		_, err := w.client.CoreV1().Namespaces().Get(w.ctx, w.namespace, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
	step("the namespace goes with all that is in it")
}

func main() {
	log.SetFlags(log.Lshortfile)
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	must(err)
	config.QPS, config.Burst = 200, 400
	for namespace, accept := range map[string]string{"go-json": "application/json", "go-protobuf": "application/vnd.kubernetes.protobuf"} {
		fmt.Println("--", accept)
		config := rest.CopyConfig(config)
		typed := rest.CopyConfig(config)
		typed.ContentType, typed.AcceptContentTypes = accept, accept
		client, err := kubernetes.NewForConfig(typed)
		must(err)
		w := &walker{context.Background(), config, client, namespace}
		w.walk()
	}
	schemas, err := kubernetes.NewForConfigOrDie(config).Discovery().OpenAPISchema()
	must(err)
	assert(len(schemas.Definitions.AdditionalProperties) > 100, "OpenAPI v2 in protobuf has definitions")
	step("OpenAPI v2 in protobuf")
}
