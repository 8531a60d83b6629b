// The API of Usher. Only the door is asked without an access token, and no cookie is ever sent.

import * as session from "./session.js";

/** A refusal or a failure; `kind` decides how the console shows it. `sent`: it may have been done. */
export class ApiError extends Error {
  constructor(kind, { status = 0, code = "", detail = "", problems = [], retryAfter = null, sent = false } = {}) {
    super(detail || code || kind);
    Object.assign(this, { kind, status, code, detail, problems, retryAfter, sent });
  }
}

let onOver = () => {};
let onForbidden = () => {};

/** Set what happens when the session is over, and when the caller is no administrator. */
export function whenRefused(over, forbidden) {
  onOver = over;
  onForbidden = forbidden;
}

/** One call; answers `{data, etag}`. An expired token is renewed once, silently. */
export async function call(method, path, { query, body, etag, signal } = {}) {
  let response = await once(method, path, { query, body, etag, signal });
  if (response.status === 401) {
    if (!(await renewed())) {
      onOver();
      throw new ApiError("over", { status: 401, code: "unauthenticated" });
    }
    response = await once(method, path, { query, body, etag, signal });
    if (response.status === 401) {
      session.forget();
      onOver();
      throw new ApiError("over", { status: 401, code: "unauthenticated" });
    }
  }
  if (response.status === 204) return { data: null, etag: null };
  const document = await response.json().catch(() => null);
  if (response.ok && document !== null) return { data: document, etag: response.headers.get("ETag") };
  const error = refusal(response, document);
  if (["forbidden", "account_suspended", "account_deleted"].includes(error.code)) onForbidden(error);
  throw error;
}

export const get = (path, query, signal) => call("GET", path, { query, signal });

/** Why the policy refused an address; null where this site does not say (docs/door.md). */
export async function whyRefused(email) {
  try {
    const response = await fetch("/api/door", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ email }),
      credentials: "omit", cache: "no-store", redirect: "error",
    });
    return response.ok ? (await response.json()).message : null;
  } catch {
    return null;
  }
}

async function renewed() {
  try {
    return await session.renew();
  } catch (error) {
    throw new ApiError(error.kind, { status: error.status, detail: error.message, retryAfter: error.retryAfter });
  }
}

async function once(method, path, { query, body, etag, signal }) {
  const token = session.token();
  if (token === null) return new Response(null, { status: 401 });
  const headers = { Accept: "application/json", Authorization: `Bearer ${token}` };
  if (etag) headers["If-Match"] = etag;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const given = Object.entries(query ?? {}).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const search = given.length ? `?${new URLSearchParams(given)}` : "";
  try {
    return await fetch(`/api${path}${search}`, {
      method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "omit", cache: "no-store", redirect: "error",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("offline", { sent: method !== "GET" && navigator.onLine });
  }
}

function refusal(response, document) {
  const { status } = response;
  const kinds = { 403: "forbidden", 404: "missing", 409: "conflict", 412: "changed", 429: "busy", 503: "away" };
  return new ApiError(kinds[status] ?? (status >= 500 ? "failed" : "refused"), {
    status,
    code: typeof document?.code === "string" ? document.code : "",
    detail: document?.detail ?? document?.title ?? "",
    problems: Array.isArray(document?.errors) ? document.errors : [],
    retryAfter: Number(response.headers.get("Retry-After")) || null,
  });
}

const TRIES = 8;

/**
 * Pages of a list until there is something to show, the end, or enough was looked through: a filtered
 * page may be empty and not be the last. `name` is the list, where an answer has several.
 */
export async function page(path, query, cursor, signal, name = "") {
  const items = [];
  let next = cursor;
  let first = null;
  for (let n = 0; n < TRIES; n += 1) {
    const { data } = await get(path, { ...query, cursor: next }, signal);
    first ??= data;
    items.push(...(data[name] ?? Object.values(data).find(Array.isArray)));
    next = data.next_cursor;
    if (next === null || items.length >= 10) break;
  }
  return { items, next, first };
}
