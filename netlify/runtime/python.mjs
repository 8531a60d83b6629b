// Python as it lies in this folder: from a snapshot of its memory, or started from its archives.
import crypto from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import v8 from 'node:v8'

const HERE = import.meta.dirname
const LOCK = JSON.stringify({
  info: { abi_version: '2026_0', arch: 'wasm32', platform: 'emscripten', python: '3.14.2' },
  packages: {},
})
const NEEDED = ['pyodide.mjs', 'pyodide.asm.mjs', 'pyodide.asm.wasm', 'stdlib.zip', 'app.zip']
const LEAN = 'pyodide.lean.mjs' // see lean.py; a snapshot fits the script that it was made by
const PAGE = 65_536
const STDLIB = '/lib/python314.zip'

// A cold start pays for what V8 does ahead. Functions of WebAssembly are checked when they are first
// called, and none is compiled a second time to run faster later: events are as fast without. Young
// objects get their room in one step, not by a collection for each doubling.
const FLAGS = [
  '--wasm-lazy-validation', '--no-wasm-tier-up', '--no-wasm-dynamic-tiering', '--semi-space-growth-factor=8',
]
FLAGS.forEach((flag) => v8.setFlagsFromString(flag))

const read = (name) => fs.readFileSync(path.join(HERE, name))

// Starts Python with Usher on its path. `snapshot`: see `openSnapshot`; `keeps`: one is to be made, with
// these extensions in it.
export async function startPython({ snapshot, keeps } = {}) {
  for (const name of NEEDED) {
    if (sizeOf(name) < built()[name].bytes) throw new Error(`${name} is cut off`) // Pyodide would wait for ever
  }
  const { loadPyodide } = await import('./pyodide.mjs')
  const script = (keeps || snapshot) && fs.existsSync(path.join(HERE, LEAN)) ? LEAN : 'pyodide.asm.mjs'
  const { default: create } = await import(`./${script}`)
  const python = await loadPyodide({
    indexURL: HERE,
    stdLibURL: path.join(HERE, snapshot ? 'package.json' : 'stdlib.zip'), // see below
    lockFileContents: LOCK,
    env: { HOME: '/', PYTHONDONTWRITEBYTECODE: '1', PYDANTIC_DISABLE_PLUGINS: '1', ...(keeps && { PYTHONHASHSEED: seed() }) },
    stdout: (line) => process.stdout.write(line + '\n'),
    stderr: (line) => process.stderr.write(line + '\n'),
    ...(keeps && { _makeSnapshot: true }),
    ...(snapshot && { _loadSnapshot: snapshot.head }),
    createPyodideModule: async (settings) => {
      settings.preRun.push(({ FS }) => mount(FS))
      if (keeps || snapshot) settings.preRun.push((module) => preload(module, keeps ?? snapshot.extensions))
      const refused = refusal(settings)
      const module = await Promise.race([create(settings), refused])
      if (snapshot) restore(module, snapshot)
      return module
    },
  })
  if (!snapshot) {
    python.runPython("import sys; sys.path[:0] = ['/usher/native', '/usher/app.zip']; sys.path.append('/usher/site')")
  }
  // A site without a policy has no files there.
  python.FS.chdir(fs.existsSync(path.join(HERE, 'site')) ? '/usher/site' : '/usher')
  return python
}

// Fails where the script cannot use its module: Pyodide would only say so, and wait for ever.
function refusal(settings) {
  const { instantiateWasm } = settings
  return new Promise((_, reject) => {
    settings.instantiateWasm = (imports, receive) => instantiateWasm(imports, (instance, module) => {
      try {
        receive(instance, module)
      } catch (error) {
        reject(error)
      }
    })
  })
}

const seed = () => String(crypto.randomBytes(4).readUInt32LE())

// Shows Python this folder. What a snapshot has in memory is then read by nobody.
function mount(FS) {
  FS.mkdirTree('/usher')
  FS.mount(FS.filesystems.NODEFS, { root: HERE }, '/usher')
}

// --- snapshots ---------------------------------------------------------------------------------
// Pyodide can save and restore its memory, by interfaces that it calls private, and not yet together
// with extensions. Extensions are therefore loaded before Python starts, in a fixed order: they then lie
// at the same addresses in every process. Whatever fails here, Python is started from its archives.

