// node bootstrap.mjs BOOTSTRAP: runs functions by Netlify's own bootstrap, in the place of Lambda's runtime.
// BOOTSTRAP is the module; requests are lines as in harness.mjs, handed over as Lambda's events.
import path from 'node:path'
import readline from 'node:readline'
import { pathToFileURL } from 'node:url'
import { invoke } from '../../bench/lambda_invocation.mjs'

// From a request with a `clock` on, the wall clock stands still at it: milliseconds since 1970.
let clock
const { now } = Date
Date.now = () => clock ?? now()

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

async function answer(asked) {
  clock = asked.clock ?? clock
  for (const [name, value] of Object.entries(asked.env ?? {})) {
    if (value === null) delete process.env[name]
    else process.env[name] = value
  }
  const { statusCode, multiValueHeaders, body } = await invoke(handlerOf(asked.file), lambdaEvent(asked))
  const headers = Object.entries(multiValueHeaders).flatMap(([name, values]) => values.map((value) => [name, value]))
  return { status: statusCode, headers, body }
}

readline.createInterface({ input: process.stdin }).on('line', async (line) => {
  const asked = JSON.parse(line)
  let told
  try {
    told = await answer(asked)
  } catch (error) {
    // Lambda calls it an error of the invocation, and the platform answers in its stead.
    told = { status: 500, headers: [], body: Buffer.from(String(error?.stack ?? error)).toString('base64') }
  }
  process.stdout.write(JSON.stringify({ id: asked.id, ...told }) + '\n')
})
