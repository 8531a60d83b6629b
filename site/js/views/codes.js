// Invitation codes: made, listed, revoked, and who used each.

import { call } from "../api.js";
import { fill, h } from "../dom.js";
import { ending, roleLines, why } from "../fields.js";
import { grow } from "../list.js";
import { person } from "../names.js";
import { showOnce } from "../once.js";
import { ask, button, chip, download, empty, field, notice, pageHead, roleChips, subpages, time, toast } from "../parts.js";
import * as words from "../words.js";
import { by } from "./audit.js";
import { PAGES } from "./policy.js";

const TONES = { open: "good", used_up: "mute", ended: "mute", revoked: "bad" };

export function show(place, { signal, me, title }) {
  title("Invitation codes");
  const view = { signal, me, made: h("div", { class: "made" }), unread: h("div"), box: h("div"), more: h("div", { class: "more" }) };
  fill(place, pageHead("Policy", { lead: "Codes that let people in whom the policy would refuse, or let wait.",
    actions: button("Make codes", { kind: "primary", symbol: "plus", onClick: () => make(view) }) }),
  subpages("Policy", PAGES, "#/policy/codes"), view.unread, view.made, view.box, view.more);
  list(view);
}

function list(view) {
  const { signal, box, more } = view;
  return grow({
    path: "/codes", signal, box, more, list: h("ul", { class: "items card" }),
    item: (code) => {
      const item = h("li", { class: "item", "data-code": code.id });
      draw(view, item, code);
      return item;
    },
    none: empty("No codes yet", "Make some, and hand them out."),
    begun: (first) => fill(view.unread, first.invitation_code === null && unread()),
  });
}

/** As `usher codes make` says it. */
const unread = () => notice("warn", "No policy looks at codes yet",
  h("p", "Name the field that holds them in policy.toml: ", h("code", "[admission] invitation_code = \"code\""), "."));

/** Show a code as it is now. */
function draw(view, item, code) {
  const name = code.label || `Code ${code.id.slice(0, 8)}`;
  const users = h("div");
  const uses = h("details", { class: "uses" }, h("summary", `Who used it: ${code.used}`), users);
  uses.addEventListener("toggle", () => uses.open && !users.firstChild && listUses(view, users, code));
  fill(item,
    h("div", { class: "item-head" }, h("h2", name), code.label && h("span", { class: "mono faint" }, code.id.slice(0, 8)), chip(words.CODE_STATES[code.state] ?? code.state, TONES[code.state], { dot: true }),
      h("span", { class: "item-count" }, h("strong", `${words.number(code.used)} of ${words.number(code.allowed)}`), ` used${code.state === "open" ? `, ${words.number(code.allowed - code.used)} left` : ""}`),
      code.state === "open" && button("Revoke", { kind: "quiet small", "aria-label": `Revoke ${name}`, onClick: () => revoke(view, item, code, name) })),
    h("p", { class: "faint" },
      "Made ", time(code.created_at), " by ", by(code.created_by, view.me, view.signal),
      code.revoked_at ? [" · revoked ", time(code.revoked_at)] : code.ends_at && [" · ", code.state === "ended" ? "ended " : "ends ", time(code.ends_at)]),
    code.roles.length > 0 && h("p", "Gives ", roleChips(code.roles, 20), code.roles_until && [" until ", time(code.roles_until, { absolute: true })]),
    code.used > 0 && uses);
}

function listUses(view, place, code) {
  const [box, more] = [h("div"), h("div", { class: "more" })];
  fill(place, box, more);
  return grow({
    path: `/codes/${code.id}/uses`, signal: view.signal, box, more, list: h("ul", { class: "uses-list" }), bones: 1,
    item: (each) => h("li", person(each.user_id, view.signal), " ", time(each.used_at)),
  });
}

async function make(view) {
  const count = field({ label: "How many", name: "count", type: "number", min: 1, max: 500, value: "1", required: true });
  const uses = field({ label: "Uses of each", name: "uses", type: "number", min: 1, value: "1", required: true, hint: "So many accounts." });
  const label = field({ label: "Label", name: "label", maxlength: 200, autocomplete: "off", placeholder: "Autumn course", hint: "Your own words, to tell codes apart." });
  const end = ending({ label: "The codes end", name: "ends", hint: "Nobody can use them from then on. Empty: no end." });
  const roles = await roleLines({ hint: "One a line. Given to each account that uses a code.", signal: view.signal });
  const rolesEnd = ending({ label: "The roles end", name: "roles_end", hint: "Empty: they do not end by themselves." });
  const own = field({ label: "A code of your own", name: "code", autocomplete: "off", spellcheck: "false", autocapitalize: "none", hint: "12 to 64 letters and digits that nobody guesses. Empty: Usher makes them." });
  if (view.signal.aborted) return;
  let made = [];
  const done = await ask({
    title: "Make invitation codes",
    fields: [label, h("div", { class: "pair" }, count, uses), end, end.quick, roles, roles.offered, rolesEnd, rolesEnd.quick, own],
    action: "Make them",
    check: () => [end, rolesEnd].every((each) => each.isRight()),
    run: async (values) => {
      const body = { count: Number(values.count), uses: Number(values.uses), label: values.label, roles: roles.roles(), roles_until: rolesEnd.moment(), ends_at: end.moment(), code: values.code };
      made = (await call("POST", "/codes", { body })).data.codes;
    },
  });
  if (!done || view.signal.aborted) return;
  showMade(view, made);
  list(view);
}

/** The spelling of new codes. */
function showMade(view, made) {
  showOnce(view.made, {
    title: made.length === 1 ? "The new code" : `The ${made.length} new codes`,
    label: "New codes", thing: made.length === 1 ? "the code" : "the codes", text: made.map((each) => each.code).join("\n"),
    warning: "Usher keeps no code, only what tells whether one is right. Copy them, or keep the file, before you leave this page.",
    more: button("Download as CSV", { onClick: () => download("codes.csv", "text/csv", csv(made)) }),
  });
}

/** As `usher codes make --csv` prints them. */
function csv(made) {
  const rows = [["code", "id", "roles", "ends_at"], ...made.map((each) => [each.code, each.id, each.roles.join(", "), each.ends_at ?? ""])];
  return rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

// A spreadsheet would calculate what begins so (docs/api.md).
const cell = (text) => `"${(/^\s*[=+\-@]|^[\t\r\n]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;

async function revoke(view, item, code, name) {
  let revoked = null;
  const done = await ask({
    title: `Revoke ${name}?`,
    kind: "danger",
    content: h("ul", { class: "effects" }, h("li", "Nobody can use it from now on."), h("li", "People who used it stay, with the roles that it gave."), h("li", h("strong", "This cannot be undone."))),
    fields: [why("")],
    action: "Revoke",
    run: async (values) => {
      revoked = (await call("DELETE", `/codes/${code.id}`, { query: { reason: values.reason } })).data;
    },
  });
  if (!done || view.signal.aborted) return;
  toast(`${name} is revoked.`);
  draw(view, item, revoked);
  item.querySelector("h2").tabIndex = -1;
  item.querySelector("h2").focus();
}
