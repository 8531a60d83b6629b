// Gives orders to the wires as Python does: a line of JSON each, in and out; bytes are base64.
import { createInterface } from 'node:readline'
import { openWires } from '../../netlify/runtime/line.mjs'

const { forPython: { ask }, end } = openWires()
for await (const line of createInterface({ input: process.stdin })) {
  const { bytes, ...order } = JSON.parse(line)
  if (order.do === 'end') { // as after an order without an answer
    end()
    process.stdout.write('{}\n')
    continue
  }
  const [text, data] = ask(JSON.stringify(order), bytes && new Uint8Array(Buffer.from(bytes, 'base64')))
  const told = { ...JSON.parse(text), ...(data && { bytes: Buffer.from(data).toString('base64') }) }
  process.stdout.write(`${JSON.stringify(told)}\n`)
}
end()
