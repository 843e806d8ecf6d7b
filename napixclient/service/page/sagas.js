// Sagas: the newest of them, and one as a table of its steps with the way back.

import { json } from './api.js';
import { ago, fill, h, say, write } from './dom.js';

const EVERY = 1000;                     // ms between two looks at what is not over
const COLOURS = { running: 'running', undoing: 'running', committed: 'done', undone: 'cancelled', not_undone: 'failed',
  done: 'done', failed: 'failed', unknown: 'interrupted' };
const ENDED = ['committed', 'undone', 'not_undone'];
const words = state => state.replace('_', ' ');
const badge = state => h('span', { className: `badge ${COLOURS[state] ?? ''}` }, words(state));

// Shows again and again what `load` gives, until it says that it is over; gives what ends that.
export function repeat(load, every = EVERY) {
  let timer = null;
  let left = false;
  const look = async () => {
    const over = await load().catch(() => false);
    if (!left && !over) timer = setTimeout(look, every);
  };
  look();
  return () => {
    left = true;
    clearTimeout(timer);
  };
}

export function sagasView(main, go) {
  const list = h('ul.runs', { id: 'sagas' });
  const note = h('p.quiet', { id: 'sagas-note', role: 'status' }, 'Reading\u2026');
  let last = '';
  fill(main, h('h1', {}, 'Sagas'),
    h('p.quiet', {}, 'Steps that are undone, the last first, when a later one fails. Programs submit them: POST /sagas.'), note, list);
  document.title = 'Sagas \u00b7 napix';
  return repeat(async () => {
    let sagas;
    try {
      ({ sagas } = await json('sagas'));
    } catch (error) {
      note.hidden = false;
      write(note, error.message);
      return false;
    }
    note.hidden = sagas.length > 0;
    write(note, 'No sagas yet.');
    // What is the same stays: it may have the focus.
    if (last === (last = JSON.stringify(sagas))) return false;
    const at = [...list.querySelectorAll('a')].indexOf(document.activeElement);
    fill(list, sagas.map(saga => h('li', {}, h('a.run', { href: `#/sagas/${saga.id}` },
      h('span.what', {}, badge(saga.state), ` ${saga.counts.steps} ${saga.counts.steps === 1 ? 'step' : 'steps'}`),
      h('span.when.quiet', {}, ago(saga.created)),
      h('span.where.quiet', {}, saga.reason ?? '')))));
    if (at >= 0) list.querySelectorAll('a')[at]?.focus();
    return false;
  });
}

export function sagaView(main, id, go) {
  const state = h('span.badge', { id: 'saga-state', role: 'status' });
  document.title = `Saga ${id.slice(0, 8)} \u00b7 napix`;
  const reason = h('p.quiet', { id: 'saga-reason' });
  const rows = h('tbody', { id: 'saga-steps' });
  const abort = h('button', { type: 'button', id: 'saga-abort', onclick: async () => {
    abort.disabled = true;
    await json(`sagas/${id}`, { method: 'DELETE' }).catch(error => say(error.message));
  } }, 'Undo it');
  const heads = ['Wait', 'Step', 'State', 'Request', 'Way back', 'Error'];
  fill(main,
    h('p', {}, h('a', { href: '#/sagas' }, 'All sagas')),
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
      state.className = `badge ${COLOURS[saga.state]}`;
      if (last) say(words(saga.state));
      last = saga.state;
    }
    reason.textContent = saga.reason ?? '';
    abort.hidden = saga.state !== 'running';
    fill(rows, saga.steps.map(step => h('tr', { 'data-state': step.state },
      h('td', {}, step.wait),
      h('td', {}, step.name),
      h('td', {}, badge(step.state), step.status === null ? null : ` ${step.status}`),
      h('td.mono', {}, step.request),
      h('td.mono', {}, step.undo.length ? step.undo.join('\n') : '\u2013'),
      h('td', {}, step.error ?? ''))));
    return over;
  });
}
