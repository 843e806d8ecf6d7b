// The cluster over which runs ask: its workers, its lanes, and what waits in them.

import { json } from './api.js';
import { fill, h, number, write } from './dom.js';
import { repeat } from './sagas.js';

const EVERY = 2000;                     // ms between two looks

function table(id, caption, heads, rows) {
  return h('div.wide', {}, h('table.saga', { id }, h('caption', {}, caption),
    h('thead', {}, h('tr', {}, heads.map(head => h('th', { scope: 'col' }, head)))),
    h('tbody', {}, rows)));
}

const seconds = value => (value === null ? '\u2013' : `${value.toFixed(1)} s`);

// Lanes that are alike in a row: 0-31,40.
function ranges(lanes) {
  const found = [];
  for (const lane of lanes) {
    const last = found[found.length - 1];
    if (last && lane === last[1] + 1) last[1] = lane;
    else found.push([lane, lane]);
  }
  return found.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(',') || 'none';
}

export function clusterView(main) {
  const state = h('p', { id: 'cluster-state', role: 'status' }, 'Reading\u2026');
  const problems = h('ul.problems', { id: 'cluster-problems' });
  const tables = h('div', { id: 'cluster-tables' });
  fill(main, h('h1', {}, 'Cluster'),
    h('p.quiet', {}, 'Workers send what runs ask. A lane is a share of the hosts; each has one worker, which keeps the limits of its hosts.'),
    state, problems, tables);
  document.title = 'Cluster \u00b7 napix';
  return repeat(async () => {
    let cluster;
    try {
      cluster = await json('cluster');
    } catch (error) {
      write(state, error.status === 404 ? 'This service asks by itself, without a cluster. Started with napix serve --via URL, '
        + 'it asks over the workers of one.' : error.message);
      fill(problems);
      fill(tables);
      return error.status === 404;
    }
    const { zone, lanes, workers, dead, unowned } = cluster;
    write(state, `Zone ${zone}: ${number(lanes.length)} lanes, ${number(workers.length)} ${workers.length === 1 ? 'worker' : 'workers'}, `
      + `${number(lanes.reduce((sum, { depth }) => sum + depth, 0))} batches wait.`);
    fill(problems, [
      ...(unowned.length ? [`No worker has the lanes ${ranges(unowned)}: what goes there waits.`] : []),
      ...(dead ? [`${number(dead)} batches are dead letters: no worker survived them.`] : []),
      ...cluster.problems,
    ].map(text => h('li.alert', {}, text)));
    fill(tables,
      table('cluster-workers', 'Workers', ['Worker', 'Lanes', 'Batches under way', 'Requests a second', 'Requests in all'],
        workers.map(one => h('tr', {}, h('td.mono', {}, one.name),
          h('td', {}, ranges(lanes.filter(({ owner }) => owner === one.name).map(({ lane }) => lane))),
          h('td', {}, number(one.batches)), h('td', {}, number(one.rate)), h('td', {}, number(one.done))))),
      table('cluster-lanes', 'Lanes', ['Lane', 'Worker', 'Batches that wait', 'Oldest in hand'],
        lanes.map(one => h('tr', { 'data-owned': String(one.owner !== null) }, h('td', {}, one.lane),
          h('td.mono', {}, one.owner ?? 'nobody'), h('td', {}, number(one.depth)), h('td', {}, seconds(one.oldest))))));
    return false;
  }, EVERY);
}
