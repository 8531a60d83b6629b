// A plain Fastify receiver of Identity events, the Node peer of the benchmark.
// Usage: node receiver.js PORT DATABASE_FILE, with the secret in WEBHOOK_SECRET.

import { createHash, timingSafeEqual } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import Fastify from 'fastify'
import jwt from 'jsonwebtoken'

const TOLERANCE_SECONDS = 300
const EVENTS = new Set(['validate', 'signup', 'login', 'usermodified', 'userdeleted'])

const [port, database] = process.argv.slice(2)
const secret = process.env.WEBHOOK_SECRET
if (!port || !database || !secret) {
  console.error('usage: WEBHOOK_SECRET=... node receiver.js PORT DATABASE_FILE')
  process.exit(2)
}

const db = new DatabaseSync(database)
db.exec(`
  PRAGMA journal_mode=WAL;
  PRAGMA synchronous=FULL;
  PRAGMA busy_timeout=10000;
  CREATE TABLE IF NOT EXISTS user (
    id TEXT PRIMARY KEY, email TEXT NOT NULL, app_metadata TEXT NOT NULL,
    user_metadata TEXT NOT NULL, status TEXT NOT NULL,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL
  );
  CREATE INDEX IF NOT EXISTS user_email ON user (email);
  CREATE TABLE IF NOT EXISTS delivery (
    id TEXT PRIMARY KEY, body BLOB NOT NULL, outcome TEXT NOT NULL, received_at TEXT NOT NULL
  );
`)

const begin = db.prepare('BEGIN IMMEDIATE')
const commit = db.prepare('COMMIT')
const rollback = db.prepare('ROLLBACK')
const insertDelivery = db.prepare(
  'INSERT INTO delivery (id, body, outcome, received_at) VALUES (?, ?, ?, ?) ' +
    'ON CONFLICT (id) DO NOTHING'
)
const upsertUser = db.prepare(
  'INSERT INTO user (id, email, app_metadata, user_metadata, status, created_at, updated_at) ' +
    'VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET email = excluded.email, ' +
    'app_metadata = excluded.app_metadata, user_metadata = excluded.user_metadata, ' +
    'status = excluded.status, updated_at = excluded.updated_at'
)

const sha256 = (data) => createHash('sha256').update(data).digest('hex')

function refuse(statusCode, message) {
  return Object.assign(new Error(message), { statusCode })
}

// The claims of a good signature and the digest of the body, or 401.
function verify(signature, body) {
  const digest = sha256(body)
  let claims
  try {
    claims = jwt.verify(signature, secret, { algorithms: ['HS256'], issuer: 'gotrue' })
  } catch {
    throw refuse(401, 'bad signature')
  }
  const { iat, sub, sha256: signed } = claims
  const fresh = Number.isInteger(iat) && Math.abs(Date.now() / 1000 - iat) <= TOLERANCE_SECONDS
  const expected = Buffer.from(digest)
  const given = Buffer.from(String(signed))
  const same = given.length === expected.length && timingSafeEqual(given, expected)
  if (!fresh || !same || typeof sub !== 'string') throw refuse(401, 'bad signature')
  return { claims, digest }
}

// The event's name and its user, or 400.
function parse(body) {
  let payload
  try {
    payload = JSON.parse(body)
  } catch {
    throw refuse(400, 'bad body')
  }
  const { event, user } = payload ?? {}
  const complete = typeof user?.id === 'string' && typeof user.email === 'string'
  if (!EVENTS.has(event) || !complete) throw refuse(400, 'bad body')
  return { event, user }
}

// Write the user and the delivery in one transaction; a retry changes nothing.
function store(deliveryId, body, event, user, appMetadata) {
  const now = new Date().toISOString()
  const status = event === 'userdeleted' ? 'deleted' : 'active'
  begin.run()
  try {
    const inserted = insertDelivery.run(deliveryId, body, 'accepted', now)
    if (inserted.changes) {
      const userMetadata = JSON.stringify(user.user_metadata ?? {})
      upsertUser.run(
        user.id, user.email, JSON.stringify(appMetadata), userMetadata, status, now, now
      )
    }
    commit.run()
  } catch (error) {
    rollback.run()
    throw error
  }
}

const app = Fastify({ logger: false })
app.removeAllContentTypeParsers()
app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
  done(null, body)
})

app.get('/readyz', async () => ({ ready: true }))

app.post('/hook', async (request) => {
  const body = request.body
  const { claims, digest } = verify(request.headers['x-webhook-signature'], body)
  const { event, user } = parse(body)
  const received = user.app_metadata ?? {}
  const roles = [...new Set([...(received.roles ?? []), 'member'])].sort()
  const appMetadata = { ...received, roles }
  const deliveryId = sha256(`${claims.sub},${event},${claims.iat},${digest}`)
  store(deliveryId, body, event, user, appMetadata)
  return { app_metadata: appMetadata }
})

await app.listen({ host: '127.0.0.1', port: Number(port) })
