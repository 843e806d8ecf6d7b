// Elements made of texts, never of markup: whatever a server said is shown, and does nothing.

// Marks that turn the text around them, and controls that nobody sees, are shown as what they are.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

export function visible(text) {
  return String(text).replace(/\r\n/g, '\n')
    .replace(HIDDEN, char => `\u2039U+${char.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}\u203a`);
}

// h('a.link', {href: '#/', onclick: f}, 'text', element): an element, its class, its properties, what is in it.
export function h(name, properties = {}, ...children) {
  const [tag, ...classes] = name.split('.');
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(' ');
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key in element && key !== 'list' && key !== 'form' && key !== 'role') element[key] = value;
    else element.setAttribute(key, value === true ? '' : value);
  }
  add(element, children);
  return element;
}

export function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) {
      element.append(child instanceof Node ? child : document.createTextNode(visible(child)));
    }
  }
  return element;
}

export function fill(element, ...children) {
  element.replaceChildren();
  return add(element, children);
}

// Sets a text only where it has changed, so that nothing is laid out for nothing.
export function write(element, text) {
  const shown = visible(text);
  if (element.textContent !== shown) element.textContent = shown;
}

export const $ = id => document.getElementById(id);

// Said to those who do not see the page.
export function say(text) {
  $('said').textContent = '';
  setTimeout(() => { $('said').textContent = visible(text); }, 50);
}

const whole = new Intl.NumberFormat('en');
export const number = value => whole.format(value);

export function duration(ms) {
  if (ms === null || ms === undefined) return '\u2013';
  if (ms < 1) return `${ms.toFixed(2)} ms`;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 10000) return `${(ms / 1000).toFixed(2)} s`;
  if (ms < 120000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 7200000) return `${Math.round(ms / 60000)} min`;
  return `${Math.round(ms / 3600000)} h`;
}

export function rate(count, ms) {
  if (!count || !(ms > 0)) return '\u2013';
  const each = count * 1000 / ms;
  return `${each < 9.95 ? each.toFixed(1) : number(Math.round(each))}/s`;
}

export function ago(seconds) {
  const passed = Date.now() / 1000 - seconds;
  if (passed < 45) return 'just now';
  if (passed < 5400) return `${Math.max(Math.round(passed / 60), 1)} min ago`;
  if (passed < 129600) return `${Math.round(passed / 3600)} h ago`;
  return new Date(seconds * 1000).toISOString().slice(0, 16).replace('T', ' ');
}
