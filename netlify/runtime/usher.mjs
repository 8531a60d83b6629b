// A function of Netlify: each request is handed to Usher's Python, which the first one starts.
import { openSnapshot, startPython } from './python.mjs'
import { openWires } from './line.mjs'

const OURS = /^(USHER_\w+|NETLIFY_DATABASE_URL|NETLIFY_DB_URL)$/
const BODILESS = new Set([101, 204, 205, 304])

let running // of the Python in this process
let before = Promise.resolve()

// Makes the function that answers Netlify's requests.
export const serve = (name) => async (request) => {
  const told = await answer(name, askedBy(request), new Uint8Array(await request.arrayBuffer()))
  const headers = new Headers(told.headers)
  const body = Buffer.from(told.body)
  const none = request.method === 'HEAD' || BODILESS.has(told.status)
  if (!none) headers.set('Content-Length', String(body.length)) // Identity may not read an answer without
  return new Response(none ? null : body, { status: told.status, headers })
}

// What Python gets of a request. Netlify's own headers are not for it: an administrator's token is among them.
export function askedBy(request) {
  const url = new URL(request.url)
  return {
    method: request.method,
    path: decoded(url.pathname),
    query: url.search.slice(1),
    headers: [...request.headers].filter(([name]) => !name.startsWith('x-nf-') || name === 'x-nf-sign'),
  }
}

// One request at a time, in the order in which they came: Python has one thread, and it waits.
function answer(name, asked, body) {
  const mine = before.then(() => answerAlone(name, asked, body))
  before = mine.catch(() => {})
  return mine
}

async function answerAlone(name, asked, body) {
  try {
    running ??= await start(name)
    return running.answer(asked, body)
  } catch (error) {
    process.stderr.write(`usher: Python ended, and starts anew: ${String(error?.stack ?? error).slice(0, 2000)}\n`)
    running?.end()
    running = undefined
    return BROKEN
  }
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
  python.registerJsModule('usher_wires', { ask: wires.ask })
  const door = python.pyimport('usher.netlify.entry')
  let last
  return {
    answer(asked, body) {
      const environment = Object.fromEntries(Object.entries(process.env).filter(([key]) => OURS.test(key)))
      const text = JSON.stringify(environment)
      const told = door.answer(JSON.stringify({ ...asked, environment: text === last ? null : environment }), body)
      last = text
      return JSON.parse(told)
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
