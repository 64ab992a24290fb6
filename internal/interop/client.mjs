// SPDX-License-Identifier: Apache-2.0

// Starts the quickstart server, calls it with good and bad credentials, and compares what a caller sees with what it must see.
// Usage: node client.mjs QUICKSTART PROTOS
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';
import protobuf from 'protobufjs';

const [quickstart, protos] = process.argv.slice(2);

const { root } = protobuf.parse(`
  syntax = "proto3";
  package google.rpc;
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
`);
const [Status, ErrorInfo] = ['google.rpc.Status', 'google.rpc.ErrorInfo'].map((name) => root.lookupType(name));

// start returns the server's process and the assignments that it prints for a shell: target, ca, token, password.
async function start() {
  const server = spawn(quickstart, ['-listen', 'localhost:0'], { stdio: ['ignore', 'pipe', 'ignore'] });
  const values = {};
  for await (const line of createInterface({ input: server.stdout })) {
    const assignment = /^(target|ca|token|password)='(.*)'$/.exec(line);
    if (assignment) values[assignment[1]] = assignment[2];
    if ('password' in values) return { server, ...values };
  }
  throw new Error('the server ended before it was ready');
}

// The health service is small enough to write here what this client needs of it.
const health = {
  check: {
    path: '/grpc.health.v1.Health/Check', requestStream: false, responseStream: false,
    requestSerialize: () => Buffer.alloc(0), responseDeserialize: () => ({}),
  },
};

function reasonOf(error) {
  const [encoded] = error.metadata.get('grpc-status-details-bin');
  if (!encoded) return '-';
  const detail = Status.decode(encoded).details.find((d) => d.typeUrl.endsWith('/google.rpc.ErrorInfo'));
  return detail ? ErrorInfo.decode(detail.value).reason : '-';
}

// schemesOf lists the authentication schemes of challenges; Node.js joins those of several header fields to one text.
const schemesOf = (challenges) => [...challenges.join(', ').matchAll(/(?<=^|, )(\w+) /g)].map((match) => match[1]);

// outcome waits for the end of a call and tells what the caller saw of it: "OK user", or "CODE REASON challenges".
function outcome(begin) {
  return new Promise((resolve) => {
    let challenges = [];
    let users = [];
    const done = (error) => resolve(error
      ? [grpc.status[error.code], reasonOf(error), ...schemesOf(challenges)].join(' ')
      : ['OK', ...new Set(users)].join(' '));
    const call = begin((error, response) => {
      if (response) users.push(response.user_id ?? '-');
      done(error);
    });
    call.on('metadata', (header) => { challenges = header.get('www-authenticate'); });
    if (typeof call.read !== 'function') return;
    call.on('data', (response) => users.push(response.user_id));
    call.on('error', done);
    call.on('end', () => done());
  });
}

function authorization(value) {
  const metadata = new grpc.Metadata();
  if (value) metadata.set('authorization', value);
  return metadata;
}

const { server, target, ca, token, password } = await start();
const credentials = grpc.credentials.createSsl(readFileSync(ca));
const { echo } = grpc.loadPackageDefinition(loader.loadSync('echo/v1/echo.proto', { includeDirs: [protos], keepCase: true }));
const client = new echo.v1.EchoService(target, credentials);
const probe = new (grpc.makeGenericClientConstructor(health, 'Health'))(target, credentials);

const bearer = `Bearer ${token}`;
const basic = (secret) => `Basic ${Buffer.from(`alice:${secret}`).toString('base64')}`;
const signature = token.lastIndexOf('.') + 1;
const forged = `${bearer.slice(0, 7 + signature)}${token[signature] === 'A' ? 'B' : 'A'}${token.slice(signature + 1)}`;

const unary = (metadata) => (done) => client.Echo({ text: 'hello' }, metadata, done);
const converse = (metadata) => () => {
  const call = client.Converse(metadata);
  for (const text of ['one', 'two', 'three']) call.write({ text });
  call.end();
  return call;
};
const expand = (metadata) => () => client.Expand({ text: 'one two' }, metadata);

const both = 'Bearer Basic'; // the challenges of the server, in its order
const expectations = [
  ['health, no credential', (done) => probe.check({}, done), 'OK -'],
  ['Echo, token', unary(authorization(bearer)), 'OK bob'],
  ['Echo, token with another signature', unary(authorization(forged)), `UNAUTHENTICATED CREDENTIALS_INVALID ${both}`],
  ['Echo, no credential', unary(authorization()), `UNAUTHENTICATED CREDENTIALS_MISSING ${both}`],
  ['Echo, password', unary(authorization(basic(password))), 'OK alice'],
  ['Echo, wrong password', unary(authorization(basic('guess'))), `UNAUTHENTICATED CREDENTIALS_INVALID ${both}`],
  ['Echo, two tokens in one', unary(authorization(`${bearer}, ${bearer}`)), `UNAUTHENTICATED CREDENTIALS_MALFORMED ${both}`],
  ['Converse, token', converse(authorization(bearer)), 'OK bob'],
  ['Converse, no credential', converse(authorization()), `UNAUTHENTICATED CREDENTIALS_MISSING ${both}`],
  ['Expand, token', expand(authorization(bearer)), 'OK bob'],
  ['Expand, token with another signature', expand(authorization(forged)), `UNAUTHENTICATED CREDENTIALS_INVALID ${both}`],
];

try {
  for (const [name, begin, want] of expectations) {
    const got = await outcome(begin);
    console.log(`${got === want ? 'as expected' : 'WRONG      '}  ${name}: ${got}${got === want ? '' : `, want ${want}`}`);
    if (got !== want) process.exitCode = 1;
  }
} finally {
  client.close();
  probe.close();
  server.kill();
}
