// A plain Fastify receiver of Identity events, the Node peer of the benchmark.
// Usage: node receiver.js PORT DATABASE, a file or a postgresql: address, with the secret in WEBHOOK_SECRET.

import { createHash, timingSafeEqual } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import Fastify from 'fastify'
import jwt from 'jsonwebtoken'
import pg from 'pg'

const TOLERANCE_SECONDS = 300
const EVENTS = new Set(['validate', 'signup', 'login', 'usermodified', 'userdeleted'])

const [port, database] = process.argv.slice(2)
const secret = process.env.WEBHOOK_SECRET
if (!port || !database || !secret) {
  console.error('usage: WEBHOOK_SECRET=... node receiver.js PORT DATABASE')
  process.exit(2)
}

const TABLES = `
  CREATE TABLE IF NOT EXISTS "user" (
    id TEXT PRIMARY KEY, email TEXT NOT NULL, app_metadata TEXT NOT NULL,
    user_metadata TEXT NOT NULL, status TEXT NOT NULL,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL
  );
  CREATE INDEX IF NOT EXISTS user_email ON "user" (email);
  CREATE TABLE IF NOT EXISTS delivery (
    id TEXT PRIMARY KEY, body BLOB NOT NULL, outcome TEXT NOT NULL, received_at TEXT NOT NULL
  );
`
const INSERT_DELIVERY =
  'INSERT INTO delivery (id, body, outcome, received_at) VALUES ($1, $2, $3, $4) ' +
  'ON CONFLICT (id) DO NOTHING'
const UPSERT_USER =
  'INSERT INTO "user" (id, email, app_metadata, user_metadata, status, created_at, updated_at) ' +
  'VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO UPDATE SET email = excluded.email, ' +
  'app_metadata = excluded.app_metadata, user_metadata = excluded.user_metadata, ' +
  'status = excluded.status, updated_at = excluded.updated_at'

// Both give a function that writes one event in a transaction of its own; a retry changes nothing.
function openSqlite(file) {
  const db = new DatabaseSync(file)
  db.exec('PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=10000;' + TABLES)
  const [begin, commit, rollback, insertDelivery, upsertUser] = [
    'BEGIN IMMEDIATE', 'COMMIT', 'ROLLBACK',
    INSERT_DELIVERY.replaceAll(/\$\d/g, '?'), UPSERT_USER.replaceAll(/\$\d/g, '?'),
  ].map((statement) => db.prepare(statement))
  return (delivery, user) => {
    begin.run()
    try {
      if (insertDelivery.run(...delivery).changes) upsertUser.run(...user)
      commit.run()
    } catch (error) {
      rollback.run()
      throw error
    }
  }
}

async function openPostgresql(url) {
  const pool = new pg.Pool({ connectionString: url, max: 16 })
  await pool.query(TABLES.replace('BLOB', 'BYTEA'))
  return async (delivery, user) => {
    const client = await pool.connect()
    try {
      await client.query('BEGIN')
      const statement = { name: 'delivery', text: INSERT_DELIVERY, values: delivery }
      if ((await client.query(statement)).rowCount) {
        await client.query({ name: 'user', text: UPSERT_USER, values: user })
      }
      await client.query('COMMIT')
    } catch (error) {
      await client.query('ROLLBACK')
      throw error
    } finally {
      client.release()
    }
  }
}

const write = database.startsWith('postgresql:')
  ? await openPostgresql(database)
  : openSqlite(database)

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

function store(deliveryId, body, event, user, appMetadata) {
  const now = new Date().toISOString()
  const status = event === 'userdeleted' ? 'deleted' : 'active'
  const userMetadata = JSON.stringify(user.user_metadata ?? {})
  return write(
    [deliveryId, body, 'accepted', now],
    [user.id, user.email, JSON.stringify(appMetadata), userMetadata, status, now, now]
  )
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
  await store(deliveryId, body, event, user, appMetadata)
  return { app_metadata: appMetadata }
})

await app.listen({ host: '127.0.0.1', port: Number(port) })
