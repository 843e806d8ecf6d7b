// A fan-out, composed and submitted; beside it the runs of the past.

import { call } from './api.js';
import { $, fill, h, number, write } from './dom.js';
import { count } from './nodeset.js';
import { past } from './runs.js';

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

// What was written, for as long as this page is open: it may hold secrets, so it is kept nowhere else.
let draft = { method: 'GET', url: '/', simultaneous: '2' };
const submitted = new Map();

export function draftOf(id, fallback) {
  draft = { ...(submitted.get(id) ?? fallback) };
}

// What this page has sent as that run; undefined where it was somebody else, or before a reload.
export const written = id => submitted.get(id);

// Fields ---------------------------------------------------------------------------------------------------------------

function field(name, label, control, hint) {
  control.id = `field-${name}`;
  control.name = name;
  if (control.type === 'checkbox') control.checked = Boolean(draft[name]);
  else control.value = draft[name] ?? '';
  control.addEventListener('input', () => {
    draft[name] = control.type === 'checkbox' ? control.checked : control.value;
  });
  if (hint) control.setAttribute('aria-describedby', `hint-${name}`);
  return h('div.field', {}, h('label', { htmlFor: control.id }, label), control,
    hint ? h('p.hint-text', { id: `hint-${name}` }, hint) : null);
}

const input = properties => h('input', { autocomplete: 'off', spellcheck: false, ...properties });
const area = (rows, properties) => h('textarea.mono', { rows, spellcheck: false, autocapitalize: 'off', ...properties });

function headersOf(text) {
  const headers = {};
  for (const [at, line] of text.split('\n').entries()) {
    if (!line.trim()) continue;
    const match = /^([^:\s]+)\s*:\s*(.*?)\s*$/.exec(line);
    if (!match) throw new Error(`Headers, line ${at + 1}: a header is written Name: value`);
    if (Object.keys(headers).some(name => name.toLowerCase() === match[1].toLowerCase())) {
      throw new Error(`Headers, line ${at + 1}: ${match[1]} comes twice`);
    }
    Object.defineProperty(headers, match[1], { value: match[2], enumerable: true, configurable: true, writable: true });
  }
  return headers;
}

function isStructured(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === 'object' && value !== null;
  } catch {
    return false;
  }
}

function numberOf(name, label, what = 'a number') {
  const text = (draft[name] ?? '').trim();
  if (!text) return undefined;
  const value = Number(text);
  if (!Number.isFinite(value)) throw new Error(`${label}: ${what}, not \u201c${text}\u201d`);
  return value;
}

// A time as the command takes it too: 5, 5s, 1m30s, 500ms.
const UNITS = { d: 86400, h: 3600, m: 60, s: 1, ms: 0.001 };
const isTime = /^(?=.)(?:\d+(?:\.\d+)?d)?(?:\d+(?:\.\d+)?h)?(?:\d+(?:\.\d+)?m)?(?:\d+(?:\.\d+)?s)?(?:\d+(?:\.\d+)?ms)?$/;

function secondsOf(name, label) {
  const text = (draft[name] ?? '').trim();
  if (!isTime.test(text)) return numberOf(name, label, 'a number of seconds, or such as 1m30s');
  return [...text.matchAll(/([\d.]+)(ms|[dhms])/g)].reduce((sum, [, many, unit]) => sum + Number(many) * UNITS[unit], 0);
}

// The text that is posted. JSON is put in as it was written, so that its numbers keep their digits.
function submission() {
  const hosts = (draft.hosts ?? '').trim();
  if (!hosts) throw new Error('Hosts: at least one is missing, such as web1:8002, or web[1-100]:8002 for a hundred');
  const simultaneous = (draft.simultaneous ?? '').trim();
  const options = {
    simultaneous: simultaneous === 'auto' ? 'auto' : numberOf('simultaneous', 'Simultaneous'),
    timeout: secondsOf('timeout', 'Timeout'), deadline: secondsOf('deadline', 'Deadline'),
    retries: numberOf('retries', 'Retries'), need: numberOf('need', 'Stop after'),
    ordered: draft.ordered || undefined, redirect: draft.redirect || undefined,
  };
  const request = { method: draft.method, url: (draft.url ?? '').trim() || '/' };
  const headers = headersOf(draft.headers ?? '');
  if (Object.keys(headers).length) request.headers = headers;
  const body = draft.body ?? '';
  let text = JSON.stringify(request);
  if (body.trim()) text = `${text.slice(0, -1)},"body":${isStructured(body) ? body : JSON.stringify(body)}}`;
  return `${JSON.stringify({ ...options, hosts }).slice(0, -1)},"request":${text}}`;
}

