// Netlify's own zip step: `node netlify_zip.mjs PACKAGE SITE FUNCTIONS TARGET`.
// PACKAGE is the folder of @netlify/zip-it-and-ship-it. Each function of FUNCTIONS, a folder in SITE, becomes a
// zip in TARGET; what they say of themselves (`includedFiles`) holds. Names, entry files and versions are printed.
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [step, site, functions, target] = process.argv.slice(2)
const { zipFunctions } = await import(pathToFileURL(path.join(step, 'dist', 'main.js')))
const config = { '*': { nodeBundler: 'nft', includedFilesBasePath: site } }
const zipped = await zipFunctions(functions, target, { basePath: site, config, archiveFormat: 'zip' })
console.log(JSON.stringify(zipped.map(({ name, path, entryFilename, bootstrapVersion }) => ({
  name, path, entry: entryFilename, bootstrap: bootstrapVersion,
}))))
