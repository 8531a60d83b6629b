// The page for people who are no administrators: their own account, the reasons for its roles, and their requests.

import { fill, h } from "../dom.js";
import { avatar, button, card, chip, facts, notice, roleChip, statusChip, time } from "../parts.js";
import * as words from "../words.js";
import { asking, isDeclined } from "./asking.js";

const BY = { policy: "by the rules of this site", administrator: "by an administrator", identity: "at Identity", handler: "by this site’s own code" };

/** The page of somebody who is in. */
export function show(place, { me, requests, said, signOut, again }) {
  const withheld = me.reasons.filter((each) => /^no /.test(each.text));
  fill(place,
    head(me, words.nameOf(me) || "Your account", signOut),
    said ? notice("good", null, said) : null,
    notice("info", "You are not an administrator",
      h("p", "The console is for people with the role ", roleChip(me.administrator_role), ". This page shows what this site has on record about you.")),
    card("Your roles", { note: "What you may do on this site." },
      me.roles.length ? h("ul", { class: "role-list" }, me.roles.map((each) => item(each, me.reasons)))
        : h("p", { class: "faint" }, "You have no role yet."),
      withheld.length ? h("div", { class: "withheld" }, h("h3", "Not given"),
        h("ul", withheld.map((each) => h("li", words.sentence(each.text))))) : null),
    asking({ me, requests, again }),
    record(me),
    card("To become an administrator", {},
      h("p", "Ask an administrator of this site to give you the role ", roleChip(me.administrator_role), "."),
      h("p", "If there is none yet, whoever runs the server can do it:"),
      h("pre", { class: "code", tabindex: "0", "aria-label": "Command" }, `usher users grant ${quoted(me.email)} ${quoted(me.administrator_role)}`),
      h("p", { class: "actions" }, button("Look again", { symbol: "replay", onClick: again }))),
  );
}

/** The page of somebody whom an administrator has to let in, or has declined to. */
export function showWaiting(place, { me, requests, said, signOut, again }) {
  const declined = isDeclined(requests);
  fill(place,
    head(me, declined ? "Your request was declined" : "Waiting for approval", signOut),
    said ? notice("good", null, said) : null,
    notice(declined ? "bad" : "warn", null, h("p", me.message || "An administrator has to approve this account first."),
      h("p", declined ? "You can write to the administrators below. They can still let you in."
        : "You can sign in, but you have no role here until then. There is nothing more that you have to do.")),
    asking({ me, requests, again }),
    record(me),
    h("p", { class: "actions" }, button("Look again", { symbol: "replay", onClick: again })));
}

function head(me, title, signOut) {
  return h("header", { class: "own-head" }, avatar(me),
    h("div", h("h1", { tabindex: "-1" }, title), h("p", { class: "lead" }, me.email)),
    button("Sign out", { symbol: "leave", onClick: signOut }));
}

function record(me) {
  return card("Your record", {}, facts([
    ["Status", statusChip(me.status)],
    ["Signs in with", me.provider || null],
    ["Account made", time(me.created_at, { absolute: true })],
    ["Address confirmed", time(me.confirmed_at, { absolute: true, none: "not yet" })],
    ["Last sign-in", time(me.last_seen_at)],
  ]));
}

function item({ role, sources, since, until }, reasons) {
  const rule = sources.includes("policy") && reasons.find((each) => each.text.startsWith(`grants '${role}' `));
  return h("li", h("div", { class: "role-line" }, roleChip(role), until && chip(`until ${words.date(until)}`, "warn")),
    h("p", "Given ", words.listed(sources.map((each) => BY[each] ?? each)), rule && `, ${rule.text.replace(/^grants '.*?' to /, "to ")}`, " · since ", words.date(since)));
}

const quoted = (text) => (/^[\w@.+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
