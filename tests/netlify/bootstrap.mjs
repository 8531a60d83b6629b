// node bootstrap.mjs BOOTSTRAP: runs functions by Netlify's own bootstrap, in the place of Lambda's runtime.
// BOOTSTRAP is the module; requests are lines as in harness.mjs, handed over as Lambda's events.
import crypto from 'node:crypto'
import path from 'node:path'
import readline from 'node:readline'
import { Writable } from 'node:stream'
import { pathToFileURL } from 'node:url'

const MS = 60_000

// From a request with a `clock` on, the wall clock stands still at it: milliseconds since 1970.
let clock
const { now } = Date
Date.now = () => clock ?? now()

globalThis.awslambda = {
  streamifyResponse: (handler) => handler,
  HttpResponseStream: { from: (stream, head) => Object.assign(stream, { head }) },
}
const { getLambdaHandler } = await import(pathToFileURL(path.resolve(process.argv[2])).href)

const handlers = new Map()
const handlerOf = (file) => {
  if (!handlers.has(file)) handlers.set(file, getLambdaHandler(path.resolve(file)))
  return handlers.get(file)
}

// Bodies that are no text come in base64; which others do, is known of no platform but the real one.
function lambdaEvent({ url, method, headers, body, platform }) {
  const octets = body == null ? null : Buffer.from(body, 'base64')
  const text = octets?.toString()
  const isText = octets != null && Buffer.from(text).equals(octets)
  const joined = {}
  for (const [name, value] of headers) {
    const key = name.toLowerCase()
    joined[key] = key in joined ? `${joined[key]}, ${value}` : value
  }
  return {
    rawUrl: url,
    path: new URL(url).pathname,
    httpMethod: method,
    headers: joined,
    body: octets == null ? '' : isText ? text : body,
    isBase64Encoded: octets != null && !isText,
    flags: {},
    ...platform,
  }
}

async function invoke(asked) {
  clock = asked.clock ?? clock
  for (const [name, value] of Object.entries(asked.env ?? {})) {
    if (value === null) delete process.env[name]
    else process.env[name] = value
  }
  const began = Date.now()
  const pieces = []
  const stream = new Writable({
    write: (piece, _encoding, done) => { pieces.push(Buffer.from(piece)); done() },
  })
  const ended = new Promise((resolve, reject) => stream.once('finish', resolve).once('error', reject))
  const context = {
    awsRequestId: crypto.randomUUID(),
    callbackWaitsForEmptyEventLoop: false,
    clientContext: {},
    getRemainingTimeInMillis: () => MS - (Date.now() - began),
  }
  await handlerOf(asked.file)(lambdaEvent(asked), stream, context)
  await ended
  const { statusCode, multiValueHeaders } = stream.head
  const headers = Object.entries(multiValueHeaders).flatMap(([name, values]) => values.map((value) => [name, value]))
  return { status: statusCode, headers, body: Buffer.concat(pieces).toString('base64') }
}

readline.createInterface({ input: process.stdin }).on('line', async (line) => {
  const asked = JSON.parse(line)
  let told
  try {
    told = await invoke(asked)
  } catch (error) {
    // Lambda calls it an error of the invocation, and the platform answers in its stead.
    told = { status: 500, headers: [], body: Buffer.from(String(error?.stack ?? error)).toString('base64') }
  }
  process.stdout.write(JSON.stringify({ id: asked.id, ...told }) + '\n')
})
