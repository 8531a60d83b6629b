// Gives orders to the JavaScript that sends for Python: a line of JSON each, in and out.
import { createInterface } from 'node:readline'
import * as orders from '../../netlify/runtime/http.mjs'

for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, body, ...order } = JSON.parse(line)
  let told
  try {
    told = await orders[name]({ ...order, bytes: body === null ? undefined : Buffer.from(body, 'base64') })
    if (name === 'http') told.bytes = told.bytes?.toString('base64') ?? null
  } catch (error) {
    told = { error: error.message }
  }
  process.stdout.write(`${JSON.stringify(told)}\n`)
}
