// @netlify/identity in a page: just so much of a browser as it touches.

import { externalLogin, finish, identity, identityPackage, lastToken, site, tell } from "./steps.js";

console.warn = () => {};
const stored = new Map();
const location = new URL(site);
globalThis.localStorage = {
  getItem: (key) => stored.get(key) ?? null,
  setItem: (key, value) => stored.set(key, value),
  removeItem: (key) => stored.delete(key),
};
const cookies = new Map();
globalThis.document = {
  get cookie() {
    return [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");
  },
  set cookie(text) {
    const [name, value] = text.split(";")[0].split("=");
    if (value) cookies.set(name, value);
    else cookies.delete(name);
  },
};
globalThis.history = { replaceState: () => (location.hash = "") };
globalThis.window = { location, localStorage, document, history, addEventListener: () => {} };

const client = await import(identityPackage);
const events = [];
client.onAuthChange((event, user) => events.push([event, user?.email ?? null]));

tell("settings", (await client.getSettings()).providers);
const made = await client.signup("ada@example.com", "secret", { full_name: "Ada" });
tell("signup", [made.email, made.confirmedAt ?? null, made.name]);
location.hash = `confirmation_token=${await lastToken("confirmation")}`;
const confirmed = await client.handleAuthCallback();
tell("confirmed", [confirmed.type, confirmed.user.email, location.hash]);
tell("cookies", [...cookies.keys()].sort());

await client.login("ada@example.com", "secret");
tell("user", [(await client.getUser()).email, await client.isAuthenticated()]);
await client.updateUser({ data: { full_name: "Ada Lovelace" } });
tell("name", (await client.getUser()).name);

await client.updateUser({ email: "lovelace@example.com" });
location.hash = `email_change_token=${await lastToken("email_change")}`;
const moved = await client.handleAuthCallback();
tell("moved", [moved.type, moved.user.email, moved.user.pendingEmail ?? null]);
await client.logout();
tell("logged out", [await client.isAuthenticated(), [...cookies.keys()]]);

await client.requestPasswordRecovery("lovelace@example.com");
location.hash = `recovery_token=${await lastToken("recovery")}`;
tell("recovery", (await client.handleAuthCallback()).type);
await client.updateUser({ password: "another" });
await client.login("lovelace@example.com", "another");
await client.logout();

location.hash = await externalLogin(`${identity}/authorize?provider=google`, "grace@example.com");
const grace = await client.handleAuthCallback();
tell("external", [grace.type, grace.user.email, grace.user.provider, grace.user.name]);
tell("events", events.map(([event]) => event));
finish();
