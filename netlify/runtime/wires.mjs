// The thread that does what Python may only wait for. Python's thread posts one order, sleeps, and
// reads the one answer. Orders, with ms as the limit of each:
//   open {host, address, port, tls, ca, ms} -> {line}; the certificate is for host, wherever address is
//   exchange {line, bytes, ms} -> {bytes}, once anything has arrived
//   send {line, bytes} -> {}                      close {line} -> {}
//   http, resolve: see http.mjs
//   alarm {after} -> {}: has SIGALRM come to Python after so many milliseconds, and again; 0: no more
import net from 'node:net'
import { workerData } from 'node:worker_threads'

const { port, bell, signals, first } = workerData
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])
const YES = 'S'.charCodeAt(0)
const lines = new Map()
const SIGALRM = 14
const AGAIN_MS = 250
let last = first
let alarm

// Settles as the promise does, or fails after ms; `stop` then ends what is under way.
function within(ms, promise, stop) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in ${ms} ms`)), ms)
  })
  return Promise.race([promise, late]).catch((error) => { stop?.(); throw error }).finally(() => clearTimeout(timer))
}

const event = (emitter, name) =>
  new Promise((resolve, reject) => {
    emitter.once(name, resolve)
    emitter.once('error', reject)
    emitter.once('close', () => reject(new Error('the other side closed the connection')))
  })

function hold(socket) {
  const line = { socket, pieces: [], ended: null, wake: null }
  const end = (why) => { line.ended ??= why; line.wake?.() }
  socket.on('data', (piece) => { line.pieces.push(piece); line.wake?.() })
  socket.on('error', (error) => end(error.message))
  socket.on('close', () => end('the other side closed the connection'))
  lines.set(++last, line)
  return last
}

function held(number) {
  const line = lines.get(number)
  if (!line) throw new Error('the line is closed')
  return line
}

const orders = {
  async open({ host, address, port, tls: secure, ca, ms }) {
    const plain = net.connect(
      host.startsWith('/')
        ? { path: `${host}/.s.PGSQL.${port}` } // a socket of Unix, as libpq names it
        : { host: address || host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: 5_000 },
    )
    const begin = async () => {
      await event(plain, 'connect')
      return secure ? protect(plain, host, ca) : plain
    }
    return { line: hold(await within(ms, begin(), () => plain.destroy())) }
  },

  send({ line, bytes }) {
    const { socket, ended } = held(line)
    if (ended) throw new Error(ended)
    socket.write(bytes)
    return {}
  },

  async exchange({ line: number, bytes, ms }) {
    const line = held(number)
    if (bytes?.length && !line.ended) line.socket.write(bytes)
    if (!line.pieces.length && !line.ended)
      await within(ms, new Promise((resolve) => { line.wake = resolve }), () => line.socket.destroy())
    line.wake = null
    if (line.pieces.length) return { bytes: Buffer.concat(line.pieces.splice(0)) }
    throw new Error(line.ended)
  },

  alarm({ after }) {
    clearTimeout(alarm)
    const ring = () => {
      Atomics.store(signals, 0, SIGALRM)
      alarm = setTimeout(ring, AGAIN_MS)
    }
    if (after) alarm = setTimeout(ring, after)
    else Atomics.store(signals, 0, 0)
    return {}
  },

  close({ line }) {
    lines.get(line)?.socket.destroy()
    lines.delete(line)
    return {}
  },

  http: async (order) => (await import('./http.mjs')).http(order), // when it is needed: most events need none
  resolve: async (order) => (await import('./http.mjs')).resolve(order),
}

// PostgreSQL's own start of TLS: eight bytes, one byte back, then the handshake on the same line.
// Name and chain are verified: rejectUnauthorized is Node's default, and nothing here changes it.
async function protect(plain, host, ca) {
  plain.write(SSL_REQUEST)
  const said = await event(plain, 'data')
  plain.pause()
  if (said.length !== 1 || said[0] !== YES) throw new Error('the database offers no TLS')
  const name = net.isIP(host) ? '' : host // SNI holds names only; the certificate is checked against host
  const tls = await import('node:tls')
  const safe = tls.connect({ socket: plain, host, servername: name, ca: ca || undefined, ALPNProtocols: ['postgresql'] })
  await event(safe, 'secureConnect')
  return safe
}

port.on('message', async (order) => {
  let told
  try {
    told = await orders[order.do](order)
  } catch (error) {
    told = { error: error.message || error.code || String(error) }
  }
  port.postMessage(told)
  Atomics.add(bell, 0, 1)
  Atomics.notify(bell, 0)
})
