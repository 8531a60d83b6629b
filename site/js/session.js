// Signing in at Identity. The access token lives in this module's memory only; the refresh token is
// kept for this tab (sessionStorage), so that a reload does not sign out.

const BASE = "/.netlify/identity";
const KEPT = "usher.refresh";
const AWAITED = "usher.provider";

let access = null;
let renewal = null;
let epoch = 0;

/** An error of Identity, in its own words. */
export class IdentityError extends Error {
  constructor(status, text, retryAfter = null) {
    super(text);
    this.status = status;
    this.retryAfter = retryAfter;
    this.kind = status === 0 ? "offline" : status === 429 ? "busy" : status >= 500 ? "away" : "refused";
  }
}

export const token = () => access;
export const isKept = () => sessionStorage.getItem(KEPT) !== null;

export async function signIn(email, password) {
  adopt(await ask("POST", "/token", { form: { grant_type: "password", username: email, password } }));
}

/** Get a new access token, one call at a time; it spends the refresh token. False: the session is over. */
export function renew() {
  renewal ??= spend().finally(() => {
    renewal = null;
  });
  return renewal;
}

async function spend() {
  const kept = sessionStorage.getItem(KEPT);
  if (kept === null) return false;
  const before = epoch;
  try {
    const answer = await ask("POST", "/token", {
      form: { grant_type: "refresh_token", refresh_token: kept },
    });
    if (before !== epoch) return false; // signed out while Identity was answering
    adopt(answer);
    return true;
  } catch (error) {
    if (error.kind !== "refused") throw error; // Identity is away: the refresh token may be good yet
    forget();
    return false;
  }
}

export async function signOut() {
  const held = access;
  forget();
  if (held === null) return;
  try {
    await ask("POST", "/logout", { bearer: held });
  } catch {
    // The session here is forgotten in any case.
  }
}

/** Forget both tokens. */
export function forget() {
  access = null;
  epoch += 1;
  sessionStorage.removeItem(KEPT);
}

export const signUp = (email, password, name) =>
  ask("POST", "/signup", { json: { email, password, data: name ? { full_name: name } : {} } });

export const recover = (email) => ask("POST", "/recover", { json: { email } });

export const settings = () => ask("GET", "/settings", {});

/** A link from a mail: `signup` for confirmations and invitations, `recovery`. */
export async function verify(type, mailed, password) {
  adopt(await ask("POST", "/verify", { json: { type, token: mailed, ...(password ? { password } : {}) } }));
}

export async function change(values) {
  if (access === null) await renew();
  return ask("PUT", "/user", { json: values, bearer: access });
}

/** Where a provider's login begins. The answer is taken only by the tab that asked for it. */
export function leaveFor(provider) {
  sessionStorage.setItem(AWAITED, provider);
  location.assign(`${BASE}/authorize?provider=${encodeURIComponent(provider)}`);
}

/** Tokens in the address, as a provider's login ends. */
export function arrive(fragment) {
  const awaited = sessionStorage.getItem(AWAITED);
  sessionStorage.removeItem(AWAITED);
  if (awaited === null) return false;
  adopt({ access_token: fragment.get("access_token"), refresh_token: fragment.get("refresh_token") });
  return true;
}

function adopt(answer) {
  if (typeof answer?.access_token !== "string" || answer.access_token === "") {
    throw new IdentityError(502, "Identity's answer has no access token.");
  }
  access = answer.access_token;
  epoch += 1;
  if (answer.refresh_token) sessionStorage.setItem(KEPT, answer.refresh_token);
}

async function ask(method, path, { json, form, bearer }) {
  const headers = { Accept: "application/json" };
  let body;
  if (json) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(json);
  } else if (form) {
    body = new URLSearchParams(form);
  }
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  let response;
  let document;
  try {
    response = await fetch(BASE + path, {
      method, headers, body, credentials: "omit", cache: "no-store", redirect: "error",
    });
    document = await response.json().catch(() => null);
  } catch {
    throw new IdentityError(0, "Identity cannot be reached.");
  }
  if (response.ok) return document;
  const text = document?.error_description ?? document?.msg ?? document?.error;
  throw new IdentityError(
    response.status,
    typeof text === "string" && text ? text : `Identity answered ${response.status}.`,
    Number(response.headers.get("Retry-After")) || null,
  );
}
