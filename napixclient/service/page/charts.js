// The timeline of requests in flight, and the histogram of latencies.

import { Hint, Surface, palette } from './canvas.js';
import { duration, h, number, write } from './dom.js';
import { headline, kind } from './model.js';

const BARS = 400;                       // requests that have a bar each; of more, how many were in flight is drawn
const AXIS = 20;
const LAYERS = ['failed', 'cancelled', 'ok', 'flying'];     // from below

const layerOf = result => (!result ? 'flying' : result.state === 'done' ? kind(result) : 'cancelled');

// Steps of 1, 2 and 5.
function step(span, most) {
  const raw = Math.max(span, 1e-9) / most;
  const ten = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map(part => part * ten).find(value => value >= raw);
}

function seconds(ms) {
  return ms === 0 ? '0' : ms < 1000 ? `${Number(ms.toPrecision(3))} ms` : `${Number((ms / 1000).toFixed(2))} s`;
}

export class Timeline {
  constructor(parent, open) {
    this.run = null;
    this.bars = [];
    this.empty = h('p.quiet.empty', { role: 'status' });
    parent.append(this.empty);
    this.surface = new Surface(parent, 'Requests in flight', surface => this.draw(surface));
    this.hint = new Hint(parent);
    const canvas = this.surface.canvas;
    canvas.addEventListener('pointermove', event => {
      const bar = event.pointerType === 'touch' ? null : this.bar(event);
      canvas.style.cursor = bar ? 'pointer' : '';
      if (!bar) this.hint.hide();
      else this.hint.show(event.offsetX, event.offsetY, bar.host, bar.result
        ? `${headline(bar.result)} \u00b7 ${duration(bar.to - bar.from)}` : `in flight for ${duration(bar.to - bar.from)}`);
    });
    canvas.addEventListener('pointerleave', () => this.hint.hide());
    canvas.addEventListener('click', event => {
      const bar = this.bar(event);
      if (bar?.result) open(bar.result, [bar.result]);
    });
  }

  close() {
    this.surface.close();
  }

  show(run) {
    this.run = run;
    this.surface.now();
  }

  spans(now) {
    const spans = [];
    for (const result of this.run.results) {
      if (result.state === 'done' || result.ms > 0) spans.push({ from: Math.max(result.at - result.ms, 0), to: result.at, host: result.host, result });
    }
    for (const [index, from] of this.run.flying) {
      spans.push({ from: Math.min(from, now), to: now, host: this.run.requests.get(index).host, result: null });
    }
    return spans;
  }

  draw(surface) {
    if (!this.run) return;
    const now = Math.max(this.run.now(), 1);
    const spans = this.spans(now);
    const colours = palette();
    explain(this.empty, spans.length ? '' : this.run.running ? 'Nothing has been sent yet.' : 'Nothing of this run was sent.');
    this.bars = [];
    const packed = spans.length <= BARS ? pack(spans) : null;
    const height = 160;
    const context = surface.context(height + AXIS);
    const scale = surface.width / (now * 1.02);
    this.axis(context, now, scale, height, surface.width, colours);
    if (packed) this.drawBars(context, packed, scale, height, colours);
    else this.drawArea(context, spans, now, scale, height, surface.width, colours);
    const most = packed ? packed.lanes : this.most;
    surface.canvas.setAttribute('aria-label', `Requests in flight over ${duration(now)}: at most ${number(most)} at a time, `
      + `${number(this.run.flying.size)} now`);
  }

  axis(context, now, scale, height, width, colours) {
    context.font = `11px ${colours.sans}`;
    context.textBaseline = 'top';
    const by = step(now, Math.max(width / 110, 2));
    for (let at = 0; at <= now; at += by) {
      const x = Math.round(at * scale) + 0.5;
      context.fillStyle = colours.line;
      context.fillRect(x - 0.5, 0, 1, height);
      context.fillStyle = colours.muted;
      const text = seconds(at);
      const wide = context.measureText(text).width;
      if (x + wide + 4 < width) context.fillText(text, at ? x - wide / 2 : 0, height + 6);
    }
    context.fillStyle = colours.line;
    context.fillRect(0, height, width, 1);
  }

