// A run, watched.

import { ApiError, Watch, download, json } from './api.js';
import { askAgain } from './again.js';
import { Answers } from './answers.js';
import { Histogram, Timeline } from './charts.js';
import { draftOf } from './compose.js';
import { $, ago, duration, fill, h, number, rate, say, write } from './dom.js';
import { openDetail } from './detail.js';
import { Run } from './model.js';
import { fold } from './nodeset.js';
import { badgeOf, forget, label, outcome, short } from './runs.js';
import { Tiles } from './tiles.js';

const STATS = [['done', 'done'], ['ok', 'ok'], ['failed', 'failed'], ['cancelled', 'cancelled'],
  ['interrupted', 'interrupted'], ['in_flight', 'in flight'], ['p50', 'p50'],
  ['p90', 'p90'], ['p99', 'p99'], ['rate', 'rate'], ['elapsed', 'elapsed']];
const LOOK_MS = 500;
const APPLY_MS = 40;                    // for taking in what has come, before what is known by then is drawn
const LONGEST_REST = 100;               // ms between two drawings, at most; else five times what one took
const PATIENCE = 1000;                  // ms for which nothing is drawn while what the run already has comes in
const MOST_FLYING = 2000;               // as the service tells them one by one
const SEGMENTS = ['ok', 'failed', 'cancelled', 'interrupted'];
const LEGEND = ['ok', 'failed', 'cancelled', 'flying', 'waiting'];
const LABELS = { flying: 'in flight', cancelled: 'cancelled, interrupted' };

class RunView {
  constructor(main, id, go) {
    this.run = new Run(id);
    this.go = go;
    this.drawn = -1;
    this.inbox = [];                    // what has come, and is not yet in the model
    this.rested = 0;
    this.leave = new AbortController();
    document.addEventListener('visibilitychange', () => document.hidden && this.show(), { signal: this.leave.signal });
    this.build(main);
    this.start(id);
    this.tick = setInterval(() => this.run.running && this.look(), LOOK_MS);
  }

  close() {
    clearInterval(this.tick);
    clearTimeout(this.timer);
    cancelAnimationFrame(this.frame);
    this.leave.abort();
    this.closed = true;
    this.watch?.stop();
    for (const part of [this.tiles, this.timeline, this.histogram, this.answers]) part.close();
    $('link').hidden = true;
    if ($('detail').open) $('detail').close();
  }

