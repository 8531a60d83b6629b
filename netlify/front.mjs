// What `usher netlify dev` puts in front of Netlify's command line, which it also starts. Identity, its
// mails and the console are answered by the command itself (`local`), everything else is the site's.
//   node front.mjs '{"site": 8888, "console": 8889, "cli": …, "local": …, "command": […]}'
// All of them end together: with the command line, and with whoever holds our standard input.
import { spawn } from 'node:child_process'
import http from 'node:http'
import net from 'node:net'

const HOST = '127.0.0.1'
const OURS = /^(localhost|[\w.-]+\.localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i
const IDENTITY = /^\/(\.netlify\/identity|_dev)(?![^/?])/
const FUNCTIONS = /^\/(api|\.netlify\/functions)(?![^/?])/
const { site, console: console_, cli, local, command } = JSON.parse(process.argv[2])

// Hop by hop (RFC 9110, 7.6.1); Node makes its own.
const passed = ({ connection: _, 'keep-alive': __, 'transfer-encoding': ___, ...headers }) => headers

function forward(port, request, answer) {
  const { method, url, headers } = request
  const length = headers['transfer-encoding'] ? { 'transfer-encoding': 'chunked' } : {}
  const asked = http.request({ host: HOST, port, method, path: url, headers: { ...passed(headers), ...length } })
  asked.on('response', (found) => {
    answer.writeHead(found.statusCode, passed(found.headers))
    found.on('error', () => answer.destroy())
    found.pipe(answer)
  })
  asked.on('error', () => {
    if (answer.headersSent) answer.destroy()
    else answer.writeHead(503, { 'content-type': 'text/plain', 'retry-after': '1' }).end('Not there yet, or no more.\n')
  })
  answer.on('close', () => asked.destroy())
  request.pipe(asked)
}

function join(port, request, socket, head) {
  const line = net.connect(port, HOST, () => {
    const pairs = request.rawHeaders.map((text, at) => (at % 2 ? `${text}\r\n` : `${text}: `))
    line.write(`${request.method} ${request.url} HTTP/1.1\r\n${pairs.join('')}\r\n`)
    line.write(head)
    line.pipe(socket).pipe(line)
  })
  for (const [one, other] of [[line, socket], [socket, line]]) one.on('error', () => other.destroy()).on('close', () => other.destroy())
}

function listen(port, target) {
  const server = http.createServer({ requestTimeout: 0 }, (request, answer) => {
    // Another name may be one that a stranger's site makes point here.
    if (OURS.test(request.headers.host ?? '')) forward(target(request.url), request, answer)
    else answer.writeHead(403, { 'content-type': 'text/plain' }).end('Open this by localhost or 127.0.0.1.\n')
  })
  server.on('upgrade', (request, socket, head) => {
    if (OURS.test(request.headers.host ?? '')) join(target(request.url), request, socket, head)
    else socket.destroy()
  })
  server.listen(port, HOST)
}

listen(site, (url) => (IDENTITY.test(url) ? local : cli))
listen(console_, (url) => (FUNCTIONS.test(url) ? cli : local))

const program = spawn(command[0], command.slice(1), { stdio: ['ignore', 'inherit', 'inherit'] })
program.on('error', (error) => {
  process.stderr.write(`${command[0]} cannot be run: ${error.message}\n`)
  process.exit(1)
})
program.on('exit', (code) => process.exit(code ?? 1))
process.on('SIGTERM', () => program.kill()) // and its end is ours
process.stdin.on('end', () => process.kill(0, 'SIGKILL')).resume()