function form(go) {
  const method = h('select', {}, METHODS.map(name => h('option', { value: name }, name)));
  const hosts = area(3, { placeholder: 'web[1-100].example:8002', required: true });
  const body = area(4);
  const alert = h('p.alert', { role: 'alert', id: 'compose-alert', hidden: true });
  const send = h('button.primary', { type: 'submit', id: 'send' }, 'Send');
  const hint = h('span');
  const bodyHint = h('span');
  const tell = () => {
    const many = count(hosts.value);
    write(hint, many === null || !hosts.value.trim() ? '' : ` ${number(many)} ${many === 1 ? 'host' : 'hosts'}.`);
    write(bodyHint, !body.value.trim() ? 'JSON goes as JSON, anything else as text.'
      : isStructured(body.value) ? 'It goes as JSON.' : 'It goes as text.');
  };
  const made = h('form', { id: 'compose', noValidate: true, 'aria-labelledby': 'compose-title' },
    h('h1', { id: 'compose-title' }, 'New run'),
    field('hosts', 'Hosts', hosts, [
      'Names or addresses, each with :port if it is not 80. Brackets stand for a range: web[1-3] is web1, web2 and web3. '
      + 'Put commas or blanks between several.', hint]),
    h('div.row.request', {},
      field('method', 'Method', method),
      field('url', 'URL (path and query)', input({ className: 'mono', inputMode: 'url' }))),
    field('headers', 'Headers', area(2, { placeholder: 'Accept: application/json' }), 'One a line, Name: value.'),
    field('body', 'Body', body, bodyHint),
    h('div.row', {},
      field('simultaneous', 'Simultaneous', input({ inputMode: 'numeric' }), 'Requests at a time to one host, or auto.'),
      field('timeout', 'Timeout', input({ inputMode: 'decimal', placeholder: '60' }), 'What one request may take: seconds, or such as 500ms, 2m.')),
    h('details.more', { open: Boolean(draft.deadline || draft.retries || draft.need || draft.ordered || draft.redirect) },
      h('summary', {}, 'More options'),
      h('div.row', {},
        field('deadline', 'Deadline', input({ inputMode: 'decimal' }), 'What all of it may take: seconds, or such as 30s, 1m30s.'),
        field('retries', 'Retries', input({ inputMode: 'numeric', placeholder: '0' }), 'Of requests that may be repeated.'),
        field('need', 'Stop after', input({ inputMode: 'numeric', placeholder: 'all' }),
          'So many good answers (below 400) are enough: the other requests are then cancelled.')),
      h('div.row.checks', {},
        field('ordered', 'Results in the order asked', input({ type: 'checkbox' })),
        field('redirect', 'Follow redirects', input({ type: 'checkbox' })))),
    alert,
    h('div.actions', {}, send, h('span.quiet', {}, h('kbd', {}, 'Ctrl'), ' ', h('kbd', {}, 'Enter'))));
  made.addEventListener('input', tell);
  made.addEventListener('keydown', event => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) made.requestSubmit();
  });
  made.addEventListener('submit', async event => {
    event.preventDefault();
    if (send.disabled) return;
    alert.hidden = true;
    send.disabled = true;
    try {
      const run = await (await call('runs', { method: 'POST', body: submission() })).json();
      submitted.set(run.id, { ...draft });
      go(`#/runs/${run.id}`);
    } catch (error) {
      alert.hidden = false;
      write(alert, error.message);
      const named = /^(Hosts|hosts|Headers|Simultaneous|simultaneous|Timeout|timeout|Deadline|deadline|Retries|retries|Stop after|need)\b/
        .exec(error.message);
      const name = { 'stop after': 'need' }[named?.[1].toLowerCase()] ?? named?.[1].toLowerCase();
      (name ? $(`field-${name}`) : send).focus();
    } finally {
      send.disabled = false;
    }
  });
  tell();
  return made;
}

export function composeView(main, go) {
  fill(main, h('div.home', {}, form(go), past()));
  document.title = 'napix';
  if (!matchMedia('(pointer: coarse)').matches) $('field-hosts').focus({ preventScroll: true });
  return () => {};
}
