// The application for Node's server: `node node_app.js PORT`.
'use strict';
const fs = require('fs');
const http = require('http');
const zlib = require('zlib');

const file = fs.openSync(process.env.LEDGER, 'a');

function answer(kind, id, size) {
  const plain = {'Content-Type': 'text/plain'};
  switch (kind) {
    case 'empty': return [204, {}, ''];
    case 'gzip': return [200, {...plain, 'Content-Encoding': 'gzip'}, zlib.gzipSync(`${id}\n`.repeat(1000))];
    case 'header': {
      const fields = {...plain};
      for (let number = 0; number < 100; number++) fields[`X-Field-${number}`] = 'x'.repeat(1000);
      return [200, fields, id];
    }
    case 'refuse': return [413, plain, 'too much'];
    case 'sum': return [200, plain, String(size)];
    default: return [200, plain, id];
  }
}

let closing = false;
const server = http.createServer((request, response) => {
  const [, kind, id] = request.url.split('/');
  fs.writeSync(file, `B ${id}\n`);
  let size = 0;
  const respond = () => setTimeout(() => {
    const [status, fields, body] = answer(kind, id, size);
    if (status !== 204) fields['Content-Length'] = Buffer.byteLength(body);
    fs.writeSync(file, `E ${id}\n`);
    if (closing) response.shouldKeepAlive = false; // close() leaves connections open that are in use
    response.writeHead(status, fields);
    response.end(request.method === 'HEAD' ? undefined : body);
  }, 1);
  if (kind === 'refuse') return respond();
  request.on('data', (piece) => { size += piece.length; });
  request.on('end', respond);
});
server.keepAliveTimeout = 1000;
server.listen(Number(process.argv[2]), '127.0.0.1');
process.on('SIGTERM', () => {
  closing = true;
  server.close(() => process.exit());
});
