// node compile.mjs PYODIDE FOLDER: archives of sources become archives of byte code, by the Python that runs it.
import fs from 'node:fs'
import path from 'node:path'

const [pyodide, folder] = process.argv.slice(2)
const { loadPyodide } = await import(path.join(pyodide, 'pyodide.mjs'))
const python = await loadPyodide()
python.mountNodeFS('/pyodide', pyodide)
python.mountNodeFS('/folder', folder)
python.runPython(fs.readFileSync(path.join(import.meta.dirname, 'compile.py'), 'utf8'))
