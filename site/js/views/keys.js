// Keys of machines: made, shown once, listed, revoked.

import { call } from "../api.js";
import { fill, h } from "../dom.js";
import { choices, ending, why } from "../fields.js";
import { grow } from "../list.js";
import { showOnce } from "../once.js";
import { ask, button, chip, empty, field, pageHead, subpages, time, toast } from "../parts.js";
import * as words from "../words.js";
import { by } from "./audit.js";
import { PAGES } from "./outbox.js";

const TONES = { open: "good", expired: "mute", revoked: "bad" };
const DAYS = 90; // as `usher keys create` has it

export function show(place, { signal, me, title }) {
  title("Keys");
  const view = { signal, me, made: h("div", { class: "made" }), box: h("div"), more: h("div", { class: "more" }) };
  fill(place, pageHead("Connect", { lead: "Keys for programs that ask the API in their own name.",
    actions: button("Make a key", { kind: "primary", symbol: "plus", onClick: () => make(view) }) }),
  subpages("Connect", PAGES, "#/connect/keys"), view.made, view.box, view.more);
  list(view);
}

const list = (view) => grow({
  path: "/keys", signal: view.signal, box: view.box, more: view.more, list: h("ul", { class: "items card" }),
  item: (key) => {
    const item = h("li", { class: "item", "data-key": key.name });
    draw(view, item, key);
    return item;
  },
  none: empty("No keys yet", "A script, a server of yours or a feed needs one: it is no person, and cannot sign in."),
});

/** Show a key as it is now. */
function draw(view, item, key) {
  fill(item,
    h("div", { class: "item-head" }, h("h2", { tabindex: "-1" }, key.name), chip(words.KEY_STATES[key.state] ?? key.state, TONES[key.state], { dot: true }),
      key.state === "open" && button("Revoke", { kind: "quiet small", "aria-label": `Revoke ${key.name}`, onClick: () => revoke(view, item, key) })),
    h("p", "May ", words.listed(key.scopes.map((scope) => words.SCOPES[scope]?.[0].toLowerCase() ?? scope)), "."),
    h("p", { class: "faint" }, "Made ", time(key.created_at), " by ", by(key.created_by, view.me, view.signal), " · last used ", time(key.used_at),
      key.state === "revoked" ? [" · revoked ", time(key.revoked_at)]
        : key.expires_at ? [key.state === "expired" ? " · ended " : " · ends ", time(key.expires_at, { absolute: true })] : " · does not end by itself"));
}

async function make(view) {
  const name = field({ label: "Name", name: "name", required: true, maxlength: 50, pattern: "[a-z0-9][a-z0-9._\\-]*", title: "Small letters and digits, and . _ - after the first", autocomplete: "off", spellcheck: "false", autocapitalize: "none", placeholder: "crm", hint: "Small letters and digits, and . _ - after the first. The audit names it so, and no other key can ever have the same." });
  const scopes = choices({ label: "It may", name: "scopes", options: Object.entries(words.SCOPES).map(([scope, said]) => [scope, ...said]) });
  const end = ending({ label: "It ends", days: DAYS, hint: "Empty: it does not end by itself." });
  let made = null;
  const done = await ask({
    title: "Make a key",
    fields: [name, scopes, end, end.quick],
    action: "Make it",
    check: () => [scopes, end].map((each) => each.isRight()).every(Boolean),
    run: async (values) => {
      made = (await call("POST", "/keys", { body: { name: values.name.trim(), scopes: scopes.values(), expires_at: end.moment() } })).data;
    },
  });
  if (!done || view.signal.aborted) return;
  list(view);
  showOnce(view.made, {
    title: `The key ${made.name}`, label: "Key", thing: "the key", text: made.key,
    warning: "The program sends it in the header Authorization, after the word Bearer. Copy it before you leave this page: nobody can read it here again.",
  });
}

async function revoke(view, item, key) {
  let revoked = null;
  const done = await ask({
    title: `Revoke ${key.name}?`,
    kind: "danger",
    content: h("ul", { class: "effects" }, h("li", "It opens nothing from the next request on."), h("li", "No other key can have its name."), h("li", h("strong", "This cannot be undone."))),
    fields: [why("")],
    action: "Revoke",
    run: async (values) => {
      revoked = (await call("DELETE", `/keys/${encodeURIComponent(key.name)}`, { query: { reason: values.reason } })).data;
    },
  });
  if (!done || view.signal.aborted) return;
  toast(`${key.name} is revoked.`);
  draw(view, item, revoked);
  item.querySelector("h2").focus();
}
