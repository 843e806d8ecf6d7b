// Hosts folded into a node set, web[1-100]:8002, as napix writes them; and how many hosts a node set names.

// Texts are equal in all but their numbers when their shapes are.
const NUMBERS = /\d+/g;
// What stays as it is: a bracket is an IPv6 address, and so long a number is in no range.
const WHOLE = /\[|\d{19}/;

function ranges(numbers) {
  // "08" and "12" are one range; "8" and "012" are not: a number keeps the width that it is written with.
  const sorted = [...new Set(numbers)].map(text => ({ text, value: BigInt(text) }))
    .sort((a, b) => a.text.length - b.text.length || (a.value < b.value ? -1 : 1));
  const found = [];
  for (const item of sorted) {
    const last = found[found.length - 1];
    const follows = last && item.value === last.to.value + 1n
      && (item.text.length === last.to.text.length || !(last.to.text.startsWith('0') || item.text.startsWith('0')));
    if (follows) last.to = item;
    else found.push({ from: item, to: item });
  }
  return found.map(({ from, to }) => (from === to ? from.text : `${from.text}-${to.text}`)).join(',');
}

function bracketed(numbers) {
  const text = ranges(numbers);
  return numbers.length > 1 && new Set(numbers).size > 1 ? `[${text}]` : text;
}

// Rows of numbers, one for each host of the same shape: those that differ in one column only become one row.
function merge(rows, column) {
  const together = new Map();
  for (const row of rows) {
    const key = row.map((part, at) => (at === column ? '' : part)).join('\n');
    const found = together.get(key);
    if (found) found.parts.push(row[column]);
    else together.set(key, { row, parts: [row[column]] });
  }
  return [...together.values()].map(({ row, parts }) => {
    const merged = row.slice();
    merged[column] = bracketed(parts);
    return merged;
  });
}

export function fold(hosts) {
  const shapes = new Map();
  const folded = [];
  for (const host of new Set(hosts)) {
    const whole = WHOLE.test(host);
    const shape = whole ? host : host.replace(NUMBERS, '\n');
    let found = shapes.get(shape);
    if (!found) {
      found = { shape, rows: [] };
      shapes.set(shape, found);
      folded.push(found);
    }
    found.rows.push(whole ? [] : host.match(NUMBERS) ?? []);
  }
  return folded.map(({ shape, rows }) => {
    const texts = shape.split('\n');
    const columns = texts.slice(1).map((_, at) => ({ at, many: new Set(rows.map(row => row[at])).size }))
      .filter(({ many }) => many > 1).sort((a, b) => b.many - a.many);
    const written = () => rows.map(row => texts.map((text, at) => (at ? row[at - 1] : '') + text).join('')).join(',');
    const list = written();
    for (const { at } of columns) rows = merge(rows, at);
    const short = written();
    return short.length <= list.length ? short : list;
  }).join(',');
}

// How many hosts a list of node sets names; null where that takes more than counting.
export function count(text) {
  if (/[!&^@]/.test(text)) return null;
  let total = 0;
  for (const [item] of text.matchAll(/(?:\[[^[\]]*\]|[^,\s[]|\[)+/g)) {
    let size = 1;
    for (const [, inside] of item.matchAll(/\[([^[\]]*)\]/g)) {
      if (inside.includes(':')) continue;
      let sum = 0;
      for (const part of inside.split(',')) {
        const match = /^\s*(\d{1,15})(?:-(\d{1,15})(?:\/(\d{1,15}))?)?\s*$/.exec(part);
        if (!match) return null;
        const step = Math.max(Number(match[3] ?? 1), 1);
        const many = match[2] === undefined ? 1 : Math.floor((Number(match[2]) - Number(match[1])) / step) + 1;
        if (many < 1) return null;
        sum += many;
      }
      size *= sum;
    }
    total += size;
  }
  return total;
}
