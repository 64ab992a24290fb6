// SPDX-License-Identifier: Apache-2.0

// An identity provider for the tests, oidc-provider, that can be told to rotate its keys and to misbehave.
//
// The first line of the input is its configuration, {"clients": [...]}; the first line of the output says where it listens. It ends with its input.
//
// What a client asks for is said by the resource it names: the host becomes the audience, the path is the format (/jwt/ES256, /opaque), and ?ttl=60
// is the life of the token in seconds.
//
// POST / on the control port takes any of
//   {"publish": [2, 1]}            which generations of keys are published; the first one signs
//   {"fail": {"/jwks": "hang"}}    how paths fail from now on, instead of how they failed before: see failures
//   {"down": true}                 whether nobody listens at all
// and GET /counts there tells how often each path was asked for.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { Provider } from 'oidc-provider';

const input = createInterface({ input: process.stdin });
const { clients } = await new Promise((resolve) => { input.once('line', (line) => resolve(JSON.parse(line))); });
input.once('close', () => process.exit(0));

const kinds = [['rsa', { modulusLength: 2048 }], ['ec', { namedCurve: 'P-256' }], ['ec', { namedCurve: 'P-384' }], ['ed25519', {}]];
const generations = new Map();
function generation(n) {
  if (!generations.has(n)) {
    const keys = kinds.map(([kind, options]) => generateKeyPairSync(kind, options).privateKey.export({ format: 'jwk' }));
    generations.set(n, keys.map((key, i) => ({ ...key, use: 'sig', kid: `${n}-${kinds[i][1].namedCurve ?? kinds[i][0]}` })));
  }
  return generations.get(n);
}

// One memory for all providers, so that tokens and what was revoked outlive a rotation.
const memory = new Map();
class Adapter {
  constructor(model) { this.model = model; }
  async upsert(id, payload) { memory.set(`${this.model}:${id}`, payload); }
  async find(id) { return memory.get(`${this.model}:${id}`); }
  async destroy(id) { memory.delete(`${this.model}:${id}`); }
  async consume(id) { memory.get(`${this.model}:${id}`).consumed = Math.floor(Date.now() / 1000); }
}

const nonceSecret = randomBytes(32);
function provide(issuer, publish) {
  const provider = new Provider(issuer, {
    adapter: Adapter,
    clients,
    jwks: { keys: publish.flatMap(generation) },
    scopes: ['read', 'write'],
    enabledJWA: { clientAuthSigningAlgValues: ['RS256', 'ES256', 'ES384', 'EdDSA'], dPoPSigningAlgValues: ['ES256', 'EdDSA', 'Ed25519', 'RS256'] },
    clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true, allowedPolicy: () => true },
      dPoP: { enabled: true, nonceSecret, requireNonce: (ctx) => ctx.oidc.client?.clientId === 'nonce' },
      mTLS: { enabled: true, certificateBoundAccessTokens: true, getCertificate: (ctx) => ctx.get('x-certificate') },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo(_, resource) {
          const { hostname, pathname, searchParams } = new URL(resource);
          const [, format, alg] = pathname.split('/');
          return {
            audience: hostname, scope: 'read write', accessTokenFormat: format, accessTokenTTL: Number(searchParams.get('ttl') ?? 3600),
            ...(alg && { jwt: { sign: { alg } } }),
          };
        },
      },
    },
  });
  return provider.callback();
}

// How a path can fail. What has no end of its own is ended by the other side.
const failures = {
  500: (res) => res.writeHead(500, { 'content-type': 'application/json' }).end('{"error":"server_error"}'),
  503: (res) => res.writeHead(503, { 'retry-after': '3600' }).end(),
  doubtful(res, req) { // the right answer, which yet is none
    Object.defineProperty(res, 'statusCode', { get: () => 500, set() {} });
    handle(req, res);
  },
  reset: (res) => res.destroy(),
  hang: () => {},
  garbage: (res) => res.writeHead(200, { 'content-type': 'application/json' }).end(randomBytes(1000)),
  empty: (res) => res.writeHead(200, { 'content-type': 'application/json' }).end(),
  truncated: (res) => res.writeHead(200, { 'content-type': 'application/json', 'content-length': 1000 }).end('{"keys":['),
  html: (res) => res.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>Sign in</title><p>Sign in to the hotel network.'),
  redirect: (res) => res.writeHead(302, { location: 'http://localhost:1/' }).end(),
  loop: (res, req) => res.writeHead(302, { location: req.url }).end(),
  slow(res) {
    res.writeHead(200, { 'content-type': 'application/json' });
    const timer = setInterval(() => res.write(' '), 1000);
    res.once('close', () => clearInterval(timer));
  },
  huge(res) {
    res.writeHead(200, { 'content-type': 'application/json' });
    const chunk = ' '.repeat(1 << 16);
    const fill = () => { while (!res.destroyed && res.write(chunk)); };
    res.on('drain', fill);
    fill();
  },
};

let handle;
let fail = {};
const counts = {};
const front = createServer((req, res) => {
  const { pathname } = new URL(req.url, 'http://localhost');
  counts[pathname] = (counts[pathname] ?? 0) + 1;
  const how = fail[pathname] ?? fail['*'];
  if (how) failures[how](res, req);
  else handle(req, res);
});
const listen = (server, port) => new Promise((resolve) => { server.listen(port, '127.0.0.1', () => resolve(server.address().port)); });
const port = await listen(front, 0);
const issuer = `http://127.0.0.1:${port}`;
handle = provide(issuer, [1]);

async function command({ publish, fail: failing, down }) {
  if (failing?.constructor === Object) fail = failing;
  if (publish) handle = provide(issuer, publish);
  if (down && front.listening) {
    await new Promise((resolve) => { front.close(resolve); front.closeAllConnections(); });
  } else if (down === false && !front.listening) await listen(front, port);
}

const control = createServer(async (req, res) => {
  try {
    let body = '';
    for await (const chunk of req) body += chunk;
    if (body) await command(JSON.parse(body));
    res.end(JSON.stringify(counts));
  } catch (err) {
    res.writeHead(400).end(String(err));
  }
});
const controlPort = await listen(control, 0);
process.stdout.write(`${JSON.stringify({ issuer, control: `http://127.0.0.1:${controlPort}` })}\n`);
