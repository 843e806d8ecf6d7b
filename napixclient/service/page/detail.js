// One result, opened: the answer as it came, or the chain of errors down to the first cause.

import { resultText } from './api.js';
import { $, duration, fill, h, number, say } from './dom.js';
import { headline, kind, parseExact } from './model.js';

const SHOWN = 128 * 1024;               // characters of a body that are shown before somebody asks for all
const DUMPED = 4096;

let run = null;
let list = [];
let at = 0;
let copied = '';

export function openDetail(of, result, results, host = null) {
  run = of;
  list = results;
  at = results.indexOf(result);
  if (result) show(result);
  else waiting(host);
  const dialog = $('detail');
  if (!dialog.open) dialog.showModal();
}

export function prepareDetail() {
  const dialog = $('detail');
  $('detail-close').onclick = () => dialog.close();
  $('detail-previous').onclick = () => go(-1);
  $('detail-next').onclick = () => go(1);
  $('detail-copy').onclick = async () => {
    await navigator.clipboard?.writeText(copied).catch(() => {});
    say('copied');
  };
  dialog.addEventListener('click', event => event.target === dialog && dialog.close());
  dialog.addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('pre')) return;
    if (event.key === 'ArrowLeft') go(-1);
    else if (event.key === 'ArrowRight') go(1);
    else return;
    event.preventDefault();
  });
}

function go(by) {
  if (list[at + by]) {
    at += by;
    show(list[at]);
  }
}

function waiting(host) {
  head(host.name, host.flying ? 'in flight' : 'waiting', 'waiting');
  fill($('detail-facts'));
  fill($('detail-content'), h('p.quiet', {}, 'There is no answer yet.'));
  $('detail-copy').hidden = true;
}

function head(name, state, className) {
  fill($('detail-title'), h('span.mono', {}, name), ' ', h('span', { className: `badge ${className}` }, state));
  $('detail-place').textContent = list.length > 1 ? `${number(at + 1)} of ${number(list.length)}` : '';
  $('detail-previous').disabled = !list[at - 1];
  $('detail-next').disabled = !list[at + 1];
  $('detail-previous').hidden = $('detail-next').hidden = list.length < 2;
}

async function show(result) {
  head(result.host, headline(result), kind(result));
  const facts = [['request', `${result.method} ${result.url}`]];
  if (result.state === 'done') facts.push(['took', duration(result.ms)]);
  facts.push(['ended', `${duration(result.at)} after the run began`]);
  if (result.attempts > 1) facts.push(['attempts', number(result.attempts)]);
  if (result.tag !== null && result.tag !== undefined) {
    facts.push(['tag', typeof result.tag === 'string' ? result.tag : JSON.stringify(result.tag)]);
  }
  fill($('detail-facts'), facts.map(([name, value]) => [h('dt', {}, name), h('dd.mono', {}, value)]));
  let text = result.text;
  if (text === null) {
    fill($('detail-content'), h('p.quiet', {}, 'Reading it\u2026'));
    try {
      text = await resultText(run.id, result.seq);
    } catch (error) {
      fill($('detail-content'), h('p.alert', { role: 'alert' }, error.message));
      return;
    }
    if (list[at] !== result) return;
  }
  const { body, error } = parseExact(text);
  const parts = [];
  if (error !== null) parts.push(...story(error));
  if (body !== null || error === null) {
    const [title, shown] = bodyText(body);
    copied = shown;
    parts.push(h('h3', {}, error === null ? title : `What was answered: ${title}`), block(shown));
  } else {
    copied = error.text;
  }
  $('detail-copy').hidden = false;
  fill($('detail-content'), parts);
  $('detail-content').scrollTop = 0;
}

function story({ class: name, text, chain }) {
  if (chain.length < 2) {
    const took = chain.length && chain[0].elapsed !== null ? ` after ${duration(chain[0].elapsed * 1000)}` : '';
    return [h('h3', {}, `${name}${took}`), h('p.mono.cause', {}, text)];
  }
  const hops = chain.map((hop, place) => h('li', { className: place === chain.length - 1 ? 'root' : '' },
    h('div.call.mono', {}, hop.remote_call),
    h('div.hop', {},
      hop.status === null ? null : h('span.badge.failed', {}, hop.status), ' ',
      hop.error_class ? h('strong', {}, hop.error_class) : null,
      hop.elapsed === null ? null : h('span.quiet', {}, ` ${duration(hop.elapsed * 1000)}`)),
    h('p.mono.cause', {}, hop.error_text ?? ''),
    place === chain.length - 1 ? h('span.label', {}, 'first cause') : null));
  return [h('h3', {}, `${name}: ${chain.length} calls, from ours to the first cause`), h('ol.chain', { id: 'chain' }, hops)];
}

export function bodyText(body) {
  if (body === null) return ['no body', ''];
  if (typeof body === 'string') return [`text, ${number(body.length)} characters`, body];
  if (typeof body.base64 === 'string' && Object.keys(body).length === 1) {
    const bytes = Uint8Array.from(atob(body.base64), char => char.charCodeAt(0));
    return [`${number(bytes.length)} bytes that are no text`, dump(bytes.subarray(0, DUMPED))];
  }
  return ['JSON', JSON.stringify(body, null, 2)];
}

function dump(bytes) {
  const lines = [];
  for (let from = 0; from < bytes.length; from += 16) {
    const row = [...bytes.subarray(from, from + 16)];
    lines.push(`${from.toString(16).padStart(6, '0')}  ${row.map(byte => byte.toString(16).padStart(2, '0')).join(' ').padEnd(47)}  `
      + row.map(byte => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : '.')).join(''));
  }
  return lines.join('\n');
}

export function block(text) {
  if (text === '') return h('p.quiet', {}, 'empty');
  const shown = h('pre', { tabIndex: 0 }, text.slice(0, SHOWN));
  if (text.length <= SHOWN) return shown;
  const more = h('button', { type: 'button', onclick: () => {
    fill(shown, text);
    more.remove();
    shown.focus();
  } }, `Show all ${number(text.length)} characters`);
  return h('div', {}, shown, more);
}
