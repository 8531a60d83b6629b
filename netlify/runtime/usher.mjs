// A function of Netlify: each request is handed to Usher's Python, which the first one starts.
import { openSnapshot, startPython } from './python.mjs'
import { openWires } from './line.mjs'

const OURS = /^(USHER_\w+|NETLIFY_DATABASE_URL|NETLIFY_DB_URL)$/
const SCHEDULED_MS = 30_000 // Netlify's limit
const BODILESS = new Set([101, 204, 205, 304])

let running // of the Python in this process
let before = Promise.resolve()

// Makes the function that answers Netlify's requests.
export const serve = (name) => async (request) => {
  const asked = { ...askedBy(request), identity: shared(globalThis.netlifyIdentityContext) }
  const told = await answer(name, asked, new Uint8Array(await request.arrayBuffer()))
  const headers = new Headers(told.headers)
  const body = Buffer.from(told.body)
  const none = request.method === 'HEAD' || BODILESS.has(told.status)
  if (!none) headers.set('Content-Length', String(body.length)) // Identity may not read an answer without
  return new Response(none ? null : body, { status: told.status, headers })
}

// Makes the function that answers in Lambda's form. Netlify passes the caller beside the request there.
export const serveLambda = (name) => async (event, context) => {
  const client = context?.clientContext
  const asked = { ...askedIn(event), identity: shared(client?.identity), client: client ?? null }
  const body = event.body ? Buffer.from(event.body, event.isBase64Encoded ? 'base64' : 'utf8') : Buffer.alloc(0)
  const told = await answer(name, asked, new Uint8Array(body))
  const answered = event.httpMethod === 'HEAD' ? '' : told.body
  return { statusCode: told.status, headers: Object.fromEntries(told.headers), body: answered }
}

// Makes the function that Netlify calls by a schedule.
export const serveSchedule = (name) => async () => {
  const end = performance.now() + SCHEDULED_MS
  const identity = shared(globalThis.netlifyIdentityContext)
  const told = await inTurn(name, (python) => python.maintain({ seconds: (end - performance.now()) / 1000, identity }))
  return Response.json(told ?? { done: false }, { status: told ? 200 : 503 })
}

// Of Identity's context: whom it speaks for, the platform alone could say, and here cannot.
const shared = (context) => context && { url: context.url, token: context.token }

// What Python gets of a request. Netlify's own headers are not for it: an administrator's token is among them.
export function askedBy(request) {
  const url = new URL(request.url)
  return {
    method: request.method,
    path: decoded(url.pathname),
    query: url.search.slice(1),
    headers: [...request.headers].filter(ours),
  }
}

function askedIn({ httpMethod, rawUrl, headers = {}, multiValueHeaders }) {
  const many = Object.entries(multiValueHeaders ?? {}).flatMap(([name, values]) => values.map((value) => [name, value]))
  const pairs = many.length ? many : Object.entries(headers)
  const url = new URL(rawUrl)
  return {
    method: httpMethod,
    path: decoded(url.pathname),
    query: url.search.slice(1),
    headers: pairs.map(([name, value]) => [name.toLowerCase(), value]).filter(ours),
  }
}

const ours = ([name]) => !name.startsWith('x-nf-') || name === 'x-nf-sign'

async function answer(name, asked, body) {
  return (await inTurn(name, (python) => python.answer(asked, body))) ?? BROKEN
}

// One at a time, in the order in which they came: Python has one thread, and it waits.
function inTurn(name, work) {
  const mine = before.then(() => alone(name, work))
  before = mine
  return mine
}

async function alone(name, work) {
  try {
    running ??= await start(name)
    return work(running)
  } catch (error) {
    process.stderr.write(`usher: Python ended, and starts anew: ${lastWords(error)}\n`)
    running?.end()
    running = undefined
    return null
  }
}

// Of an error of Python's its type and its lines: the message may hold an address, or a token.
export function lastWords(error) {
  const lines = error?.type ? [error.type, ...error.message.split('\n').filter((line) => line.startsWith('  File '))] : null
  return (lines?.join('\n') ?? String(error?.stack ?? error)).slice(0, 2000)
}

const BROKEN = {
  status: 503,
  headers: [['Content-Type', 'application/problem+json'], ['Cache-Control', 'no-store'], ['Retry-After', '1']],
  body: JSON.stringify({
    type: 'urn:usher:error:internal_error',
    title: 'Usher could not answer; the next request starts it anew',
    status: 503,
    code: 'internal_error',
  }),
}

async function start(name) {
  const wires = openWires()
  const python = await startFast(name).catch((error) => {
    process.stderr.write(`usher: Python starts without its snapshot: ${error?.message ?? error}\n`)
    return startPython()
  })
  python.registerJsModule('usher_wires', wires.forPython)
  const door = python.pyimport('usher.netlify.entry')
  let last

  function call(run, asked, ...more) {
    const environment = Object.fromEntries(Object.entries(process.env).filter(([key]) => OURS.test(key)))
    const text = JSON.stringify(environment)
    const told = run(JSON.stringify({ ...asked, environment: text === last ? null : environment }), ...more)
    last = text
    return JSON.parse(told)
  }

  return {
    answer: (asked, body) => call(door.answer, asked, body),
    maintain(asked) {
      python.setInterruptBuffer(wires.signals) // alarms come this way; other calls need none
      try {
        return call(door.maintain, asked)
      } finally {
        python.setInterruptBuffer(undefined)
      }
    },
    end: wires.end,
  }
}

async function startFast(name) {
  const snapshot = openSnapshot(`${name}.snapshot`)
  return startPython(snapshot ? { snapshot } : {})
}

const decoded = (path) => {
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}
