// Python as it lies in this folder: started by the build, which fills the folder, and by the functions.
import fs from 'node:fs'
import path from 'node:path'
import v8 from 'node:v8'

const HERE = import.meta.dirname
const LOCK = JSON.stringify({
  info: { abi_version: '2026_0', arch: 'wasm32', platform: 'emscripten', python: '3.14.2' },
  packages: {},
})

// Functions of WebAssembly are checked when they are first called, not all of them before the start.
v8.setFlagsFromString('--wasm-lazy-validation')

const read = (name) => fs.readFileSync(path.join(HERE, name))

// Every file below a folder, by its path from there.
const below = (name) =>
  fs.existsSync(path.join(HERE, name))
    ? fs.readdirSync(path.join(HERE, name), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => path.relative(HERE, path.join(entry.parentPath, entry.name)))
        .sort()
    : []

// Starts Python with Usher on its path.
export async function startPython() {
  const { loadPyodide } = await import('./pyodide.mjs')
  const python = await loadPyodide({
    indexURL: HERE,
    stdLibURL: path.join(HERE, 'stdlib.zip'),
    lockFileContents: LOCK,
    env: { HOME: '/', PYTHONDONTWRITEBYTECODE: '1' },
    stdout: (line) => process.stdout.write(line + '\n'),
    stderr: (line) => process.stderr.write(line + '\n'),
  })
  mount(python.FS)
  python.runPython("import sys; sys.path[:0] = ['/usher/native', '/usher/app.zip']; sys.path.append('/usher/site')")
  return python
}

// Puts the files of this folder where Python finds them. The site's own paths are relative to /usher/site.
function mount(FS) {
  FS.mkdirTree('/usher/site')
  for (const name of ['app.zip', ...below('native'), ...below('site')]) {
    FS.mkdirTree(path.posix.dirname('/usher/' + name))
    FS.writeFile('/usher/' + name, read(name), { canOwn: true })
  }
  FS.chdir('/usher/site')
}
