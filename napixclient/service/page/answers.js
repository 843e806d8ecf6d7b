// The answers: those that are the same once, under the folded set of their hosts.

import { add, duration, fill, h, number, write } from './dom.js';
import { bodyText, block } from './detail.js';
import { headline, kind, parseExact } from './model.js';
import { fold } from './nodeset.js';
import { resultText } from './api.js';

const ROWS = 50;                        // groups, and hosts of a group, that are shown before somebody asks for more
const HOSTS = 60;
const LONGEST_SET = 400;
const PAUSE = 250;

export class Answers {
  constructor(parent, open) {
    this.parent = parent;
    this.open = open;
    this.rows = new Map();              // key -> row
    this.limit = ROWS;
    this.letters = 3;
    this.pause = 0;                     // ms until they are drawn again, so that the page has time for more than that
    this.more = h('button.quiet-button', { type: 'button', hidden: true, onclick: () => {
      this.limit += ROWS;
      this.render();
    } });
    this.list = h('ul.answers', { id: 'answers' });
    this.empty = h('p.quiet', {}, 'No answers yet.');
    this.list.addEventListener('pointerleave', () => this.run && this.show(this.run));
    parent.append(this.empty, this.list, this.more);
  }

  close() {
    clearTimeout(this.timer);
  }

  show(run) {
    this.run = run;
    this.timer ??= setTimeout(() => {
      const began = performance.now();
      this.timer = undefined;
      this.render();
      this.pause = Math.max(PAUSE, 8 * (performance.now() - began));
    }, this.pause);
  }

  // Other groups altogether.
  restart() {
    this.rows.clear();
    this.list.replaceChildren();
    this.limit = ROWS;
    this.render();
  }

  render() {
    if (!this.run) return;
    const groups = this.run.sortedGroups();
    this.empty.hidden = groups.length > 0;
    const shown = groups.slice(0, this.limit);
    const wanted = new Set(shown.map(({ key }) => key));
    for (const [key, row] of this.rows) {
      if (!wanted.has(key) && !row.element.contains(document.activeElement) && !row.element.open) {
        row.item.remove();
        this.rows.delete(key);
      }
    }
    // A list that somebody points at, or is in, keeps its order: what he is about to press does not move away.
    const held = this.list.matches(':hover') || this.list.contains(document.activeElement);
    let before = this.list.firstChild;
    for (const group of shown) {
      let row = this.rows.get(group.key);
      if (!row) {
        row = this.row(group);
        this.rows.set(group.key, row);
        this.list.insertBefore(row.item, held ? null : before);
      } else if (!held && row.item !== before) {
        this.list.insertBefore(row.item, before);
      }
      if (!held) before = row.item.nextSibling;
      this.update(row, group);
    }
    const left = groups.length - this.limit;
    this.more.hidden = left <= 0;
    if (left > 0) write(this.more, `Show ${number(Math.min(left, ROWS))} more of ${number(left)}`);
  }

  row(group) {
    const row = { group, count: h('span.count'), hosts: h('span.hosts.mono'), shown: -1, limit: HOSTS };
    const name = kind(group.first);
    row.body = h('div.inside');
    row.element = h('details', { ontoggle: () => row.element.open && this.unfold(row) },
      h('summary', {}, h('span', { className: `badge ${name}` }, headline(group.first)), row.count, row.hosts,
        h('span.preview', {}, group.first.preview)),
      row.body);
    row.item = h('li', {}, row.element);
    this.letters = Math.max(this.letters, headline(group.first).length);
    this.list.style.setProperty('--letters', this.letters);     // so wide is the column of all rows
    return row;
  }

  update(row, group) {
    row.group = group;
    if (row.shown === group.results.length) return;
    row.shown = group.results.length;
    write(row.count, `\u00d7\u2009${number(group.results.length)}`);
    row.count.hidden = !this.run.folded;
    row.set = fold(group.hosts);
    write(row.hosts, row.set.length > LONGEST_SET ? `${row.set.slice(0, LONGEST_SET)}\u2026` : row.set);
    if (row.element.open) this.unfold(row);
  }

  // What they all answered, and who they are.
  async unfold(row) {
    const { group } = row;
    const { first } = group;
    if (!row.answer) {
      row.answer = h('div', {}, h('p.quiet', {}, 'Reading it\u2026'));
      row.names = h('div.names');
      row.whole = h('p.mono.set');
      add(fill(row.body), [row.answer, row.whole, row.names]);
      this.read(row, first);
    }
    write(row.whole, row.set);
    row.whole.hidden = row.set.length <= LONGEST_SET;
    const { results } = group;
    const buttons = results.slice(0, row.limit).map(result => h('button.name.mono', { type: 'button',
      title: `Open what ${result.host} answered`, onclick: () => this.open(result, results) },
      result.host, h('span.quiet', {}, ` ${duration(result.ms)}`)));
    if (results.length > row.limit) {
      buttons.push(h('button.quiet-button', { type: 'button', onclick: () => {
        row.limit += 500;
        this.unfold(row);
      } }, `${number(results.length - row.limit)} more`));
    }
    if (!row.names.contains(document.activeElement) || row.listed !== row.limit) fill(row.names, buttons);
    row.listed = row.limit;
  }

  async read(row, first) {
    try {
      const { body, error } = parseExact(first.text ?? await resultText(this.run.id, first.seq));
      const parts = [];
      if (error !== null) {
        const root = error.chain.length > 1 ? error.chain[error.chain.length - 1] : null;
        parts.push(h('p.cause.mono', {}, root ? `${root.remote_call}: ${root.error_text}` : error.text));
        if (root) {
          parts.push(h('button.chain-button', { type: 'button', onclick: () => this.open(first, row.group.results) },
            `Open the chain of ${error.chain.length} calls`));
        }
      } else {
        parts.push(block(bodyText(body)[1]));
      }
      fill(row.answer, parts);
    } catch (error) {
      fill(row.answer, h('p.alert', { role: 'alert' }, error.message));
      row.answer = null;
    }
  }
}
