// A plain Netlify function for Identity's events, the peer of bench.netlify.
// WEBHOOK_SECRET and DATABASE_URL are its settings; POLICY is the same as Usher's there.
import { createHash, timingSafeEqual } from 'node:crypto'
import { jwtVerify } from 'jose'
import pg from 'pg'

const TOLERANCE_SECONDS = 300
const EVENTS = new Set(['validate', 'signup', 'login', 'usermodified', 'userdeleted'])
const POLICY = {
  denied: new Set(['mailinator.com']),
  roles: [
    ['member', () => true],
    ['staff', (email) => email.endsWith('@example.com')],
    ['admin', (email) => email === 'owner@example.com'],
  ],
}
const INSERT_DELIVERY =
  'INSERT INTO delivery (id, body, outcome, received_at) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING'
const UPSERT_USER =
  'INSERT INTO "user" (id, email, app_metadata, user_metadata, status, created_at, updated_at) ' +
  'VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO UPDATE SET email = excluded.email, ' +
  'app_metadata = excluded.app_metadata, user_metadata = excluded.user_metadata, ' +
  'status = excluded.status, updated_at = excluded.updated_at'

const secret = new TextEncoder().encode(process.env.WEBHOOK_SECRET)
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 1 })

class Refused extends Error {
  constructor(status, message) {
    super(message)
    this.status = status
  }
}

const sha256 = (data) => createHash('sha256').update(data).digest('hex')

// The claims of a good signature and the digest of the body, or 401.
async function verify(signature, body) {
  const digest = sha256(body)
  let claims
  try {
    claims = (await jwtVerify(signature ?? '', secret, { algorithms: ['HS256'], issuer: 'gotrue' })).payload
  } catch {
    throw new Refused(401, 'bad signature')
  }
  const { iat, sub, sha256: signed } = claims
  const fresh = Number.isInteger(iat) && Math.abs(Date.now() / 1000 - iat) <= TOLERANCE_SECONDS
  const [expected, given] = [Buffer.from(digest), Buffer.from(String(signed))]
  const same = given.length === expected.length && timingSafeEqual(given, expected)
  if (!fresh || !same || typeof sub !== 'string') throw new Refused(401, 'bad signature')
  return { claims, digest }
}

// The event's name and its user, or 400.
function parse(body) {
  let payload
  try {
    payload = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
  } catch {
    throw new Refused(400, 'bad body')
  }
  const { event, user } = payload ?? {}
  if (!EVENTS.has(event) || typeof user?.id !== 'string' || typeof user.email !== 'string') {
    throw new Refused(400, 'bad body')
  }
  return { event, user }
}

// The roles that the policy gives, or 403.
function decide(event, email) {
  const admits = event === 'validate' || event === 'signup'
  if (admits && POLICY.denied.has(email.split('@').pop())) {
    throw new Refused(403, 'Please use an address that lasts.')
  }
  return POLICY.roles.filter(([, holds]) => holds(email)).map(([role]) => role)
}

// One event in one transaction; a retry changes nothing.
async function store(id, body, event, user, appMetadata) {
  const now = new Date().toISOString()
  const status = event === 'userdeleted' ? 'deleted' : 'active'
  const metadata = [JSON.stringify(appMetadata), JSON.stringify(user.user_metadata ?? {})]
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    const inserted = await client.query(INSERT_DELIVERY, [id, body, 'accepted', now])
    if (inserted.rowCount) await client.query(UPSERT_USER, [user.id, user.email, ...metadata, status, now, now])
    await client.query('COMMIT')
  } catch (error) {
    await client.query('ROLLBACK')
    throw error
  } finally {
    client.release()
  }
}

export default async (request) => {
  try {
    const body = Buffer.from(await request.arrayBuffer())
    const { claims, digest } = await verify(request.headers.get('x-webhook-signature'), body)
    const { event, user } = parse(body)
    const received = user.app_metadata ?? {}
    const roles = [...new Set([...(received.roles ?? []), ...decide(event, user.email.toLowerCase())])].sort()
    const appMetadata = { ...received, roles }
    await store(sha256(`${claims.sub},${event},${claims.iat},${digest}`), body, event, user, appMetadata)
    return Response.json({ app_metadata: appMetadata })
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    return Response.json({ error: error.message }, { status: error.status })
  }
}
