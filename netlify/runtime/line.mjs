// Python's side of wires.mjs: one order is posted, and Python's thread sleeps until its answer is there.
import { pbkdf2Sync } from 'node:crypto'
import { MessageChannel, Worker, receiveMessageOnPort } from 'node:worker_threads'

const SPARE_MS = 2_000 // beyond the order's own limit
const NUMBERS = 1_000_000 // of lines, for each thread

// Pyodide has none of its own, and Python alone takes 150 ms for the proof of a password.
const pbkdf2 = (hash, password, salt, rounds, length) =>
  new Uint8Array(pbkdf2Sync(password, salt, rounds, length, hash))

// The thread starts with the first order: a forged event needs none.
export function openWires() {
  const bell = new Int32Array(new SharedArrayBuffer(4))
  const signals = new Uint8Array(new SharedArrayBuffer(1)) // read by Python now and then: see `alarm`
  let worker, port
  let first = 0 // a number is never a second line's: Python may still hold lines of a thread that ended

  function begin() {
    const { port1, port2 } = new MessageChannel()
    worker = new Worker(new URL('./wires.mjs', import.meta.url), {
      workerData: { port: port2, bell, signals, first }, transferList: [port2], execArgv: [],
    })
    first += NUMBERS
    worker.on('error', (error) => process.stderr.write(`usher: the wires ended: ${error.stack ?? error}\n`))
    worker.unref()
    port1.unref()
    port = port1
  }

  function end() {
    worker?.terminate()
    worker = port = undefined
  }

  function ask(text, bytes) {
    if (!port) begin()
    const order = { ...JSON.parse(text), bytes }
    const till = performance.now() + (order.ms ?? 0) + SPARE_MS
    let heard = Atomics.load(bell, 0)
    port.postMessage(order)
    for (;;) {
      const found = receiveMessageOnPort(port)
      if (found) {
        const { bytes: data, ...rest } = found.message
        return [JSON.stringify(rest), data ?? undefined] // null would be no None of Python's
      }
      if (Atomics.wait(bell, 0, heard, Math.max(1, till - performance.now())) === 'timed-out') {
        end() // whatever hangs there, a later answer would be taken for another order's
        return [JSON.stringify({ error: `no answer in ${order.ms ?? 0} ms` }), undefined]
      }
      heard = Atomics.load(bell, 0)
    }
  }

  return { forPython: { ask, pbkdf2 }, end, signals }
}
