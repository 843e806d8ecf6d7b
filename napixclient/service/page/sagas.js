// Sagas: the newest of them, and one as a table of its steps with the way back.

import { json } from './api.js';
import { ago, fill, h, say } from './dom.js';

const EVERY = 1000;                     // ms between two looks at what is not over
const ENDED = ['committed', 'undone', 'not_undone'];
const words = state => state.replace('_', ' ');

// Shows again and again what `load` gives, until it says that it is over; gives what ends that.
function repeat(load) {
  let timer = null;
  let left = false;
  const look = async () => {
    const over = await load().catch(() => false);
    if (!left && !over) timer = setTimeout(look, EVERY);
  };
  look();
  return () => {
    left = true;
    clearTimeout(timer);
  };
}

export function sagasView(main, go) {
  const list = h('ul.runs', { id: 'sagas' });
  const empty = h('p.quiet', {}, 'None yet: POST /sagas takes them.');
  fill(main, h('h1', {}, 'Sagas'), empty, list);
  return repeat(async () => {
    const { sagas } = await json('sagas');
    empty.hidden = sagas.length > 0;
    fill(list, sagas.map(saga => h('li', {}, h('a', { href: `#/sagas/${saga.id}` },
      `${words(saga.state)}: ${saga.counts.steps} ${saga.counts.steps === 1 ? 'step' : 'steps'}, ${ago(saga.created)}`,
      saga.reason ? h('span.quiet', {}, ` ${saga.reason}`) : null))));
    return false;
  });
}

export function sagaView(main, id, go) {
  const state = h('strong', { id: 'saga-state', role: 'status' });
  const reason = h('p.quiet', { id: 'saga-reason' });
  const rows = h('tbody', { id: 'saga-steps' });
  const abort = h('button', { type: 'button', id: 'saga-abort', onclick: async () => {
    abort.disabled = true;
    await json(`sagas/${id}`, { method: 'DELETE' }).catch(error => say(error.message));
  } }, 'Undo it');
  const heads = ['Wait', 'Step', 'State', 'Request', 'Way back', 'Error'];
  fill(main,
    h('h1', {}, 'Saga ', h('span.mono', {}, id.slice(0, 8))),
    h('p', {}, state, ' ', abort),
    reason,
    h('div.wide', {}, h('table.saga', {},
      h('thead', {}, h('tr', {}, heads.map(head => h('th', { scope: 'col' }, head)))),
      rows)));
  let last = '';
  return repeat(async () => {
    let saga;
    try {
      saga = await json(`sagas/${id}`);
    } catch (error) {
      if (error.status !== 404) throw error;
      state.textContent = 'There is no such saga.';
      abort.hidden = true;
      return true;
    }
    const over = ENDED.includes(saga.state);
    if (saga.state !== last) {
      state.textContent = words(saga.state);
      state.dataset.state = saga.state;
      if (last) say(words(saga.state));
      last = saga.state;
    }
    reason.textContent = saga.reason ?? '';
    abort.hidden = saga.state !== 'running';
    fill(rows, saga.steps.map(step => h('tr', { 'data-state': step.state },
      h('td', {}, step.wait),
      h('td', {}, step.name),
      h('td', {}, words(step.state), step.status === null ? null : ` ${step.status}`),
      h('td.mono', {}, step.request),
      h('td.mono', {}, step.undo.length ? step.undo.join('\n') : '\u2013'),
      h('td', {}, step.error ?? ''))));
    return over;
  });
}
