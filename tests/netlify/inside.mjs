// node inside.mjs FUNCTION plain|fast: runs Python from standard input within a bundle, in the folder of the
// bundle, and prints what it evaluates to as JSON.
import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [bundle, name, way] = process.argv.slice(2)
const load = (file) => import(pathToFileURL(path.resolve(bundle, file)).href)
const { openSnapshot, startPython } = await load('python.mjs')
const { openWires } = await load('line.mjs')
const python = await startPython(way === 'plain' ? {} : { snapshot: openSnapshot(`${name}.snapshot`) })
python.registerJsModule('usher_wires', openWires().forPython)
python.runPython('import usher.netlify.entry')
process.stdout.write(python.runPython(`import json\n${fs.readFileSync(0, 'utf8')}`) + '\n')
process.exit()
