// Writes site/_redirects, with which Netlify passes requests on to Usher. Netlify's build runs this
// (deploy/netlify-proxy.toml), since redirects in netlify.toml cannot name a variable.

import { writeFileSync } from "node:fs";

const FILE = new URL("../site/_redirects", import.meta.url);
const BACKEND = "BACKEND_URL";
const SECRET = "USHER_PROXY_SECRET";
const MIN_SECRET_BYTES = 32;

const environment = process.env;
const onNetlify = environment.NETLIFY === "true";
const backend = (environment[BACKEND] ?? "").trim().replace(/\/$/, "");

if (backend === "" && !onNetlify) {
  console.log(`${BACKEND} is not set: no redirects written; nothing here needs them outside Netlify`);
} else {
  const problems = [...ofBackend(), ...ofSecret()];
  for (const problem of problems) console.error(`netlify/redirects.mjs: ${problem}`);
  if (problems.length > 0) process.exit(1);
  writeFileSync(FILE, redirects());
  console.log(`site/_redirects: /api and /hooks/identity lead to ${backend}`);
}

function* ofBackend() {
  const url = URL.canParse(backend) ? new URL(backend) : null;
  const local = url?.protocol === "http:" && url.hostname === "127.0.0.1" && !onNetlify;
  if (backend === "") {
    yield `${BACKEND} is not set. It is the address of Usher's host, such as https://usher.example.com`;
  } else if (url?.origin !== backend || !(url.protocol === "https:" || local)) {
    yield `${BACKEND} must be https:// and a host, without a path, in lower case`;
  } else if (backend === environment.URL) {
    yield `${BACKEND} is this site itself; it must be the host that Usher runs on`;
  }
}

// Netlify passes a request on unsigned where it lacks the secret, and Usher would refuse it.
function* ofSecret() {
  if (Buffer.byteLength(environment[SECRET] ?? "") < MIN_SECRET_BYTES) {
    yield `${SECRET} is not set, or has fewer than ${MIN_SECRET_BYTES} bytes. Make one with: usher secret`;
  }
}

// Forced (the exclamation mark): no file of the site can stand in the way.
function redirects() {
  return [
    `/api/* ${backend}/api/:splat 200! signed=${SECRET}`,
    `/hooks/identity ${backend}/.netlify/functions/identity 200! signed=${SECRET}`,
    "",
  ].join("\n");
}