function preload(module, extensions) {
  for (const name of extensions) {
    const file = '/usher/' + name
    const library = module.newDSO(file, undefined, 'loading')
    library.refcount = Infinity
    library.global = false
    library.exports = module.loadWebAssemblyModule(new Uint8Array(read(name)), {}, file, {}, undefined)
  }
}

// Saves the memory of a Python that was started with `keeps`.
export function saveSnapshot(python, name, extensions) {
  const whole = python.makeMemorySnapshot()
  const start = new Uint32Array(whole.buffer, whole.byteOffset, 2)[1]
  const memory = whole.subarray(start)
  const runs = filled(memory)
  const { loadedLibsByHandle } = python._module.LDSO
  const about = JSON.stringify({
    of: stamp(), extensions, head: start, memory: needed(python._module, runs), runs,
    handles: Object.entries(loadedLibsByHandle).filter(([key]) => key !== '0').map(([key, library]) => [Number(key), library.name]),
  })
  const size = Buffer.alloc(4)
  size.writeUInt32LE(about.length)
  const parts = runs.map(([from, length]) => memory.subarray(from, from + length))
  fs.writeFileSync(path.join(HERE, name), Buffer.concat([size, Buffer.from(about), whole.subarray(0, start), ...parts]))
}

// The memory that is in use, which is less than there is: V8 would collect garbage for the rest of it.
function needed({ HEAPU32, _emscripten_get_sbrk_ptr: at }, runs) {
  const end = HEAPU32[at() >>> 2]
  return Math.max(Math.ceil(end / PAGE) * PAGE, runs.at(-1)[0] + runs.at(-1)[1])
}

// Where memory holds anything: [from, length] of each run of pages.
function filled(memory) {
  const runs = []
  for (let from = 0; from < memory.length; from += PAGE) {
    if (!memory.subarray(from, from + PAGE).some((octet) => octet)) continue
    const last = runs.at(-1)
    if (last && last[0] + last[1] === from) last[1] += PAGE
    else runs.push([from, PAGE])
  }
  return runs
}

// Opens a snapshot for `startPython`; null where there is none, an error where it fits nothing here.
export function openSnapshot(name) {
  let file
  try {
    file = fs.openSync(path.join(HERE, name))
  } catch (error) {
    if (error.code === 'ENOENT') return null
    throw error
  }
  const size = Buffer.alloc(4)
  fs.readSync(file, size)
  const text = Buffer.alloc(size.readUInt32LE())
  fs.readSync(file, text)
  const about = JSON.parse(text)
  if (about.of !== stamp()) throw new Error(`${name} was made of other files`)
  const head = new Uint8Array(about.head)
  fs.readSync(file, head)
  return { ...about, file, head, start: 4 + text.length + head.length }
}

// What a snapshot was made of. The digests are the build's; here only the sizes are compared with them.
function stamp() {
  const digests = built()
  for (const [name, { bytes }] of Object.entries(digests)) {
    if (sizeOf(name) !== bytes) throw new Error(`${name} is not as it was built`)
  }
  return crypto.createHash('sha256').update(JSON.stringify(digests)).digest('hex')
}

const built = () => JSON.parse(read('build.json'))
const sizeOf = (name) => fs.statSync(path.join(HERE, name)).size

// Fills the memory of a module that was just made; Pyodide itself gets no more than the head to restore.
function restore(module, { file, start, memory, runs, handles }) {
  const missing = memory - module.HEAPU8.length
  if (missing > 0) module.growMemory(memory)
  let at = start
  for (const [from, length] of runs) {
    if (fs.readSync(file, module.HEAPU8, from, length, at) !== length) throw new Error('the snapshot is cut off')
    at += length
  }
  fs.closeSync(file)
  module.FS.unlink(STDLIB)
  module.FS.symlink('/usher/stdlib.zip', STDLIB) // instead of eight megabytes that were copied in vain
  const { loadedLibsByHandle, loadedLibsByName } = module.LDSO
  for (const [handle, name] of handles) loadedLibsByHandle[handle] = loadedLibsByName[name]
}
