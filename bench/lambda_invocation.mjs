// An invocation as Lambda's runtime for Node makes it, of a handler that streams its answer, as Netlify's do.
import { Writable } from 'node:stream'

const MS = 60_000

globalThis.awslambda = {
  streamifyResponse: (handler) => handler,
  HttpResponseStream: { from: (stream, head) => Object.assign(stream, { head }) },
}

// Gives statusCode, multiValueHeaders and the body in base64.
export async function invoke(handler, event) {
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
  await handler(event, stream, context)
  await ended
  const { statusCode, multiValueHeaders } = stream.head
  return { statusCode, multiValueHeaders, body: Buffer.concat(pieces).toString('base64') }
}
