// The page: which view is shown, the shortcuts, the token.

import { json, onDenied } from './api.js';
import { clusterView } from './cluster.js';
import { composeView } from './compose.js';
import { prepareDetail } from './detail.js';
import { $, write } from './dom.js';
import { runView } from './runview.js';
import { sagasView, sagaView } from './sagas.js';

const go = place => { location.hash = place; };
let leave = () => {};

function route() {
  leave();
  for (const dialog of document.querySelectorAll('dialog[open]:not(#access)')) dialog.close();
  const match = /^#\/runs\/([0-9a-f]{32})$/.exec(location.hash);
  const saga = /^#\/sagas\/([0-9a-f]{32})$/.exec(location.hash);
  if (saga) leave = sagaView($('main'), saga[1], go);
  else if (location.hash === '#/sagas') leave = sagasView($('main'), go);
  else if (location.hash === '#/cluster') leave = clusterView($('main'));
  else leave = match ? runView($('main'), match[1], go) : composeView($('main'), go);
  const place = /^#\/(sagas|cluster)/.exec(location.hash)?.[1] ?? '';
  for (const link of document.querySelectorAll('header nav a')) {
    if (link.getAttribute('href') === `#/${place}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
}

// The service wants a token, or another one.
onDenied(text => new Promise(resolve => {
  const dialog = $('access');
  const field = $('token');
  write($('access-why'), text ? `The service says: ${text}.` : '');
  field.value = '';
  let given = null;
  $('access-form').onsubmit = event => {
    event.preventDefault();
    if (!field.value.trim()) return;
    given = field.value.trim();
    dialog.close();
  };
  dialog.onclose = () => {
    field.value = '';
    resolve(given);
  };
  dialog.showModal();
  field.focus();                        // not the button that closes, which comes first
}));

const SHORTCUTS = {
  n: () => {
    if (location.hash === '#/' || !location.hash) $('field-hosts')?.focus();
    else go('#/');
  },
  r: () => {
    const toList = () => ($('runs').querySelector('a') ?? $('past-title')).focus();
    if ($('runs')) return toList();
    addEventListener('hashchange', toList, { once: true });       // once its view is there
    go('#/');
  },
  s: () => go('#/sagas'),
  '/': () => ($('find') ?? $('filter-text'))?.focus(),
  t: () => document.querySelector('.tiles')?.focus(),
  a: () => document.querySelector('#answers summary')?.focus(),
  f: () => $('fold')?.click(),
  c: () => $('cancel')?.focus(),
  '?': () => $('help').showModal(),
};

addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
  if (event.target.matches('input:not([type=checkbox]), textarea, select')) {
    if (event.key === 'Escape') event.target.blur();
    return;
  }
  const action = Object.hasOwn(SHORTCUTS, event.key) ? SHORTCUTS[event.key] : null;
  if (!action) return;
  event.preventDefault();
  action();
});

$('help-button').onclick = () => $('help').showModal();
$('help-close').onclick = () => $('help').close();
$('access-close').onclick = () => $('access').close();
$('help').addEventListener('click', event => event.target === $('help') && $('help').close());
$('skip').onclick = event => {          // the address tells the view, and stays
  event.preventDefault();
  $('main').focus();
};
prepareDetail();
addEventListener('hashchange', route);
route();
// Where runs ask over a cluster, there is a place for it. The health check, as it wants no token and is never an error.
json('healthz').then(({ cluster }) => { $('cluster-link').hidden = !cluster; }, () => {});
