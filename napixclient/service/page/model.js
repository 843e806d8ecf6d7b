// A run as far as it is known: its hosts, its results, and which of them are the same.

// Texts of results that are kept; those of longer ones, and of more, are read again when somebody opens them.
const KEPT_TEXT = 4096;
const KEPT_TEXTS = 64 * 1024 * 1024;
const KEPT_KEY = 16 * 1024;
const PREVIEW = 240;
// What differs between two documents of the same error: which one it was, and how long it took.
const PASSING = new Set(['instance', 'trace_id', 'remote_elapsed', 'elapsed']);

// Numbers keep the digits they came with: 12345678901234567890 is not 12345678901234567000.
const asWritten = (key, value, context) => (typeof value === 'number' && context?.source !== undefined
  && String(value) !== context.source && JSON.rawJSON ? JSON.rawJSON(context.source) : value);

// A result; only of its body, as nobody reckons with that.
export const parseExact = text => ({ ...JSON.parse(text), body: JSON.parse(text, asWritten).body });
const parse = text => (/\d{16}/.test(text) ? parseExact(text) : JSON.parse(text));

export const isFailure = result => result.state === 'done' && result.failed;

// How a result is called, in one word of the page's: ok failed cancelled interrupted.
export const kind = result => (result.state === 'done' ? (result.failed ? 'failed' : 'ok') : result.state);

export function headline(result) {
  if (result.state === 'interrupted') return 'interrupted';
  if (result.state === 'cancelled') return 'cancelled';
  return result.status === null ? result.errorClass : String(result.status);
}

export class Run {
  constructor(id) {
    this.id = id;
    this.document = null;
    this.next = 0;                      // the number of the first result that is missing
    this.results = [];
    this.requests = new Map();          // index -> {index, host, method, url}, of all that are known
    this.hosts = new Map();             // name -> host
    this.order = [];                    // hosts as they were submitted
    this.unsorted = false;
    this.flying = new Map();            // index -> ms at which it was sent
    this.groups = new Map();
    this.keys = new Map();              // equal keys are kept once
    this.folded = true;
    this.seen = { ok: 0, failed: 0, cancelled: 0, interrupted: 0 };
    this.buckets = new Map();           // of milliseconds, eight to a power of two, as the service has them
    this.version = 0;
    this.texts = 0;
    this.clock = { at: 0, when: performance.now() };
  }

  get running() {
    return this.document === null || this.document.state === 'running';
  }

  get total() {
    return this.document?.counts.total ?? this.requests.size;
  }

  // Milliseconds since the run began.
  now() {
    return this.running ? this.clock.at + performance.now() - this.clock.when : this.clock.at;
  }

  know(request) {
    if (this.requests.has(request.index)) return;
    this.requests.set(request.index, request);
    let host = this.hosts.get(request.host);
    if (!host) {
      host = { name: request.host, first: request.index, total: 0, flying: 0, ok: 0, failed: 0, cancelled: 0,
        interrupted: 0, results: [] };
      this.hosts.set(request.host, host);
      this.order.push(host);
      this.unsorted = true;
    }
    if (request.index < host.first) {
      host.first = request.index;
      this.unsorted = true;
    }
    host.total += 1;
    this.version += 1;
  }

  sorted() {
    if (this.unsorted) this.order.sort((a, b) => a.first - b.first);
    this.unsorted = false;
    return this.order;
  }

  progress(document) {
    this.document = { ...this.document, ...document };
    if (!this.running) this.fly([]);
    this.version += 1;
  }

  tick(at) {
    if (at > this.clock.at && (this.running || at > this.now())) this.clock = { at, when: performance.now() };
  }

  fly(pairs) {
    for (const index of this.flying.keys()) this.land(index);
    for (const [index, at] of pairs) {
      const request = this.requests.get(index);
      if (request && !request.answered) {
        this.flying.set(index, at);
        this.hosts.get(request.host).flying += 1;
      }
    }
    this.version += 1;
  }

  land(index) {
    if (this.flying.delete(index)) this.hosts.get(this.requests.get(index).host).flying -= 1;
  }

  // Takes a result; false when another is missing before it.
  take(text) {
    const given = parse(text);
    if (given.seq < this.next) return true;
    if (given.seq > this.next) return false;
    this.next += 1;
    const { seq, index, host, method, url, tag, state, status, ms, at, attempts, error } = given;
    this.know({ index, host, method, url });
    this.requests.get(index).answered = true;
    this.land(index);
    const result = { seq, index, host, method, url, tag, state, status, ms, at, attempts,
      failed: error !== null, errorClass: error?.class ?? '', text: null, key: '' };
    if (text.length <= KEPT_TEXT && this.texts < KEPT_TEXTS) {
      result.text = text;
      this.texts += text.length;
    }
    this.results.push(result);
    const owner = this.hosts.get(host);
    owner.results.push(result);
    owner[kind(result)] += 1;
    this.seen[kind(result)] += 1;
    if (status !== null) {
      const bucket = bucketOf(ms);
      this.buckets.set(bucket, (this.buckets.get(bucket) ?? 0) + 1);
    }
    this.tick(at);
    this.gather(result, given);
    this.version += 1;
    return true;
  }

