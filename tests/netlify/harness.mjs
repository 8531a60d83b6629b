// node harness.mjs FUNCTION…: loads functions as Netlify's bootstrap does, and answers requests that
// come as lines of JSON; an `env` among them is what the platform sets before an invocation.
import path from 'node:path'
import readline from 'node:readline'
import { pathToFileURL } from 'node:url'

const loaded = new Map()
const load = async (file) => {
  if (!loaded.has(file)) loaded.set(file, await import(pathToFileURL(path.resolve(file)).href))
  return loaded.get(file)
}

async function invoke({ file, url, method, headers, body, env, v1 }) {
  for (const [name, value] of Object.entries(env ?? {})) {
    if (value === null) delete process.env[name]
    else process.env[name] = value
  }
  const module = await load(file)
  if (v1) {
    const told = await module.handler({ httpMethod: method, rawUrl: url, headers, ...v1.event }, v1.context)
    return { status: told.statusCode, headers: Object.entries(told.headers), body: Buffer.from(told.body).toString('base64') }
  }
  const octets = body == null ? undefined : Buffer.from(body, 'base64')
  const request = new Request(url, { method, headers, body: octets })
  const answer = await module.default(request, {})
  const bytes = Buffer.from(await answer.arrayBuffer())
  return { status: answer.status, headers: [...answer.headers], body: bytes.toString('base64') }
}

// Lines that begin together are handed over together, as the platform never would: see `id`.
readline.createInterface({ input: process.stdin }).on('line', async (line) => {
  const asked = JSON.parse(line)
  let told
  try {
    told = await invoke(asked)
  } catch (error) {
    told = { error: String(error?.stack ?? error) }
  }
  process.stdout.write(JSON.stringify({ id: asked.id, ...told }) + '\n')
})
