// node snapshot.mjs NAME EXTENSION…: what a function needs, as it lies in memory once it is imported.
import { saveSnapshot, startPython } from './python.mjs'

const [name, ...extensions] = process.argv.slice(2)
const python = await startPython({ keeps: extensions })
python.pyimport('usher.netlify.snapshot').prepare(name)
saveSnapshot(python, `${name}.snapshot`, extensions)
