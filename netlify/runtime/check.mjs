// node check.mjs ASKED: the site's own code, loaded once as the functions will; says what is wrong with it.
import { startPython } from './python.mjs'

const python = await startPython()
const problem = python.pyimport('usher.netlify.site_code').problem(process.argv[2])
if (problem) {
  process.stderr.write(problem + '\n')
  process.exitCode = 1
}
