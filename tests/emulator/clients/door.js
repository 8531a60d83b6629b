// The page of docs/door.md: its form, and just so much of a browser as @netlify/identity touches.

import { finish, identityPackage, lastToken, site, tell } from "./steps.js";

const location = new URL(site);
const nothing = { getItem: () => null, setItem() {}, removeItem() {} };
globalThis.localStorage = nothing;
globalThis.document = { cookie: "" };
globalThis.history = { replaceState() {} };
globalThis.window = { location, localStorage, document, history, addEventListener() {} };
const { fetch } = globalThis;
globalThis.fetch = (address, options) => fetch(new URL(address, site), options); // as a page does
globalThis.FormData = class extends Map {
  constructor(form) {
    super(Object.entries(form.values));
  }
};

let submit;
const said = [];
globalThis.form = { addEventListener: (_event, listener) => (submit = listener) };
globalThis.say = (text) => said.push(text);
await import(process.argv[6]);

const { whyRefused } = await import(process.argv[5]);
async function signUp(email) {
  globalThis.form.values = { email, password: "a long password" };
  await submit({ preventDefault() {} });
  return said.at(-1);
}

// A look-up on a slow machine may come too late, and then another answer does.
for (let tries = 0; tries < 8; tries += 1) {
  if (!(await signUp("promo@mailinator.com")).startsWith("This site gives no reason")) break;
}
tell("refused", said.at(-1));
tell("taken", await signUp("ada@example.com"));
tell("mailed", Boolean(await lastToken("confirmation")));
tell("other", await whyRefused(new Error("Password is too short"), "ada@example.com"));
tell("package", identityPackage);
globalThis.fetch = () => Promise.reject(new TypeError("no network"));
tell("offline", await whyRefused(new Error("Failed to handle signup webhook"), "a@b.c"));
finish();
