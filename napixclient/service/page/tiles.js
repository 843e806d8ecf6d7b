// A tile for every host, coloured by how it fares. One canvas for any number of them; to assistive technology it is a
// list of options of which the chosen one is told.

import { Hint, Surface, palette } from './canvas.js';
import { duration, h, number, write } from './dom.js';
import { headline, isFailure } from './model.js';

const NAMED = { least: 60, width: 148, height: 40, gap: 6 };
const LARGEST = 26;
const SMALLEST = 8;
const WANTED_HEIGHT = 300;

// What is cut out of a tile, as a part of its width. Not by colour alone: a failure lacks a corner, what is cancelled
// is hollow, what is in flight has a hole.
const HOLLOW = { failed: 0.5, cancelled: 0.14, flying: 0.3 };
const KEYS = ['ok', 'failed', 'cancelled', 'interrupted'];

export class Tiles {
  constructor(parent, open) {
    this.run = null;
    this.cursor = 0;
    this.find = '';
    this.pointed = false;
    this.open = open;
    this.option = h('div.unseen', { id: 'tile', role: 'option', 'aria-selected': 'true' });
    this.box = h('div.tiles', { tabIndex: 0, role: 'listbox', 'aria-label': 'Hosts', 'aria-activedescendant': 'tile' },
      this.option);
    parent.append(this.box);
    this.surface = new Surface(this.box, '', surface => this.draw(surface));
    this.surface.canvas.setAttribute('role', 'presentation');
    this.surface.canvas.removeAttribute('aria-label');
    this.hint = new Hint(this.box);
    this.box.addEventListener('keydown', event => this.key(event));
    this.box.addEventListener('focus', () => this.move(this.cursor));
    this.box.addEventListener('blur', () => {
      this.hint.hide();
      this.surface.invalidate();
    });
    this.surface.canvas.addEventListener('pointermove', event => this.hover(event));
    this.surface.canvas.addEventListener('pointerleave', () => this.rest());
    this.surface.canvas.addEventListener('click', event => {
      const at = this.at(event);
      if (at === null) return;
      this.move(at);
      this.choose();
    });
  }

  close() {
    this.surface.close();
  }

  show(run) {
    this.run = run;
    this.surface.now();
  }

  get hosts() {
    return this.run ? this.run.sorted() : [];
  }

  // What is sought stands out; the first that is found is chosen. How many there are.
  seek(text) {
    this.find = text.trim().toLowerCase();
    const hits = this.find ? this.hosts.filter(host => host.name.toLowerCase().includes(this.find)) : [];
    if (hits.length) this.move(this.hosts.indexOf(hits[0]));
    this.surface.invalidate();
    return hits.length;
  }

  layout(many, width) {
    if (many <= NAMED.least) {
      const columns = Math.max(Math.floor((width + NAMED.gap) / (NAMED.width + NAMED.gap)), 1);
      const cell = (width + NAMED.gap) / columns;
      return { columns, across: cell, down: NAMED.height + NAMED.gap, gap: NAMED.gap, named: true };
    }
    const side = Math.sqrt(width * WANTED_HEIGHT / many);
    const cell = Math.max(Math.min(Math.floor(side), LARGEST), SMALLEST);
    const columns = Math.max(Math.floor(width / cell), 1);
    return { columns, across: cell, down: cell, gap: cell >= 14 ? 3 : cell >= 10 ? 2 : 1, named: false };
  }

  draw(surface) {
    if (!this.run) return;
    const hosts = this.hosts;
    // A run that somebody else submitted: hosts that did not yet answer are tiles without a name.
    const unknown = Math.max(this.run.total - this.run.requests.size, 0);
    const many = hosts.length + unknown;
    this.grid = this.layout(many, surface.parent.clientWidth);
    const { columns, across, down, gap, named } = this.grid;
    const context = surface.context(Math.max(Math.ceil(many / columns) * down - gap, 1));
    const colours = palette();
    const size = { width: across - gap, height: down - gap };
    // By colour, not by place: a change of the colour costs more than a rectangle.
    const layers = { raised: [], waiting: [], ok: [], flying: [], failed: [], cancelled: [] };
    for (let at = 0; at < many; at += 1) this.sort(layers, hosts[at], (at % columns) * across, Math.floor(at / columns) * down, size);
    for (const [name, shapes] of Object.entries(layers)) {
      context.fillStyle = colours[name];
      for (const [x, y, width, height, dim] of shapes) {
        context.globalAlpha = dim ? 0.18 : 1;
        context.fillRect(x, y, width, height);
      }
      context.globalAlpha = 1;
      if (name in HOLLOW) this.mark(context, name, shapes, colours.surface);
    }
    if (named) this.name(context, hosts, colours, size);
    this.ring(context, colours, size);
    if (document.activeElement === this.box) this.tell();
  }

  sort(layers, host, x, y, { width, height }) {
    const dim = this.find !== '' && !(host && host.name.toLowerCase().includes(this.find));
    if (this.grid.named) {
      layers.raised.push([x, y, width, height, dim]);
      width = 4;
    }
    if (!host) {
      if (!this.grid.named) layers.waiting.push([x, y, width, height, dim]);
      return;
    }
    const lost = host.cancelled + host.interrupted;
    if (host.total === 1) {
      const name = host.ok ? 'ok' : host.failed ? 'failed' : lost ? 'cancelled' : host.flying ? 'flying' : 'waiting';
      if (!(this.grid.named && name === 'waiting')) layers[name].push([x, y, width, height, dim]);
      return;
    }
    // Several requests fill the tile from below; of failures, however few, there is something to be seen.
    let bottom = y + height;
    if (!this.grid.named) layers.waiting.push([x, y, width, height, dim]);
    for (const [name, part] of [['ok', host.ok], ['cancelled', lost], ['failed', host.failed], ['flying', host.flying]]) {
      if (!part) continue;
      const tall = Math.max(height * part / host.total, name === 'failed' ? 2 : 0);
      bottom = Math.max(bottom - tall, y);
      layers[name].push([x, bottom, width, Math.min(tall, y + height - bottom), dim]);
    }
  }

