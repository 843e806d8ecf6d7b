// The runs of the past: how each ended, filtered, and forgotten.

import { call, json } from './api.js';
import { $, add, ago, fill, h, number, say, write } from './dom.js';

const PAGE = 20;
const PAUSE = 200;                      // ms after the last key before the list is filtered
const OUTCOMES = [['', 'All runs'], ['running', 'Running'], ['done', 'Done'], ['done_with_failures', 'Done, with failures'],
  ['failed', 'Failed'], ['cancelled', 'Cancelled'], ['interrupted', 'Interrupted']];

// What the list is filtered by, for as long as this page is open.
const filter = { outcome: '', text: '' };

// What a run's badge says, and in which colour: its outcome, and how many failed where others did not.
export function badgeOf({ outcome, counts }) {
  return outcome === 'done_with_failures' ? [`done, ${number(counts.failed)} failed`, 'partial'] : [outcome, outcome];
}

export function outcome({ total, done, ok, failed, cancelled, interrupted }, state) {
  const parts = [];
  if (state === 'running') parts.push(`${number(done)} of ${number(total)}`);
  if (ok) parts.push(`${number(ok)} ok`);
  if (failed) parts.push(`${number(failed)} failed`);
  if (cancelled) parts.push(`${number(cancelled)} cancelled`);
  if (interrupted) parts.push(`${number(interrupted)} interrupted`);
  return parts.join(', ') || 'nothing yet';
}

// What a run asks, and whom, in a few words.
export function label({ about, counts }) {
  const what = about.method !== null && about.url !== null ? `${about.method} ${about.url}`
    : `${number(counts.total)} ${about.method ?? ''} requests`;
  return [what, about.hosts === 1 ? about.host : `${about.host} and ${number(about.hosts - 1)} more`];
}

export const short = id => id.slice(0, 8);

// Asks whether a run is to be forgotten, by name, and has it forgotten; gives whether it was.
export function forget(run) {
  const dialog = $('forget');
  const [what, where] = label(run);
  const alert = $('forget-alert');
  fill($('forget-what'), h('strong.mono', {}, what), ' to ', h('span.mono', {}, where), `, run ${short(run.id)}: `,
    `${outcome(run.counts, run.state)}, ${ago(run.created)}`);
  alert.hidden = true;
  dialog.returnValue = '';
  dialog.showModal();
  $('forget-keep').focus();
  return new Promise(resolve => {
    let gone = false;
    $('forget-form').onsubmit = async event => {
      event.preventDefault();
      $('forget-go').disabled = true;
      try {
        await call(`runs/${run.id}?forget=1`, { method: 'DELETE' });
        gone = true;
        dialog.close();
      } catch (error) {
        gone = error.status === 404;
        alert.hidden = false;
        write(alert, error.message);
      } finally {
        $('forget-go').disabled = false;
      }
    };
    $('forget-keep').onclick = () => dialog.close();
    dialog.onclose = () => {
      if (gone) say(`run ${short(run.id)} is deleted`);
      resolve(gone);
    };
  });
}

function bar({ total, ok, failed, cancelled, interrupted }) {
  const parts = [['ok', ok], ['failed', failed], ['cancelled', cancelled + interrupted]];
  return h('span.bar', { 'aria-hidden': 'true' }, parts.filter(([, many]) => many).map(([name, many]) => {
    const part = h('span', { className: name });
    part.style.width = `${100 * many / Math.max(total, 1)}%`;
    return part;
  }));
}

function entry(run, gone) {
  const [what, where] = label(run);
  const [text, name] = badgeOf(run);
  const item = h('li', {}, h('a.run', { href: `#/runs/${run.id}` },
    h('span.what.mono', {}, what), h('span.when.quiet', {}, ago(run.created)),
    h('span.where.mono.quiet', {}, where),
    h('span.outcome', {}, h('span', { className: `badge ${name}` }, text), ' ', outcome(run.counts, run.state),
      run.again ? h('span.quiet', {}, ', asked again') : null),
    bar(run.counts)));
  if (run.state !== 'running') {
    item.append(h('button.round.forget', { type: 'button', title: 'Delete this run',
      'aria-label': `Delete the run ${what} to ${where}`, onclick: async () => {
        if (await forget(run)) gone(item);
      } }, '\u2715'));
  }
  return item;
}

export function past() {
  const list = h('ul.runs', { id: 'runs' });
  const note = h('p.quiet', { role: 'status', id: 'runs-note' }, 'Reading\u2026');
  const title = h('h2', { id: 'past-title', tabIndex: -1 }, 'Runs');
  let before = '';
  let latest = 0;                       // of two answers the one that was asked for last counts
  const tell = () => {
    note.hidden = list.children.length > 0;
    write(note, filter.outcome || filter.text.trim() ? 'No run is like that.'
      : 'No runs yet. The first one that you send is kept here.');
  };
  const gone = item => {
    const next = item.nextElementSibling ?? item.previousElementSibling;
    item.remove();
    tell();
    (next?.querySelector('a') ?? title).focus();
  };
  const more = h('button.quiet-button', { type: 'button', hidden: true, onclick: () => read() }, 'Older runs');
  const read = async (anew = false) => {
    const mine = latest += 1;
    more.disabled = true;
    if (anew) before = '';
    try {
      const query = new URLSearchParams({ limit: PAGE });
      if (filter.outcome) query.set('outcome', filter.outcome);
      if (filter.text.trim()) query.set('text', filter.text.trim());
      const { runs, next } = await json(`runs?${query}${before}`);
      if (mine !== latest) return;
      if (anew) fill(list);
      const first = list.children.length;
      add(list, runs.map(run => entry(run, gone)));
      before = next ? `&before=${next}` : '';
      more.hidden = !next;
      tell();
      if (first) list.children[first]?.querySelector('a').focus();
    } catch (error) {
      if (mine !== latest) return;
      note.hidden = false;
      write(note, error.message);
    } finally {
      if (mine === latest) more.disabled = false;
    }
  };
  const which = h('select', { id: 'filter-outcome', 'aria-label': 'Which runs', onchange: () => {
    filter.outcome = which.value;
    read(true);
  } }, OUTCOMES.map(([value, text]) => h('option', { value }, text)));
  which.value = filter.outcome;
  let timer = null;
  const text = h('input.mono', { type: 'search', id: 'filter-text', placeholder: 'Method, path, host or id', maxLength: 200,
    'aria-label': 'Filter by method, path, first host or id', autocomplete: 'off', spellcheck: false, value: filter.text,
    oninput: () => {
      filter.text = text.value;
      clearTimeout(timer);
      timer = setTimeout(() => read(true), PAUSE);
    } });
  read();
  return h('section.past', { 'aria-labelledby': 'past-title' }, title,
    h('div.filter', { role: 'search', 'aria-label': 'Filter the runs' }, which, text), note, list, more);
}
