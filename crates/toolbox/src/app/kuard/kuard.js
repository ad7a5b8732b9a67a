'use strict';
const base = document.body.dataset.base;
const content = document.getElementById('content');
const tab = (location.pathname.slice(base.length).match(/^\/-\/([a-z]+)/) || [, ''])[1];
for (const link of document.querySelectorAll('nav a')) link.classList.toggle('on', link.dataset.tab === tab);

function element(name, text, parent) {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}
function table(rows, head, parent) {
  const node = element('table', undefined, parent);
  for (const [i, cells] of [head, ...rows].entries()) {
    const row = element('tr', undefined, node);
    for (const cell of cells) element(i ? 'td' : 'th', String(cell), row);
  }
}
async function call(method, path, body) {
  const answer = await fetch(base + path, { method, body: body && JSON.stringify(body) });
  const text = await answer.text();
  try { return JSON.parse(text); } catch { return { error: text, status: answer.status }; }
}
function buttons(list, parent) {
  for (const [label, run] of list) element('button', label, parent).onclick = run;
}
function page(title, draw) {
  const show = async () => {
    const fresh = document.createElement('div');
    element('h2', title, fresh);
    try { await draw(fresh, show); } catch (error) { element('p', 'No connection: ' + error, fresh); }
    content.replaceChildren(...fresh.childNodes);
  };
  return show;
}
const probe = (title, path) => page(title, async (node, show) => {
  const state = await call('GET', path + '/api');
  const set = n => async () => { await call('PUT', path + '/api', { failNext: n }); show(); };
  element('p', 'Probe is being served on ' + base + path, node);
  const left = state.failNext;
  element('p', left === 0 ? 'Probe will permanently succeed'
    : left > 0 ? `Probe will fail for next ${left} calls` : 'Probe will permanently fail', node);
  buttons([['Succeed', set(0)], ['Fail', set(-1)], ...[1, 2, 3, 5, 10].map(n => [`Fail ${n}`, set(n)])], node);
  table(state.history.map(h => [h.id, h.when, h.relWhen, h.code]), ['ID', 'When', '', 'Status'], node);
});
const pages = {
  env: page('Server Env', async node => {
    const state = await call('GET', '/env/api');
    element('pre', state.commandLine.join(' '), node);
    table(Object.entries(state.env), ['Name', 'Value'], node);
  }),
  mem: page('Memory', async (node, show) => {
    const state = await call('GET', '/mem/api');
    const alloc = mib => async () => { await call('POST', `/mem/api/alloc?size=${mib * 1048576}`); show(); };
    buttons([['Allocate 50 MiB', alloc(50)], ['Allocate 200 MiB', alloc(200)], ['Allocate 500 MiB', alloc(500)],
      ['Free', async () => { await call('POST', '/mem/api/clear'); show(); }]], node);
    table(Object.entries(state.memStats), ['Name', 'Bytes'], node);
  }),
  liveness: probe('Liveness Probe', '/healthy'),
  readiness: probe('Readiness Probe', '/ready'),
  dns: page('DNS Query', async node => {
    const kind = element('input', undefined, node); kind.value = 'A'; kind.size = 6;
    const name = element('input', undefined, node); name.value = 'kubernetes'; name.size = 40;
    const result = element('pre', '', node);
    name.before(document.createTextNode(' '));
    const ask = element('button', 'Query');
    name.after(document.createTextNode(' '), ask);
    ask.onclick = async () => {
      const answer = await call('POST', '/dns/api', { type: kind.value, name: name.value });
      result.textContent = answer.result || answer.error;
    };
  }),
  keygen: page('KeyGen Workload', async (node, show) => {
    const state = await call('GET', '/keygen');
    const set = change => async () => { await call('PUT', '/keygen', { ...state.config, ...change }); show(); };
    buttons([['Start', set({ enable: true })], ['Stop', set({ enable: false })]], node);
    table(Object.entries(state.config), ['Setting', 'Value'], node);
    table(state.history.map(h => [h.id, h.data]), ['ID', 'Output'], node);
  }),
  memq: page('MemQ Server', async node => {
    const state = await call('GET', '/memq/server/stats');
    table(state.queues.map(q => [q.name, q.depth, q.enqueued, q.dequeued, q.drained]),
      ['Queue', 'Depth', 'Enqueued', 'Dequeued', 'Drained'], node);
  }),
};
if (pages[tab]) {
  pages[tab]();
  if (tab !== 'dns' && tab !== 'env') setInterval(pages[tab], 1000);
}
