// The service's HTTP API, and a run watched over a WebSocket or, where there is none, by Server-Sent Events.

const KEY = 'napix.token';
let ask = async () => null;             // how a token is asked of the person in front of the page

export class ApiError extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

// `asked(text)` shows why, and gives the token, or null when nobody has one.
export function onDenied(asked) {
  ask = asked;
}

const token = () => sessionStorage.getItem(KEY);

function withToken(path) {
  return token() ? `${path}${path.includes('?') ? '&' : '?'}token=${encodeURIComponent(token())}` : path;
}

let asking = null;

async function renew(text) {
  asking ??= ask(text).finally(() => { asking = null; });
  const given = await asking;
  if (given === null) return false;
  sessionStorage.setItem(KEY, given);
  return true;
}

// A request to the service; asks for the token where it is missing, or wrong.
export async function call(path, { method = 'GET', body, signal } = {}) {
  for (;;) {
    const used = token();
    const headers = { Accept: 'application/json' };
    if (used) headers.Authorization = `Bearer ${used}`;
    if (body !== undefined) headers['Content-Type'] = 'application/json';
    let answer;
    try {
      answer = await fetch(path, { method, headers, body, signal, cache: 'no-store' });
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      throw new ApiError(0, 'the service does not answer');
    }
    if (answer.ok) return answer;
    const text = await reason(answer);
    if (answer.status !== 401 && answer.status !== 403) throw new ApiError(answer.status, text);
    if (token() === used && !await renew(used || answer.status === 403 ? text : '')) {
      throw new ApiError(answer.status, text);
    }
  }
}

async function reason(answer) {
  try {
    const document = await answer.json();
    return String(document.error_text ?? document.detail ?? document.title ?? answer.statusText);
  } catch {
    return `${answer.status} ${answer.statusText}`;
  }
}

export const json = async (path, options) => (await call(path, options)).json();

// One result, read again from the service.
export async function resultText(id, seq) {
  const abort = new AbortController();
  const answer = await call(`runs/${id}/results?from=${seq}`, { signal: abort.signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  while (!text.includes('\n')) {
    const { done, value } = await reader.read();
    if (done) break;
    text += value;
  }
  abort.abort();
  return text.slice(0, text.indexOf('\n'));
}

// Has the browser save a run's results as the service streams them. A download cannot have a field of its own: the token
// goes in the query, and is in the document for no longer than this takes.
export function download(id, format) {
  const link = document.createElement('a');
  link.href = withToken(`runs/${id}/results?format=${format}`);
  link.download = '';
  document.body.append(link);
  link.click();
  link.remove();
}

// Watching -----------------------------------------------------------------------------------------------------------

const PREFIX = '{"type":"result","result":';
const FIRST_WAIT = 250;
const LONGEST_WAIT = 5000;

// Follows a run to its end through every break. `to` is told:
//   next() -> the number of the first result that is missing; result(text); progress(document); end();
//   link('live' | 'lost' | 'over', 'WebSocket' | 'Server-Sent Events'); refused(error): there is no use in going on.
export class Watch {
  constructor(id, to) {
    this.id = id;
    this.to = to;
    this.wait = FIRST_WAIT;
    this.failures = 0;                  // of WebSockets that never opened though the service is there
    this.stopped = false;
    this.connect();
  }

  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
    this.source?.close();
  }

  connect() {
    if (this.stopped) return;
    if (this.failures < 2 && 'WebSocket' in window) this.openSocket();
    else this.openEvents();
  }

  openSocket() {
    const url = new URL(withToken(`runs/${this.id}/ws?from=${this.to.next()}`), location.href);
    url.protocol = url.protocol.replace('http', 'ws');
    url.hash = '';
    const socket = this.source = new WebSocket(url);
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.failures = 0;
      this.wait = FIRST_WAIT;
      this.to.link('live', 'WebSocket');
    };
    socket.onmessage = ({ data }) => {
      if (this.source !== socket) return;
      if (data.startsWith(PREFIX)) this.to.result(data.slice(PREFIX.length, -1));
      else this.to.progress(JSON.parse(data));
    };
    socket.onclose = ({ code }) => {
      if (this.source !== socket || this.stopped) return;
      if (code === 1000) this.over();
      else this.lost(opened);
    };
  }

  openEvents() {
    const source = this.source = new EventSource(withToken(`runs/${this.id}/events?from=${this.to.next()}`));
    source.onopen = () => {
      this.wait = FIRST_WAIT;
      this.to.link('live', 'Server-Sent Events');
    };
    source.addEventListener('result', ({ data }) => this.source === source && this.to.result(data));
    source.addEventListener('progress', ({ data }) => this.source === source && this.to.progress(JSON.parse(data)));
    source.addEventListener('end', ({ data }) => {
      source.close();
      this.to.progress(JSON.parse(data));
      this.over();
    });
    source.onerror = () => {            // it would ask again by itself, from the place where it began
      source.close();
      if (this.source === source && !this.stopped) this.lost(true);
    };
  }

  // A result is missing in the sequence: from there once more.
  again() {
    if (!this.source) return;           // it is under way already
    const old = this.source;
    this.source = null;
    old.close();
    this.timer = setTimeout(() => this.connect(), FIRST_WAIT);
  }

  async lost(opened) {
    this.source = null;
    this.to.link('lost');
    let document = null;
    try {
      document = await json(`runs/${this.id}`);
      if (!opened) this.failures += 1;
    } catch (error) {
      if (error.status) {
        this.stop();
        this.to.refused(error);
        return;
      }
    }
    if (this.stopped) return;
    if (document && document.state !== 'running' && this.to.next() >= document.results) {
      this.to.progress(document);
      this.over();
      return;
    }
    this.timer = setTimeout(() => this.connect(), this.wait);
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
  }

  over() {
    this.stop();
    this.to.link('over');
    this.to.end();
  }
}
