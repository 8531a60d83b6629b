// The bridge to Netlify Identity: Usher runs elsewhere and has no admin token, but functions here have one.
//
// A POST signed by Usher (core/identity/bridge.py) asks for one admin call of the table below. Bodies pass as
// text, unchanged. Unsigned requests are refused. A repeated request does nothing new: reading, merging the
// same metadata and deleting are done already, and Identity refuses a taken address.

import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { getIdentityConfig } from "@netlify/identity";

const SECRET_VARIABLE = "USHER_BRIDGE_SECRET";
const MIN_SECRET_BYTES = 32;
const WINDOW_SECONDS = 30;
const MAX_TOKEN_BYTES = 4096;
const MAX_BODY_BYTES = 1_048_576;
const MAX_ANSWER_BYTES = 5_500_000; // the platform carries 6 MB of a buffered answer
const MAX_MAP_BYTES = 65_536; // Usher sets larger metadata aside (core/bounds.py)
const TIMEOUT_MS = 7_000; // Usher waits eight seconds
const PASSED_ON = ["date", "link", "x-total-count"];

const UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}";
const ONE = new RegExp(`^/admin/users/${UUID}$`);

// The calls on offer, and the only members that the body or the query may have. No call makes anybody an
// administrator of Identity, or changes the address or the password of an account that exists.
const OPERATIONS = [
  { method: "GET", path: /^\/admin\/users$/, query: ["page", "per_page", "sort"] },
  { method: "GET", path: ONE },
  { method: "PUT", path: ONE, body: ["app_metadata", "user_metadata"] },
  { method: "DELETE", path: ONE },
  { method: "POST", path: /^\/admin\/users$/, body: ["email", "password", "confirm", "user_metadata"] },
  { method: "POST", path: /^\/invite$/, body: ["email", "data"] },
];

/** Answers one request: 200 with Identity's own status inside, or the reason for not asking Identity. */
export default async function bridge(request) {
  const secrets = readSecrets();
  if (secrets === null) return refuse(503, "bridge_closed");
  if (request.method !== "POST") return refuse(405, "method_not_allowed", { Allow: "POST" });
  const octets = Buffer.from(await request.arrayBuffer());
  if (octets.length > MAX_BODY_BYTES) return refuse(413, "body_too_large");
  const problem = examine(request.headers.get("x-usher-signature"), octets, secrets, Date.now() / 1000);
  if (problem !== null) {
    console.error(`usher-bridge: refused a request: ${problem}`);
    return refuse(401, "signature_invalid");
  }
  const call = readJson(octets);
  if (call === null) return refuse(400, "request_invalid");
  if (!isOffered(call)) return refuse(400, "operation_unknown");
  const identity = getIdentityConfig();
  if (!identity?.url || !identity.token) {
    console.error("usher-bridge: closed: the platform gave no admin token; is Identity enabled for this site?");
    return refuse(503, "bridge_closed");
  }
  try {
    const found = await ask(identity, call);
    if (fits(found)) return answer(200, found);
    const lighter = { ...found, body: lighten(found.body) };
    return fits(lighter) ? answer(200, lighter) : refuse(413, "answer_too_large");
  } catch (error) {
    console.error(`usher-bridge: Identity could not be asked: ${error.name}`);
    return answer(200, { status: 504, headers: {}, body: "" });
  }
}

function readSecrets() {
  const secrets = (process.env[SECRET_VARIABLE] ?? "").split(",").map((text) => Buffer.from(text.trim()));
  if (secrets.every((secret) => secret.length >= MIN_SECRET_BYTES)) return secrets;
  console.error(
    `usher-bridge: closed: ${SECRET_VARIABLE} is not set, or holds a secret of fewer than ${MIN_SECRET_BYTES} bytes.` +
      " Make one with: usher secret",
  );
  return null;
}