  build(main) {
    const open = (result, results, host) => openDetail(this.run, result, results, host);
    const section = (name, title, ...beside) => {
      const element = h('section.panel', { className: `panel ${name}`, 'aria-labelledby': `${name}-title` },
        h('div.panel-head', {}, h('h2', { id: `${name}-title` }, title), beside));
      return element;
    };
    this.title = h('h1.mono', { tabIndex: -1 }, '\u2026');
    this.where = h('p.mono.quiet.where');
    this.badge = h('span.badge.running', { id: 'state', role: 'status', 'aria-live': 'polite', 'aria-atomic': 'true' }, 'running');
    this.when = h('span.quiet');
    this.cancel = h('button', { type: 'button', id: 'cancel', hidden: true, onclick: () => this.stop() }, 'Cancel');
    this.again = h('button', { type: 'button', id: 'again', hidden: true, onclick: () => this.repeat(),
      title: 'Opens the form as it was filled in' }, 'Ask all again');
    this.failedAgain = h('button.primary', { type: 'button', id: 'again-failed', hidden: true,
      onclick: () => this.askAgain() }, 'Ask the failed ones again');
    this.forget = h('button', { type: 'button', id: 'delete', hidden: true, onclick: () => this.delete() }, 'Delete\u2026');
    this.links = h('p.links', { id: 'links' });
    this.segments = Object.fromEntries(SEGMENTS.map(name => [name, h('span', { className: name })]));
    this.meter = h('div.bar.large', { role: 'progressbar', 'aria-label': 'Done', 'aria-valuemin': 0 },
      Object.values(this.segments));
    this.stats = Object.fromEntries(STATS.map(([name]) => [name, h('dd', { id: `stat-${name}` }, '\u2013')]));
    this.alert = h('p.alert', { role: 'alert', hidden: true });
    const find = h('input', { type: 'search', id: 'find', placeholder: 'Find a host', 'aria-label': 'Find a host',
      autocomplete: 'off', spellcheck: false, className: 'mono' });
    this.found = h('span.quiet', { role: 'status' });
    const legend = h('ul.legend', { 'aria-label': 'Colours' },
      LEGEND.map(name => h('li', {}, h('span', { className: `key ${name}` }), LABELS[name] ?? name)));
    const hosts = section('hosts', 'Hosts', this.found, find);
    this.tiles = new Tiles(hosts, open);
    hosts.append(legend);
    const flow = section('flow', 'In flight');
    this.timeline = new Timeline(flow.appendChild(h('div.drawing')), open);
    const latency = section('latency', 'Latency');
    this.histogram = new Histogram(latency.appendChild(h('div.drawing')));
    const folding = h('input', { type: 'checkbox', id: 'fold', checked: true, onchange: () => {
      this.run.setFolded(folding.checked);
      this.answers.restart();
    } });
    this.different = h('span.quiet');
    const answers = section('replies', 'Answers', this.different, h('label.check', {}, folding, 'Fold what is the same'),
      h('div.downloads', { role: 'group', 'aria-label': 'Download the results' }, h('span.quiet', { 'aria-hidden': 'true' }, 'Download'),
        [['ndjson', 'NDJSON'], ['csv', 'CSV']].map(([format, text]) => h('button', { type: 'button', id: `download-${format}`,
          'aria-label': `Download as ${text}`, onclick: () => download(this.run.id, format) }, text))));
    this.answers = new Answers(answers, open);
    find.addEventListener('input', () => {
      const many = this.tiles.seek(find.value);
      write(this.found, find.value.trim() ? `${number(many)} found` : '');
    });
    find.addEventListener('keydown', event => {
      if (event.key === 'Enter' || event.key === 'ArrowDown') this.tiles.box.focus();
      else if (event.key === 'Escape' && find.value) {
        find.value = '';
        this.tiles.seek('');
        write(this.found, '');
      } else return;
      event.preventDefault();
    });
    fill(main, h('div.watch', {},
      h('div.run-head', {},
        h('div.run-title', {}, this.title, this.where, h('p', {}, this.badge, ' ', this.when), this.links),
        h('div.actions', {}, this.cancel, this.failedAgain, this.again, this.forget)),
      this.alert, this.meter,
      h('dl.stats', {}, STATS.map(([name, text]) => h('div', { className: name }, h('dt', {}, text), this.stats[name]))),
      h('div.panels', {}, hosts, flow, latency, answers)));
    this.title.focus({ preventScroll: true });
    scrollTo(0, 0);
  }

  async start(id) {
    try {
      const known = await json(`runs/${id}`);
      if (this.closed) return;
      this.first = known;
      this.until = performance.now() + PATIENCE;
      this.run.progress({ ...known, state: 'running', outcome: 'running', finished: null });     // it ends after its last result
      if (known.state === 'running') await this.knowAll(id);
    } catch (error) {
      this.refuse(error);
      return;
    }
    if (this.closed) return;
    this.draw();
    this.watch = new Watch(id, {
      next: () => {
        this.show(Infinity);
        return this.run.next;
      },
      result: text => this.put(() => this.run.take(text) || this.watch.again()),
      progress: document => this.put(() => this.run.progress(document)),
      end: () => this.put(() => this.ended()),
      link: (state, how) => this.link(state, how),
      refused: error => this.refuse(error),
    });
  }

  // Those that have no result yet; the others are told by their results.
  async knowAll(id) {
    const { requests } = await json(`runs/${id}/requests`);
    for (const request of requests) this.run.know(request);
  }

