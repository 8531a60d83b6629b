// HTTP and names for Python (netlify/http.py): each request on a new connection, without redirects,
// proxies or decoding. Name and chain of a certificate are verified before anything is sent.
//
//   http {method, url, headers, bytes, ms, limit, address, ca, connect_ms, silence_ms, body_ms, start}
//     -> {status, headers: [[name, value], ...], bytes}
//     -> {status, headers, bytes, cut, received}: not the whole body, but its first `start` bytes
//        (null: none), for it is longer than `limit` (cut: 'size') or came too slowly ('time')
//     -> {failed: 'connect' | 'certificate' | 'time' | 'broken', why}: no answer
//
// `address` is where to connect; name and certificate stay the URL's. With `limit` 0 the body is not
// waited for. `ms` is the limit of all, `connect_ms` of the connection, `silence_ms` of each wait for
// a piece, `body_ms` of the body.
//
//   resolve {host, ms} -> {addresses}, {addresses: [], late: true} where there is no answer in time
import dns from 'node:dns/promises'
import plain from 'node:http'
import secure from 'node:https'
import net from 'node:net'

const PARTS = /^(https?):\/\/([^/?#]*)([^#]*)/

export function http({
  method, url, headers, bytes, ms, limit, address, ca,
  connect_ms = ms, silence_ms = ms, body_ms = ms, start = 0,
}) {
  const [, scheme, , path] = PARTS.exec(url) // as it is written: a parsed path would lose its dots
  const { hostname, port } = new URL(url)
  const options = {
    method, headers, path: path.startsWith('/') ? path : `/${path}`, port: port || undefined,
    host: hostname.replace(/^\[|\]$/g, ''), lookup: address ? at(address) : undefined,
    ca: ca || undefined, rejectUnauthorized: true, agent: false,
  }
  return new Promise((resolve) => {
    const timers = []
    let connected = false
    let answer = null

    const end = (told) => {
      timers.forEach(clearTimeout)
      asked.destroy()
      resolve(told)
    }
    const fail = (failed, why) => end({ failed: connected ? failed : 'connect', why })
    const late = () => (answer ? answer.cut('time') : fail('time', 'no answer in time'))
    const after = (time, run) => timers.push(setTimeout(run, time))

    const asked = (scheme === 'https' ? secure : plain).request(options)
    asked.on('socket', (socket) => {
      socket.once('connect', () => { connected = true })
      socket.setTimeout(silence_ms, () => fail('time', 'silence'))
    })
    asked.on('error', (error) => {
      const refused = asked.socket?.authorizationError
      // Not the names that the certificate has instead: they are the receiver's own affair.
      const why = refused ? error.message.replace(/\.? is not in .*/s, ' is not in it') : error.code
      fail(refused ? 'certificate' : 'broken', why ?? 'error')
    })
    asked.on('response', (message) => {
      answer = body(message, limit, start, end)
      message.on('error', (error) => fail('broken', error.code ?? 'error'))
      after(body_ms, () => answer.cut('time'))
    })
    after(ms, late)
    after(connect_ms, () => connected || fail('connect', 'no connection in time'))
    asked.end(bytes ?? undefined)
  })
}

// Gathers an answer's body and ends with it, whole or cut.
function body(message, limit, start, end) {
  const head = { status: message.statusCode, headers: pairs(message.rawHeaders) }
  const pieces = []
  let received = 0
  const cut = (why) => {
    const bytes = start ? Buffer.concat(pieces).subarray(0, start) : null
    end({ ...head, bytes, cut: why, received })
  }
  if (limit === 0) end({ ...head, bytes: null })
  message.on('data', (piece) => {
    pieces.push(piece)
    received += piece.length
    if (received > limit) cut('size')
  })
  message.on('end', () => end({ ...head, bytes: Buffer.concat(pieces) }))
  return { cut }
}

function at(address) {
  const family = net.isIP(address)
  return (_host, { all }, done) => (all ? done(null, [{ address, family }]) : done(null, address, family))
}

function pairs(raw) {
  const found = []
  for (let at = 0; at < raw.length; at += 2) found.push([raw[at], raw[at + 1]])
  return found
}

export async function resolve({ host, ms }) {
  let timer
  const late = new Promise((done) => { timer = setTimeout(done, ms, null) })
  try {
    const found = await Promise.race([dns.lookup(host, { all: true }), late])
    if (!found) return { addresses: [], late: true }
    return { addresses: [...new Set(found.map((one) => one.address))] }
  } finally {
    clearTimeout(timer)
  }
}
