// What has not succeeded of a run, asked again in a run of its own; where it had secrets, they are asked for.

import { call, json } from './api.js';
import { written } from './compose.js';
import { $, fill, h, number, write } from './dom.js';

// Goes to the run that asks again, an old one or a new one; gives an error, or null.
export async function askAgain(id, go) {
  const left = await json(`runs/${id}/again`);
  const { wants } = left;
  const lacks = wants.headers.length + wants.parameters.length + (wants.body ? 1 : 0);
  const run = left.run ?? (lacks || left.doubtful ? await confirm(id, left) : (await send(id)).id);
  if (run) go(`#/runs/${run}`);
}

async function send(id, given) {
  const body = given === undefined ? undefined : JSON.stringify(given);
  return (await call(`runs/${id}/again`, { method: 'POST', body })).json();
}

// Of the headers that this page itself has sent.
function remembered(headers, name) {
  const line = headers.split('\n').find(one => one.trim().toLowerCase().startsWith(`${name.toLowerCase()}:`));
  return line === undefined ? '' : line.slice(line.indexOf(':') + 1).trim();
}

// The dialog; gives the id of the run, or null.
function confirm(id, { requests, doubtful, wants }) {
  const dialog = $('again-dialog');
  const alert = $('again-alert');
  const { headers = '', body = '' } = written(id) ?? {};
  const field = (part, name, control) => {
    control.id = `again-${part}-${name}`;
    return h('div.field', {}, h('label', { htmlFor: control.id }, part === 'body' ? 'Body' : name), control);
  };
  const secret = value => h('input.mono', { type: 'password', autocomplete: 'off', spellcheck: false, required: true, value });
  const fields = [
    ...wants.headers.map(name => ['headers', name, secret(remembered(headers, name))]),
    ...wants.parameters.map(name => ['parameters', name, secret('')]),
    ...(wants.body ? [['body', '', h('textarea.mono', { rows: 4, required: true, spellcheck: false, value: body })]] : []),
  ];
  const many = number(requests);
  write($('again-text'), `${many} ${requests === 1 ? 'request is' : 'requests are'} asked again, with the options of this run.`
    + (fields.length ? ' What was secret of them is not kept by the service: please give it once more.' : ''));
  write($('again-doubt'), doubtful ? `${number(doubtful)} of them may have been carried out already: nobody knows, as there was `
    + 'no answer, and they are of a kind that does not bear being repeated.' : '');
  $('again-doubt').hidden = !doubtful;
  fill($('again-fields'), fields.map(([part, name, control]) => field(part, name, control)));
  alert.hidden = true;
  dialog.showModal();
  (fields[0]?.[2] ?? $('again-cancel')).focus();
  return new Promise(resolve => {
    let run = null;
    $('again-cancel').onclick = () => dialog.close();
    $('again-form').onsubmit = async event => {
      event.preventDefault();
      $('again-go').disabled = true;
      alert.hidden = true;
      try {
        const given = { headers: {}, parameters: {} };
        for (const [part, name, control] of fields) {
          if (part === 'body') given.body = bodyOf(control.value);
          else given[part][name] = control.value;
        }
        run = (await send(id, fields.length ? given : undefined)).id;
        dialog.close();
      } catch (error) {
        alert.hidden = false;
        write(alert, error.message);
      } finally {
        $('again-go').disabled = false;
      }
    };
    dialog.onclose = () => {
      fill($('again-fields'));          // the secrets are kept by nobody
      resolve(run);
    };
  });
}

function bodyOf(text) {
  try {
    const value = JSON.parse(text, (key, one, context) => (typeof one === 'number' && context?.source !== undefined
      && JSON.rawJSON ? JSON.rawJSON(context.source) : one));
    return typeof value === 'object' && value !== null && !JSON.isRawJSON?.(value) ? value : text;
  } catch {
    return text;
  }
}