  // Which of them are in flight; and the clocks go on though nothing comes.
  async look() {
    this.draw();
    if (this.looking || !this.live || document.hidden) return;
    this.looking = true;
    try {
      const { now, flying } = await json(`runs/${this.run.id}/flying`);
      if (this.closed || !this.run.running) return;
      this.put(() => {
        if (now !== null) this.run.tick(now);
        this.run.fly(flying);
      });
    } catch { /* the link tells what is wrong, and goes on */ } finally {
      this.looking = false;
    }
  }

  link(state, how = '') {
    const element = $('link');
    this.live = state === 'live';
    if (this.live) this.look();
    element.hidden = state === 'over';
    element.className = `link ${state}`;
    write(element, state === 'live' ? 'Live' : 'Connecting\u2026');
    element.title = how;
  }

  refuse(error) {
    if (this.closed) return;
    const text = error instanceof ApiError && error.status === 404 ? 'There is no run of this id; it may be too old.'
      : error.message;
    this.alert.hidden = false;
    write(this.alert, text);
    if (!this.run.document) write(this.title, 'Run');
    $('link').hidden = true;
  }

  ended() {
    const { counts } = this.run.document;
    say(`Run ${badgeOf(this.run.document)[0]}: ${outcome(counts, '')}`);
  }

  tell(error) {
    this.alert.hidden = false;
    write(this.alert, error.message);
  }

  async askAgain() {
    this.failedAgain.disabled = true;
    this.alert.hidden = true;
    try {
      await askAgain(this.run.id, this.go);
    } catch (error) {
      this.tell(error);
    } finally {
      this.failedAgain.disabled = false;
    }
  }

  async delete() {
    if (await forget(this.run.document)) this.go('#/');
  }

  async stop() {
    this.cancel.disabled = true;
    try {
      await json(`runs/${this.run.id}`, { method: 'DELETE' });     // that it has ended comes after its last result
    } catch (error) {
      this.tell(error);
      this.cancel.disabled = false;
    }
  }

  repeat() {
    const { run } = this;
    const requests = [...run.requests.values()];
    const [first] = requests;
    const text = value => (value === null || value === undefined ? '' : String(value));
    const { simultaneous, timeout, deadline, retries, need, ordered, redirect } = run.document ?? {};
    draftOf(run.id, {
      hosts: fold(run.sorted().map(({ name }) => name)), method: first?.method ?? 'GET', url: first?.url ?? '/',
      simultaneous: text(simultaneous), timeout: text(timeout), deadline: text(deadline), retries: retries ? text(retries) : '',
      need: text(need), ordered, redirect,
    });
    this.go('#/');
  }

  // Drawing ------------------------------------------------------------------------------------------------------------

  // What has come is taken into the model right before all of it is drawn, and in no other way: so numbers, tiles,
  // quantiles and lists are of the same moment.
  put(change) {
    this.inbox.push(change);
    this.draw();
  }

  apply(until) {
    let count = 0;
    while (count < this.inbox.length && (count % 16 || performance.now() < until)) this.inbox[count++]();
    this.inbox.splice(0, count);
  }

  draw() {
    if (this.closed || this.timer || this.frame) return;
    this.timer = setTimeout(() => {
      this.timer = 0;
      if (document.hidden) this.show();
      else this.frame = requestAnimationFrame(() => this.show());
    }, Math.max(this.rested - performance.now(), 0));
  }

  show(most = APPLY_MS) {
    clearTimeout(this.timer);
    cancelAnimationFrame(this.frame);
    this.timer = this.frame = 0;
    if (this.closed) return;
    const began = performance.now();
    this.apply(began + most);
    if (this.ready()) this.drawAll();
    const now = performance.now();
    this.rested = this.inbox.length ? now : now + Math.min(5 * (now - began), LONGEST_REST);
    if (this.inbox.length) this.draw();
  }

  // Whether what the run had when the page was opened is there.
  ready() {
    this.shown ||= performance.now() > this.until || !this.run.running
      || (this.first?.state === 'running' && this.run.next >= this.first.results);
    return this.shown;
  }

