// A walk over a cluster with the official JavaScript client.
//
// Usage: node walk.mjs KUBECONFIG, with @kubernetes/client-node where Node finds it (NODE_PATH does not count for modules: run
// it from a directory that has it in node_modules). Ends with an error at the first surprise, and prints a line per step.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { PassThrough, Writable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import path from 'node:path';

const require = createRequire(path.join(process.cwd(), 'walk.js'));
const k8s = await import(pathToFileURL(require.resolve('@kubernetes/client-node')).href);

const NAMESPACE = 'js-client';
const PATIENCE = 90_000;

const config = new k8s.KubeConfig();
config.loadFromFile(process.argv[2]);
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const rbac = config.makeApiClient(k8s.RbacAuthorizationV1Api);
const objects = k8s.KubernetesObjectApi.makeApiClient(config);

const step = (name) => console.log('ok', name);

// Waits for a condition; the bound only ever fails it.
async function eventually(what, condition) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const value = await condition();
    if (value) return value;
    assert(Date.now() < end, `never came true: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function refused(code, promise) {
  await assert.rejects(promise, (error) => {
    assert.equal(error.code, code, String(error));
    return true;
  });
}

class Sink extends Writable {
  text = '';
  _write(chunk, _encoding, done) {
    this.text += chunk;
    done();
  }
}

const pod = (name, command, image = 'busybox') => ({
  metadata: { name, labels: { app: name } },
  spec: { restartPolicy: 'Never', terminationGracePeriodSeconds: 1, containers: [{ name: 'main', image, command }] },
});

async function informers() {
  const seen = [];
  const list = () => core.listNamespacedConfigMap({ namespace: NAMESPACE });
  const informer = k8s.makeInformer(config, `/api/v1/namespaces/${NAMESPACE}/configmaps`, list);
  for (const kind of ['add', 'update', 'delete']) {
    informer.on(kind, (object) => object.metadata.name === 'one' && seen.push(kind));
  }
  informer.on('error', (error) => seen.push(`error ${error}`));
  await informer.start();
  await core.createNamespacedConfigMap({ namespace: NAMESPACE, body: { metadata: { name: 'one' }, data: { a: '1' } } });
  await refused(409, core.createNamespacedConfigMap({ namespace: NAMESPACE, body: { metadata: { name: 'one' } } }));
  await eventually('the informer sees it', () => seen.includes('add'));
  const patch = [{ op: 'replace', path: '/data/a', value: '2' }];
  const patched = await core.patchNamespacedConfigMap({ name: 'one', namespace: NAMESPACE, body: patch });
  assert.equal(patched.data.a, '2');
  await eventually('the informer sees the change', () => seen.includes('update'));
  await core.deleteNamespacedConfigMap({ name: 'one', namespace: NAMESPACE });
  await eventually('the informer sees it go', () => seen.includes('delete'));
  assert.deepEqual(seen, ['add', 'update', 'delete']);
  await informer.stop();
  step('an informer, a conflict and a JSON patch');
}

async function pods() {
  await core.createNamespacedPod({ namespace: NAMESPACE, body: pod('long', ['sh', '-c', 'echo hello; sleep 100000']) });
  await eventually('the pod runs', async () => {
    const read = await core.readNamespacedPod({ name: 'long', namespace: NAMESPACE });
    return read.status.phase === 'Running';
  });
  const log = new Sink();
  const controller = await new k8s.Log(config).log(NAMESPACE, 'long', 'main', log, { follow: true });
  await eventually('the log is followed', () => log.text.includes('hello'));
  controller.abort();
  step('a log that is followed');

  const out = new Sink();
  const err = new Sink();
  const input = new PassThrough();
  let status;
  const exec = new k8s.Exec(config);
  await exec.exec(NAMESPACE, 'long', 'main', ['sh', '-c', 'read line; echo got $line; echo no >&2; exit 7'], out, err, input, false, (s) => {
    status = s;
  });
  input.write('this\n');
  await eventually('exec ends', () => status);
  assert.equal(out.text, 'got this\n');
  assert.equal(err.text, 'no\n');
  assert.equal(status.reason, 'NonZeroExitCode');
  assert.equal(status.details.causes.find((cause) => cause.reason === 'ExitCode').message, '7');
  step('exec: output, input and exit code');

  const attached = new Sink();
  await core.createNamespacedPod({
    namespace: NAMESPACE,
    body: pod('talker', ['sh', '-c', 'while true; do echo tick; sleep 0.2; done']),
  });
  await eventually('the talker runs', async () => {
    const read = await core.readNamespacedPod({ name: 'talker', namespace: NAMESPACE });
    return read.status.phase === 'Running';
  });
  const socket = await new k8s.Attach(config).attach(NAMESPACE, 'talker', 'main', attached, null, null, false);
  await eventually('what it says arrives', () => attached.text.includes('tick'));
  socket.close();
  step('attach');
}

async function applies() {
  const labels = { app: 'applied' };
  const deployment = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'applied', namespace: NAMESPACE },
    spec: {
      replicas: 1,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: { terminationGracePeriodSeconds: 1, containers: [{ name: 'main', image: 'busybox', command: ['sleep', '100000'] }] },
      },
    },
  };
  const apply = (body) => objects.patch(body, undefined, undefined, 'walk', undefined, k8s.PatchStrategy.ServerSideApply);
  await apply(deployment);
  deployment.spec.replicas = 2;
  const applied = await apply(deployment);
  assert.equal(applied.spec.replicas, 2);
  assert(applied.metadata.managedFields.some((entry) => entry.manager === 'walk' && entry.operation === 'Apply'));
  await eventually('both are ready', async () => {
    const read = await apps.readNamespacedDeployment({ name: 'applied', namespace: NAMESPACE });
    return read.status.readyReplicas === 2;
  });
  await apps.deleteNamespacedDeployment({ name: 'applied', namespace: NAMESPACE });
  await eventually('its pods go', async () => {
    const left = await core.listNamespacedPod({ namespace: NAMESPACE, labelSelector: 'app=applied' });
    return left.items.length === 0;
  });
  step('server-side apply of a deployment');
}

async function customResources() {
  const group = 'js.example.com';
  // The client's name of x-kubernetes-preserve-unknown-fields.
  const preserved = { type: 'object', x_kubernetes_preserve_unknown_fields: true };
  const version = (name, storage) => ({
    name,
    served: true,
    storage,
    schema: { openAPIV3Schema: { type: 'object', properties: { spec: preserved } } },
    additionalPrinterColumns: [{ name: 'Size', type: 'integer', jsonPath: '.spec.size' }],
  });
  await objects.create({
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `gadgets.${group}` },
    spec: {
      group,
      scope: 'Namespaced',
      names: { plural: 'gadgets', kind: 'Gadget' },
      versions: [version('v1', true), version('v1alpha1', false)],
    },
  });
  const custom = config.makeApiClient(k8s.CustomObjectsApi);
  const place = { group, version: 'v1', namespace: NAMESPACE, plural: 'gadgets' };
  await eventually('the kind is served', () => custom.listNamespacedCustomObject(place).then(() => true, () => false));
  const body = { apiVersion: `${group}/v1`, kind: 'Gadget', metadata: { name: 'g' }, spec: { size: 3 } };
  await custom.createNamespacedCustomObject({ ...place, body });
  const old = await custom.getNamespacedCustomObject({ ...place, version: 'v1alpha1', name: 'g' });
  assert.equal(old.apiVersion, `${group}/v1alpha1`);
  assert.equal(old.spec.size, 3);
  await objects.delete({ apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition', metadata: { name: `gadgets.${group}` } });
  step('a custom resource in two versions');
}

await core.createNamespace({ body: { metadata: { name: NAMESPACE } } });
await informers();
await pods();
await applies();
await refused(422, rbac.createNamespacedRole({ namespace: NAMESPACE, body: { metadata: { name: 'r' }, rules: [{ verbs: [] }] } }));
step('a refusal of an invalid object');
await customResources();
await core.deleteNamespace({ name: NAMESPACE });
await eventually('the namespace goes', async () => {
  const left = await core.listNamespace();
  return !left.items.some((item) => item.metadata.name === NAMESPACE);
});
step('the namespace goes with all that is in it');
process.exit(0);