  mark(context, name, shapes, colour) {
    if (this.grid.named) return;
    context.fillStyle = colour;
    context.beginPath();
    for (const [x, y, width, height] of shapes) {
      if (height < width) continue;             // a part of a tile
      const part = Math.max(width * HOLLOW[name], 1.5);
      if (name === 'failed') {
        context.moveTo(x + width - part, y);
        context.lineTo(x + width, y);
        context.lineTo(x + width, y + part);
      } else {
        context.rect(x + part, y + part, width - 2 * part, height - 2 * part);
      }
    }
    context.fill();
  }

  name(context, hosts, colours, { width, height }) {
    const { columns, across, down } = this.grid;
    context.textBaseline = 'middle';
    hosts.forEach((host, at) => {
      const x = (at % columns) * across + 14;
      const y = Math.floor(at / columns) * down;
      context.font = `12px ${colours.mono}`;
      context.fillStyle = colours.text;
      context.fillText(fitted(context, host.name, width - 22), x, y + height / 2 - 7);
      context.font = `11px ${colours.sans}`;
      context.fillStyle = host.failed ? colours.failed : colours.muted;
      context.fillText(fitted(context, brief(host), width - 22), x, y + height / 2 + 9);
    });
  }

  ring(context, colours, { width, height }) {
    if (document.activeElement !== this.box || !this.hosts.length) return;
    const { columns, across, down } = this.grid;
    const x = (this.cursor % columns) * across;
    const y = Math.floor(this.cursor / columns) * down;
    context.lineWidth = 2;
    context.strokeStyle = colours.surface;
    context.strokeRect(x + 2, y + 2, width - 4, height - 4);
    context.strokeStyle = colours.text;
    context.strokeRect(x, y, width, height);
  }

  at(event) {
    if (!this.grid) return null;
    const { columns, across, down } = this.grid;
    const column = Math.floor(event.offsetX / across);
    const at = Math.floor(event.offsetY / down) * columns + column;
    return column < columns && at < this.hosts.length ? at : null;
  }

  hover(event) {
    const at = event.pointerType === 'touch' ? null : this.at(event);
    this.surface.canvas.style.cursor = at === null ? '' : 'pointer';
    this.pointed = at !== null;
    if (at === null) this.rest();
    else this.hint.show(event.offsetX, event.offsetY, this.hosts[at].name, brief(this.hosts[at]));
  }

  // The pointer is on no tile: the one that the keyboard is on says its name, if any.
  rest() {
    this.pointed = false;
    this.hint.hide();
    this.caption();
  }

  // The name of the tile that the keyboard is on, below it.
  caption() {
    const host = this.hosts[this.cursor];
    if (!host || !this.grid || this.pointed || document.activeElement !== this.box) return;
    const { columns, across, down } = this.grid;
    this.hint.show((this.cursor % columns) * across - 12, (Math.floor(this.cursor / columns) + 1) * down - 10,
      host.name, brief(host));
  }

  key(event) {
    const columns = this.grid?.columns ?? 1;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, PageUp: -10 * columns,
      PageDown: 10 * columns, Home: -Infinity, End: Infinity };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in steps) {
      const to = this.cursor + steps[event.key];
      const last = this.hosts.length - 1;
      if (Number.isFinite(to) && Math.abs(steps[event.key]) > 1 && (to < 0 || to > last)) { /* stays in its column */ }
      else {
        this.pointed = false;
        this.move(Math.max(Math.min(to, last), 0));
      }
    } else if (event.key === 'Enter' || event.key === ' ') this.choose();
    else return;
    event.preventDefault();
  }

  move(to) {
    this.cursor = Math.max(Math.min(to, this.hosts.length - 1), 0);
    this.tell();
    this.surface.invalidate();
    const { columns, down } = this.grid ?? { columns: 1, down: 0 };
    const top = this.box.getBoundingClientRect().top + Math.floor(this.cursor / columns) * down;
    if (document.activeElement === this.box && (top < 60 || top > innerHeight - 60)) {
      scrollBy({ top: top - innerHeight / 2 });
    }
  }

  tell() {
    const host = this.hosts[this.cursor];
    if (!host) return;
    write(this.option, `${host.name}, ${brief(host)}`);
    this.option.setAttribute('aria-posinset', this.cursor + 1);
    this.option.setAttribute('aria-setsize', this.hosts.length);
    this.caption();
  }

  choose() {
    const host = this.hosts[this.cursor];
    if (!host) return;
    const results = host.results;
    this.open(results.find(isFailure) ?? results[results.length - 1] ?? null, results, host);
  }
}

export function brief(host) {
  if (host.total === 1 && host.results.length) {
    const [result] = host.results;
    return result.ms && result.state === 'done' ? `${headline(result)} \u00b7 ${duration(result.ms)}` : headline(result);
  }
  if (host.total === 1) return host.flying ? 'in flight' : 'waiting';
  const parts = KEYS.filter(name => host[name]).map(name => `${number(host[name])} ${name}`);
  const waiting = host.total - host.results.length;
  if (waiting) parts.push(`${number(waiting)} waiting`);
  return parts.join(', ');
}

function fitted(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let keep = text.length;
  while (keep > 1 && context.measureText(`${text.slice(0, keep)}\u2026`).width > width) keep -= 1;
  return `${text.slice(0, keep)}\u2026`;
}
