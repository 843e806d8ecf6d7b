// What the drawings share: a canvas that is as sharp as the screen, the colours of the style sheet, a hint at the pointer.

import { h, fill } from './dom.js';

let colours = null;
const changed = new Set();

const NAMES = ['surface', 'line', 'text', 'muted', 'ok', 'failed', 'flying', 'waiting', 'cancelled', 'accent', 'raised'];

export function palette() {
  if (!colours) {
    const style = getComputedStyle(document.documentElement);
    colours = Object.fromEntries(NAMES.map(name => [name, style.getPropertyValue(`--${name}`).trim()]));
    colours.sans = style.getPropertyValue('--sans');
    colours.mono = style.getPropertyValue('--mono');
  }
  return colours;
}

for (const query of ['(prefers-color-scheme: dark)', '(prefers-contrast: more)', '(forced-colors: active)']) {
  matchMedia(query).addEventListener('change', () => {
    colours = null;
    for (const redraw of changed) redraw();
  });
}

// A canvas in `parent`. `draw` is called at once by `now`, and after `invalidate` in the next frame, as often as the time
// that it takes allows: never more than a sixth of the processor.
export class Surface {
  constructor(parent, label, draw) {
    this.canvas = h('canvas', { role: 'img', 'aria-label': label });
    this.paint = draw;
    this.width = 0;
    this.height = 0;
    this.pending = 0;
    this.rested = 0;
    parent.append(this.canvas);
    this.refresh = () => this.invalidate();
    changed.add(this.refresh);
    this.observer = new ResizeObserver(this.refresh);
    this.observer.observe(parent);
    this.parent = parent;
  }

  close() {
    changed.delete(this.refresh);
    this.observer.disconnect();
    cancelAnimationFrame(this.pending);
    clearTimeout(this.timer);
    this.pending = -1;
  }

  invalidate() {
    if (this.pending) return;
    const wait = this.rested - performance.now();
    if (wait > 4) {
      this.timer ??= setTimeout(() => { this.timer = undefined; this.invalidate(); }, wait);
      return;
    }
    this.pending = requestAnimationFrame(() => {
      this.pending = 0;
      const began = performance.now();
      this.draw();
      this.rested = performance.now() + 5 * (performance.now() - began);
    });
  }

  now() {
    if (this.pending < 0) return;
    cancelAnimationFrame(this.pending);
    clearTimeout(this.timer);
    this.pending = 0;
    this.timer = undefined;
    this.draw();
  }

  // The context of a canvas of this height, cleared; sizes are in CSS pixels.
  context(height) {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const width = this.parent.clientWidth;
    if (width !== this.width || height !== this.height || ratio !== this.ratio) {
      Object.assign(this, { width, height, ratio });
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
      this.canvas.style.width = `${width}px`;
      this.canvas.style.height = `${height}px`;
    }
    const context = this.canvas.getContext('2d');
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    return context;
  }

  draw() {
    if (this.parent.clientWidth) this.paint(this);
  }
}

// A hint beside the pointer.
export class Hint {
  constructor(parent) {
    this.element = h('div.hint', { hidden: true, 'aria-hidden': 'true' });
    this.parent = parent;
    parent.append(this.element);
  }

  show(x, y, ...lines) {
    fill(this.element, lines.map(line => h('div', {}, line)));
    this.element.hidden = false;
    const room = this.parent.clientWidth - this.element.offsetWidth;
    this.element.style.left = `${Math.max(Math.min(x + 12, room), 0)}px`;
    this.element.style.top = `${y + 16}px`;
  }

  hide() {
    this.element.hidden = true;
  }
}