  // Quantiles of the latencies in ms, of the results that are here: the same as the service tells of as many.
  latency() {
    const sorted = [...this.buckets].sort(([a], [b]) => a - b);
    const all = sorted.reduce((sum, [, count]) => sum + count, 0);
    const quantile = share => {
      let missing = share * all;
      for (const [bucket, count] of sorted) {
        missing -= count;
        if (missing <= 0) return rounded((bucket % 8 + 8.5) / 16 * 2 ** (Math.floor(bucket / 8) - OFFSET));
      }
      return null;
    };
    return { p50: quantile(0.5), p90: quantile(0.9), p99: quantile(0.99) };
  }

  gather(result, given) {
    const key = digest(keyOf(given));
    if (!this.keys.has(key)) this.keys.set(key, key);
    result.key = this.keys.get(key);
    result.preview = previewOf(given);
    this.join(result);
  }

  join(result) {
    const key = this.folded ? result.key : String(result.seq);
    let group = this.groups.get(key);
    if (!group) {
      group = { key, first: result, results: [], hosts: new Set() };
      this.groups.set(key, group);
    }
    group.results.push(result);
    group.hosts.add(result.host);
  }

  setFolded(folded) {
    this.folded = folded;
    this.groups = new Map();
    for (const result of this.results) this.join(result);
    this.version += 1;
  }

  // Failures first, then the answer that most gave.
  sortedGroups() {
    const rank = group => (kind(group.first) === 'failed' ? 0 : kind(group.first) === 'ok' ? 1 : 2);
    return [...this.groups.values()].sort((a, b) => rank(a) - rank(b) || b.results.length - a.results.length
      || a.first.seq - b.first.seq);
  }
}

const OFFSET = 32;                      // so that no bucket is below 0

// To three places; a half to the even one, as Python does it.
function rounded(value) {
  const near = Math.round(value * 1000);
  return (value * 1000 % 1 === 0.5 && near % 2 ? near - 1 : near) / 1000;
}

function bucketOf(ms) {
  const value = ms || 1e-3;
  let exponent = Math.floor(Math.log2(value)) + 1;      // value is a fraction from 0.5 to 1, times 2 to this
  if (value >= 2 ** exponent) exponent += 1;
  if (value < 2 ** (exponent - 1)) exponent -= 1;
  return (exponent + OFFSET) * 8 + Math.floor(value / 2 ** exponent * 16) - 8;
}

// What makes two results the same: not the host, nor when it was, nor how long it took.
function keyOf({ state, status, host, body, error }) {
  const own = text => (typeof text === 'string' ? text.replaceAll(host, '\u0000') : text);
  return JSON.stringify([state, status, error?.class, body === null ? own(error?.text) : lasting(body, error !== null)]);
}

function lasting(body, failed) {
  if (!failed || typeof body !== 'object' || body === null || JSON.isRawJSON?.(body)) return body;
  if (Array.isArray(body)) return body.map(item => lasting(item, true));
  return Object.fromEntries(Object.entries(body).filter(([name]) => !PASSING.has(name))
    .map(([name, value]) => [name, lasting(value, true)]));
}

function previewOf({ body, error, state }) {
  if (error !== null && error.chain.length > 0) {
    const root = error.chain[error.chain.length - 1];
    return String(root.error_text ?? error.text).slice(0, PREVIEW);
  }
  if (error !== null) return String(error.text).slice(0, PREVIEW);
  if (body === null) return state === 'done' ? 'no body' : '';
  if (typeof body === 'string') return body.slice(0, PREVIEW).trim().replace(/\s+/g, ' ') || 'an empty text';
  if (typeof body.base64 === 'string' && Object.keys(body).length === 1) {
    return `${Math.floor(body.base64.replace(/=+$/, '').length * 3 / 4)} bytes that are no text`;
  }
  return JSON.stringify(body).slice(0, PREVIEW);
}

// Of a very long key only its length and 106 bits are kept (cyrb53 with two seeds).
function digest(text) {
  return text.length <= KEPT_KEY ? text : `${text.length}:${hash(text, 0)}:${hash(text, 1)}`;
}

function hash(text, seed) {
  let a = 0xdeadbeef ^ seed;
  let b = 0x41c6ce57 ^ seed;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    a = Math.imul(a ^ code, 2654435761);
    b = Math.imul(b ^ code, 1597334677);
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
  return 4294967296 * (2097151 & b) + (a >>> 0);
}