  drawBars(context, { spans, lanes }, scale, height, colours) {
    const tall = Math.min(height / Math.max(lanes, 1), 14);
    const gap = tall > 5 ? 2 : tall > 2.5 ? 1 : 0;
    for (const span of spans) {
      const { result } = span;
      const x = span.from * scale;
      const y = span.lane * tall;
      const wide = Math.max((span.to - span.from) * scale, 2);
      context.fillStyle = colours[layerOf(result)];
      context.fillRect(x, y, wide, Math.max(tall - gap, 0.5));
      this.bars.push({ ...span, x, y, wide, tall });
    }
  }

  drawArea(context, spans, now, scale, height, width, colours) {
    const wide = 2;
    const bins = Math.ceil(width / wide) + 1;
    const layers = Object.fromEntries(LAYERS.map(name => [name, new Float64Array(bins)]));
    for (const { from, to, result } of spans) {
      const layer = layers[layerOf(result)];
      const first = from * scale / wide;
      const last = to * scale / wide;
      for (let bin = Math.floor(first); bin <= last && bin < bins; bin += 1) {
        layer[bin] += Math.min(last, bin + 1) - Math.max(first, bin);
      }
    }
    this.most = 1;
    for (let bin = 0; bin < bins; bin += 1) {
      this.most = Math.max(this.most, LAYERS.reduce((sum, name) => sum + layers[name][bin], 0));
    }
    this.most = Math.ceil(this.most);
    const unit = (height - 16) / this.most;
    for (let bin = 0; bin < bins; bin += 1) {
      let bottom = height;
      for (const name of LAYERS) {
        const tall = layers[name][bin] * unit;
        if (tall <= 0) continue;
        context.fillStyle = colours[name];
        context.fillRect(bin * wide, bottom - tall, wide, tall);
        bottom -= tall;
      }
    }
    context.fillStyle = colours.muted;
    context.fillText(`${number(this.most)} at a time`, 0, 0);
  }

  bar({ offsetX, offsetY }) {
    return this.bars.find(({ x, y, wide, tall }) => offsetX >= x - 1 && offsetX <= x + wide + 1 && offsetY >= y && offsetY < y + tall);
  }
}

// A chart that is empty says why.
function explain(element, text) {
  write(element, text);
  element.hidden = !text;
}

// Each request into the first lane that is free when it begins.
function pack(spans) {
  const ends = [];
  const sorted = spans.slice().sort((a, b) => a.from - b.from);
  for (const span of sorted) {
    let lane = ends.findIndex(end => end <= span.from);
    if (lane < 0) lane = ends.length;
    ends[lane] = span.to;
    span.lane = lane;
  }
  return { spans: sorted, lanes: ends.length };
}

// Latencies in a histogram with logarithmic classes, four to a doubling.
const CLASSES = 4;

export class Histogram {
  constructor(parent) {
    this.run = null;
    this.empty = h('p.quiet.empty', { role: 'status' });
    parent.append(this.empty);
    this.surface = new Surface(parent, 'Latencies', surface => this.draw(surface));
    this.hint = new Hint(parent);
    const canvas = this.surface.canvas;
    canvas.addEventListener('pointermove', event => this.hover(event));
    canvas.addEventListener('pointerleave', () => this.hint.hide());
  }

  close() {
    this.surface.close();
  }

  show(run) {
    this.run = run;
    this.surface.now();
  }

  // Why there is nothing to be seen.
  why() {
    const { run } = this;
    const { failed, cancelled, interrupted } = run.seen;
    if (run.running) {
      return failed ? `No answer yet: ${number(failed)} ${failed === 1 ? 'request' : 'requests'} failed without one.`
        : 'No answer yet. The latencies of answers show here as they come.';
    }
    const parts = [[failed, 'failed before a server answered'], [cancelled, 'cancelled'], [interrupted, 'interrupted']]
      .filter(([many]) => many).map(([many, what]) => `${number(many)} ${what}`);
    return `No request of this run was answered, so there are no latencies: ${parts.join(', ')}.`;
  }