  drawAll() {
    this.drawHead();
    this.timeline.show(this.run);
    if (this.drawn === this.run.version) return;
    this.drawn = this.run.version;
    this.tiles.show(this.run);
    this.histogram.show(this.run);
    this.answers.show(this.run);
  }

  drawHead() {
    const { run } = this;
    const { document: known } = run;
    if (!known) return;
    const { counts } = known;
    const latency = run.latency();
    this.drawTitle(known);
    const [text, name] = badgeOf(known);
    write(this.badge, text);
    this.badge.className = `badge ${name}`;
    this.badge.dataset.state = known.state;
    this.badge.title = known.reason ?? '';
    const took = known.finished ? `, took ${duration((known.finished - known.created) * 1000)}` : '';
    write(this.when, `${ago(known.created)}${took}${known.reason ? `: ${known.reason}` : ''}`);
    this.cancel.hidden = !run.running;
    this.again.hidden = known.about.method === null || known.about.url === null;
    this.forget.hidden = run.running;
    this.drawAgain(known);
    const shown = run.seen;
    const done = run.results.length;
    for (const name of SEGMENTS) this.segments[name].style.width = `${100 * shown[name] / Math.max(counts.total, 1)}%`;
    this.meter.setAttribute('aria-valuemax', counts.total);
    this.meter.setAttribute('aria-valuenow', done);
    write(this.stats.done, `${number(done)} / ${number(counts.total)}`);
    write(this.stats.ok, number(shown.ok));
    for (const name of ['failed', 'cancelled', 'interrupted']) write(this.stats[name], number(shown[name]));
    write(this.stats.in_flight, number(this.inFlight()));
    for (const name of ['p50', 'p90', 'p99']) write(this.stats[name], duration(latency[name]));
    this.stats.failed.classList.toggle('some', shown.failed > 0);
    const elapsed = known.finished ? (known.finished - known.created) * 1000 : run.now();
    write(this.stats.rate, rate(shown.ok + shown.failed, elapsed));
    write(this.stats.elapsed, duration(elapsed));
    write(this.different, run.folded && run.results.length ? `${number(run.groups.size)} different` : '');
  }

  // The run that it asks again, the one by which it is asked again, or the button for that.
  drawAgain({ parent, again, counts }) {
    const left = counts.total - counts.ok;
    this.failedAgain.hidden = this.run.running || !left || Boolean(again);
    write(this.failedAgain, counts.failed ? 'Ask the failed ones again' : 'Ask the missing ones again');
    this.failedAgain.title = `${number(left)} of ${number(counts.total)}: failed, cancelled or interrupted`;
    if (this.linked === `${parent} ${again}`) return;
    this.linked = `${parent} ${again}`;
    fill(this.links,
      parent && h('span', {}, 'Asks again what had not succeeded of ', h('a.mono', { id: 'parent', href: `#/runs/${parent}` }, `run ${short(parent)}`)),
      again && h('span', {}, 'What failed is asked again by ', h('a.mono', { id: 'child', href: `#/runs/${again}` }, `run ${short(again)}`)));
  }

  // Those that the tiles show; of more than are told one by one, as many as were counted.
  inFlight() {
    const { run } = this;
    if (run.flying.size < MOST_FLYING) return run.flying.size;
    return Math.min(Math.max(run.document.counts.in_flight, run.flying.size), run.total - run.results.length);
  }

  drawTitle(known) {
    const { run } = this;
    // The hosts as a node set, once all of them are known.
    if (this.titled) return;
    this.titled = run.requests.size === run.total;
    const [what, where] = label(known);
    write(this.title, what);
    write(this.where, this.titled ? fold(run.sorted().map(({ name }) => name)) : where);
    document.title = `${this.title.textContent} \u00b7 napix`;
  }
}

export function runView(main, id, go) {
  const view = new RunView(main, id, go);
  return () => view.close();
}

