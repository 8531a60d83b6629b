// Lambda's runtime for Node in small: `node lambda_node.mjs ENTRY DESCRIPTOR`, the entry file of an unzipped function.
// One event a line on standard input; one answer a line on the descriptor, the first of which says that the
// entry file is loaded. Streamed answers only, as Netlify's bootstrap gives them. An answer tells the marks that
// the function set by performance.mark() since the last one, and when WebAssembly was compiled.
import fs from 'node:fs'
import readline from 'node:readline'
import { pathToFileURL } from 'node:url'
import { invoke } from './lambda_invocation.mjs'

const LARGE = 1_000_000

for (const name of ['compile', 'instantiate']) {
  const original = WebAssembly[name]
  WebAssembly[name] = async (source, ...more) => {
    const done = await original.call(WebAssembly, source, ...more)
    if (source.byteLength > LARGE) performance.mark('WebAssembly compiled')
    return done
  }
}

const marks = () => {
  const found = performance.getEntriesByType('mark')
  performance.clearMarks()
  return found.map(({ name, startTime }) => [name, performance.timeOrigin + startTime])
}

const [entry, descriptor] = process.argv.slice(2)
const say = (answer) => fs.writeSync(Number(descriptor), `${JSON.stringify({ ...answer, at: performance.timeOrigin + performance.now() })}\n`)

const { handler } = await import(pathToFileURL(entry))
say({ loaded: true })

for await (const line of readline.createInterface({ input: process.stdin })) {
  try {
    say({ ...(await invoke(handler, JSON.parse(line))), marks: marks() })
  } catch (error) {
    say({ error: String(error?.stack ?? error) })
  }
}
process.exit()