  count() {
    const classes = new Map();
    for (const { ms, status, failed } of this.run.results) {
      if (status === null) continue;
      const at = Math.floor(Math.log2(Math.max(ms, 0.05)) * CLASSES);
      const found = classes.get(at) ?? { ok: 0, failed: 0 };
      found[failed ? 'failed' : 'ok'] += 1;
      classes.set(at, found);
    }
    return classes;
  }

  draw(surface) {
    if (!this.run) return;
    const colours = palette();
    const height = 160;
    const context = surface.context(height + AXIS);
    const { width } = surface;
    const classes = this.count();
    context.fillStyle = colours.line;
    context.fillRect(0, height, width, 1);
    this.scale = null;
    surface.canvas.setAttribute('aria-label', this.label());
    explain(this.empty, classes.size ? '' : this.why());
    if (!classes.size) return;
    const keys = [...classes.keys()];
    const first = Math.min(...keys) - 2;
    const last = Math.max(Math.max(...keys) + 3, first + 12);
    const wide = width / (last - first);
    const most = Math.max(...[...classes.values()].map(({ ok, failed }) => ok + failed));
    const unit = (height - 26) / most;
    this.scale = { first, wide, classes };
    for (const [at, { ok, failed }] of classes) {
      const x = (at - first) * wide;
      context.fillStyle = colours.ok;
      context.fillRect(x, height - ok * unit, Math.max(wide - 1, 1), ok * unit);
      context.fillStyle = colours.failed;
      context.fillRect(x, height - (ok + failed) * unit, Math.max(wide - 1, 1), failed * unit);
    }
    const place = ms => (Math.log2(Math.max(ms, 0.05)) * CLASSES - first) * wide;
    this.axis(context, place, height, width, colours);
    this.quantiles(context, place, height, width, colours);
  }

  axis(context, place, height, width, colours) {
    context.font = `11px ${colours.sans}`;
    context.textBaseline = 'top';
    context.fillStyle = colours.muted;
    let free = 0;
    const all = [];
    for (let ten = 0.1; ten <= 1e6; ten *= 10) all.push(ten, 2 * ten, 5 * ten);
    const few = all.filter((_, at) => at % 3 === 0).filter(ms => place(ms) > 0 && place(ms) < width);
    for (const ms of few.length >= 2 ? few : all) {
      const text = seconds(Number(ms.toPrecision(1)));
      const wide = context.measureText(ms < 1 ? `${ms.toPrecision(1)} ms` : text).width;
      const x = place(ms) - wide / 2;
      if (x < free || x + wide > width) continue;
      context.fillText(ms < 1 ? `${Number(ms.toPrecision(1))} ms` : text, x, height + 6);
      free = x + wide + 12;
    }
  }

  quantiles(context, place, height, width, colours) {
    const latency = this.run.latency();
    let free = 0;
    for (const name of ['p50', 'p90', 'p99']) {
      if (latency[name] === null || latency[name] === undefined) continue;
      const x = Math.round(place(latency[name]));
      context.fillStyle = colours.muted;
      for (let y = 16; y < height; y += 5) context.fillRect(x, y, 1, 2);
      const wide = context.measureText(name).width;
      const left = Math.min(Math.max(x - wide / 2, free), width - wide);
      if (left >= free) context.fillText(name, left, 0);
      free = left + wide + 4;
    }
  }

  label() {
    const latency = this.run.latency();
    const told = ['p50', 'p90', 'p99'].filter(name => latency[name] !== null && latency[name] !== undefined)
      .map(name => `${name} ${duration(latency[name])}`);
    return `Latencies: ${told.join(', ') || 'none yet'}`;
  }

  hover({ offsetX, offsetY }) {
    if (!this.scale) return;
    const at = Math.floor(offsetX / this.scale.wide) + this.scale.first;
    const found = this.scale.classes.get(at);
    if (!found) this.hint.hide();
    else {
      this.hint.show(offsetX, offsetY, `${duration(2 ** (at / CLASSES))} to ${duration(2 ** ((at + 1) / CLASSES))}`,
        found.failed ? `${number(found.ok)} ok, ${number(found.failed)} failed` : `${number(found.ok)} ok`);
    }
  }
}