// The fault of a signature, for the log only; null: it is good.
function examine(token, octets, secrets, now) {
  if (!token) return "no signature";
  if (token.length > MAX_TOKEN_BYTES) return "a signature that is too long";
  const segments = token.split(".");
  if (segments.length !== 3) return "not a compact JWS"; // two headers arrive joined by a comma
  const decoded = segments.map((segment) => Buffer.from(segment, "base64url"));
  if (decoded.some((bytes, i) => bytes.length === 0 || bytes.toString("base64url") !== segments[i]))
    return "not canonical base64url";
  const [header, claims] = decoded.slice(0, 2).map(readJson);
  if (header === null || claims === null) return "not JSON objects";
  if (header.alg !== "HS256") return "another algorithm";
  if ("crit" in header || "b64" in header || "zip" in header) return "a header with extensions";
  const made = secrets.map((secret) => createHmac("sha256", secret).update(`${segments[0]}.${segments[1]}`).digest());
  if (!made.some((signature) => constantTimeEqual(signature, decoded[2]))) return "signed with another secret";
  if (claims.iss !== "usher" || claims.aud !== "usher-bridge") return "a token for something else";
  if (!Number.isInteger(claims.iat)) return "no time";
  if (Math.abs(now - claims.iat) > WINDOW_SECONDS) return `signed ${Math.round(now - claims.iat)} s ago`;
  const digest = createHash("sha256").update(octets).digest("hex");
  if (typeof claims.sha256 !== "string" || !constantTimeEqual(Buffer.from(digest), Buffer.from(claims.sha256)))
    return "another body than the signed one";
  return null;
}

const constantTimeEqual = (one, other) => one.length === other.length && timingSafeEqual(one, other);

function readJson(octets) {
  try {
    const value = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(octets));
    return typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

function isOffered({ method, path, body }) {
  if (typeof path !== "string") return false;
  const [bare, ...query] = path.split("?");
  const names = [...new URLSearchParams(query.join("?")).keys()];
  return OPERATIONS.some(
    (known) =>
      known.method === method &&
      known.path.test(bare) &&
      names.every((name) => known.query?.includes(name)) &&
      (known.body ? hasOnly(known.body, body) : body === null),
  );
}

function hasOnly(names, body) {
  const document = typeof body === "string" ? readJson(Buffer.from(body)) : null;
  return document !== null && Object.keys(document).every((name) => names.includes(name));
}

async function ask({ url, token }, { method, path, body }) {
  const response = await fetch(url + path, {
    method,
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    body,
    redirect: "error",
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  const headers = Object.fromEntries([...response.headers].filter(([name]) => PASSED_ON.includes(name)));
  return { status: response.status, headers, body: await response.text() };
}

const fits = (document) => Buffer.byteLength(JSON.stringify(document)) <= MAX_ANSWER_BYTES;

// Identity's answer without the metadata that Usher would set aside; each account names what was left out.
function lighten(text) {
  const document = readJson(Buffer.from(text));
  if (document === null) return text;
  for (const user of Array.isArray(document.users) ? document.users : [document]) {
    const isLarge = (name) => goBytes(user?.[name] ?? null) > MAX_MAP_BYTES;
    const left = ["app_metadata", "user_metadata"].filter(isLarge);
    if (left.length === 0) continue;
    const { provider, roles } = user.app_metadata ?? {};
    if (left.includes("app_metadata")) user.app_metadata = { provider, roles };
    if (left.includes("user_metadata")) user.user_metadata = {};
    user.usher_left_out = left;
  }
  return JSON.stringify(document);
}

// The size of a value as Identity writes it: Go escapes what means something in HTML.
const goBytes = (value) => Buffer.byteLength(JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, "\\u0000"));

const refuse = (status, code, headers = {}) =>
  answer(status, { status, headers: {}, body: JSON.stringify({ code }) }, headers);

const answer = (status, document, headers = {}) =>
  Response.json(document, {
    status,
    headers: { ...headers, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff" },
  });
