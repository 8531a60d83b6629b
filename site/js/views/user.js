// One record: the person, the roles and their reasons, the history, and the actions.

import { call } from "../api.js";
import { fill, h, icon } from "../dom.js";
import { ending, knownRoles, why } from "../fields.js";
import { remember } from "../names.js";
import { ask, avatar, button, card, chip, code, copyable, empty, facts, failure, field, load, notice, pageHead, roleChip, skeleton, statusChip, tabs, time, toast } from "../parts.js";
import * as words from "../words.js";
import { history as auditHistory } from "./audit.js";
import { history as eventHistory } from "./events.js";
import { history as ledHistory } from "./led.js";

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export function show(place, { id, signal, me, title }) {
  title("User");
  if (!UUID.test(id)) {
    fill(place, pageHead("User", { back: { href: "#/users", label: "Users" } }), empty("There is no such user", "A user’s id looks like 5a6c2a0e-7a59-4a70-9d1b-7c8e2e2f0a51."));
    return;
  }
  const box = h("div");
  fill(place, box);
  const view = { id, signal, me, title, box, path: `/users/${encodeURIComponent(id)}` };
  view.read = async () => call("GET", view.path, { signal });
  load(box, view.read, (found) => record(view, found), { signal, bones: [skeleton(1, "head"), skeleton(6)] });
}

/** Read the record again; `said` may explain why it looks different. */
async function again(view, said) {
  try {
    const found = await view.read();
    if (view.signal.aborted) return;
    fill(view.box, said, record(view, found));
    view.box.querySelector("h1")?.focus({ preventScroll: true });
  } catch (error) {
    if (!view.signal.aborted && error.kind !== "over") fill(view.box, failure(error, () => again(view, said), view.signal));
  }
}

function record(view, { data: user, etag }) {
  view.user = user;
  view.etag = etag;
  remember(user);
  const name = words.nameOf(user);
  const label = name || words.labelOf(user);
  view.title(label);
  const gone = user.status === "deleted";
  const self = user.id === view.me.id;
  return h("div", { class: "record" },
    h("header", { class: "page-head" },
      h("a", { class: "back", href: "#/users" }, icon("back"), h("span", "Users")),
      h("div", { class: "page-title" },
        h("div", { class: "identity" }, avatar(user), h("div", { class: "identity-text" },
          h("h1", { tabindex: "-1" }, label),
          h("p", { class: "lead" }, name && h("span", { class: "address" }, user.email), statusChip(user.status), self && chip("This is you", "accent")))),
        !gone && h("div", { class: "actions" },
          user.status === "suspended"
            ? button("Reactivate", { onClick: () => reactivate(view) })
            : button("Suspend", { symbol: "ban", onClick: () => suspend(view) }),
          button("Delete", { kind: "danger-quiet", symbol: "trash", onClick: () => remove(view) })))),
    gone && notice("info", "This account was deleted", h("p", `On ${words.moment(user.deleted_at)}. The personal data is erased; the id stays, so that it is never used again. Nothing about it can change.`)),
    user.status === "suspended" && notice("warn", "Suspended", h("p", "Since ", time(user.suspended_at, { absolute: true }), ". The API refuses them, and so does every login.")),
    user.status === "waiting" && notice("warn", "Waiting for approval", h("p", "They have no roles, and of the API only their own record and requests, before an administrator approves them."), h("p", h("a", { href: "#/requests" }, "To the requests"))),
    user.unreadable_roles && notice("warn", "Not all of the roles at Identity can be read", h("p", `There, ${user.unreadable_roles}.`)),
    h("div", { class: "columns" },
      h("div", { class: "stack" }, !gone && roles(view), history(view)),
      h("div", { class: "stack" }, about(user), !gone && data(user))));
}

function about(user) {
  return card("Record", {}, facts([
    ["Provider", user.provider || h("span", { class: "faint" }, "unknown")],
    ["Joined", time(user.created_at, { absolute: true })],
    ["Confirmed", time(user.confirmed_at, { absolute: true, none: "not yet" })],
    ["Last seen", time(user.last_seen_at, { absolute: true })],
    ["Changed", time(user.updated_at, { absolute: true })],
    ["Identity", user.identity === "pending" ? chip("Has still to be told", "warn", { dot: true }) : "In step"],
    ["Version", String(user.version)],
    ["Id", copyable(user.id, "the id")],
  ]));
}

function data(user) {
  const parts = [
    ["Profile", user.profile, "The person’s own data. Identity does not know it."],
    ["user_metadata", user.user_metadata, "Chosen by the person, as Identity last sent it, with what handlers wrote."],
    ["app_metadata", user.app_metadata, "As Identity last sent it, without roles."],
    ["Further app_metadata", user.extra_app_metadata, "Added to every reply by administrators and handlers."],
  ];
  return card("Data", {}, written(user), parts.map(([name, value, hint]) => {
    const count = Object.keys(value).length;
    return h("details", { class: "data", open: name === "user_metadata" && count > 0 && count < 8 },
      h("summary", name, h("span", { class: "faint" }, count ? ` ${count}` : " empty")),
      h("p", { class: "hint" }, hint), count ? code(words.pretty(value), name) : null);
  }));
}

/** The keys that handlers wrote, with their values on record; null removes a key. */
function written({ written: by, extra_app_metadata: added, user_metadata: own }) {
  const keys = [...Object.entries(by.app_metadata).map(([key, name]) => [key, added[key], name]), ...Object.entries(by.user_metadata).map(([key, name]) => [key, own[key], name])];
  return keys.length > 0 && h("details", { class: "data", open: keys.length < 8 },
    h("summary", "Written by handlers", h("span", { class: "faint" }, ` ${keys.length}`)),
    h("p", { class: "hint" }, "Keys of both maps that your own code wrote."),
    facts(keys.map(([key, value, name]) => [key, [h("code", value === undefined || value === null ? "removed" : JSON.stringify(value)), h("span", { class: "faint" }, ` by the handler ${name}`)]])));
}

function roles(view) {
  const { user } = view;
  const names = [...new Set(user.grants.map((each) => each.role))].sort();
  const give = button("Give a role", { kind: "primary", symbol: "plus", onClick: () => grant(view) });
  return card("Roles", { note: "Who gave each, and why. The API goes by this at once. The person’s token follows when it is next refreshed, or at the next login where Usher may not write at Identity.", actions: user.status !== "waiting" && give },
    names.length ? h("ul", { class: "role-list" }, names.map((role) => roleItem(view, role, user.grants.filter((each) => each.role === role))))
      : h("p", { class: "faint pad" }, "No role, and nobody has said anything about one."));
}

function roleItem(view, role, grants) {
  const held = view.user.roles.includes(role);
  const denied = !held && grants.some((each) => each.denies && each.holds);
  return h("li", { class: held ? "" : "not-held", "data-role": role },
    h("div", { class: "role-line" }, roleChip(role), !held && chip(denied ? "Denied" : "Ended", denied ? "bad" : "mute"),
      held ? button("Take away", { kind: "quiet small", "aria-label": `Take away ${role}`, onClick: () => revoke(view, role, grants) })
        : button("Give again", { kind: "quiet small", "aria-label": `Give again ${role}`, onClick: () => grant(view, role) })),
    h("ul", { class: "grants" }, grants.map((each) => h("li", { class: each.denies ? "denial" : "" }, grantWords(view, each)))));
}

function grantWords(view, { source, denies, holds, actor, reason, created_at: since, expires_at: until }) {
  const by = source === "administrator" ? actorName(actor, view.me)
    : source === "handler" ? actor.replace(/^handler:/, "the handler ") : words.SOURCES[source];
  return [
    `${denies ? "Denied" : "Given"} by `, by, " · ", time(since),
    until && [" · ", h("span", { class: holds ? "ends" : "faint" }, `${holds ? "ends" : "ended"} `, time(until))],
    reason && h("q", reason),
  ];
}

/** `user:<id>` as a link, anything else as it is. */
function actorName(actor, me) {
  const [kind, id] = [actor.slice(0, actor.indexOf(":")), actor.slice(actor.indexOf(":") + 1)];
  if (kind === "code") return h("a", { href: "#/policy/codes" }, "an invitation code");
  if (kind !== "user") return actor || "an administrator";
  return id === me.id ? "you" : h("a", { href: `#/users/${encodeURIComponent(id)}` }, "an administrator");
}

function history(view) {
  return card("History", {}, tabs("History", [
    { name: "Changes", show: (panel) => auditHistory(panel, { query: { user: view.id }, me: view.me, signal: view.signal, own: true }) },
    { name: "Events", show: (panel) => eventHistory(panel, { path: `${view.path}/events`, signal: view.signal }) },
    { name: "Led to", show: (panel) => ledHistory(panel, { path: `${view.path}/changes`, user: view.id, signal: view.signal }) },
  ]));
}

/** Make one change. If another person was faster, their change is shown, and not overwritten. */
async function change(view, question, done) {
  const made = await ask({
    ...question,
    onError: (error) => {
      if (error.kind !== "changed") return false;
      again(view, notice("warn", "Somebody else changed this record", h("p", "Your change was not made, so nothing of theirs is lost. This is the record as it is now: look at it, and then do it again if it still fits.")));
      return true;
    },
  });
  if (!made || view.signal.aborted) return;
  toast(done);
  await again(view);
}

/**
 * Make a change, unless another administrator was faster. People change their own words at any time,
 * and must not keep anybody from suspending them by it: then the change is tried again.
 */
async function decided(view, method, path, options) {
  for (let tries = 5; ; tries -= 1) {
    try {
      return await call(method, path, { ...options, etag: view.etag });
    } catch (error) {
      if (error.kind !== "changed" || tries === 0) throw error;
      const { data, etag } = await view.read();
      if (judged(data) !== judged(view.user)) throw error;
      view.etag = etag;
    }
  }
}

/** What an administrator looks at before a decision: all but the person's own words and visits. */
function judged(user) {
  const { id, email, status, provider, grants, app_metadata, extra_app_metadata } = user;
  return JSON.stringify([id, email, status, provider, grants, app_metadata, extra_app_metadata]);
}

async function grant(view, role = "") {
  const known = await knownRoles(view.signal);
  if (view.signal.aborted) return;
  const name = field({ label: "Role", name: "role", value: role, required: true, maxlength: 100, list: known.filter((each) => !view.user.roles.includes(each)), autocomplete: "off", spellcheck: "false", autocapitalize: "none" });
  const reason = why("Writes the newsletter");
  const end = ending({ hint: "Leave it empty for a role that does not end by itself." });
  const who = words.labelOf(view.user);
  let given = "";
  await change(view, {
    title: role ? `Give ${role} again` : "Give a role",
    content: h("p", "To ", h("strong", who), ". A denial of the role is lifted by it."),
    fields: [name, reason, end, end.quick],
    action: "Give the role",
    check: (values) => {
      name.complain(values.role.trim() ? "" : "Which role?");
      return end.isRight() && Boolean(values.role.trim());
    },
    run: (values) => {
      given = values.role.trim();
      const body = { reason: values.reason, expires_at: end.moment() };
      if (!fitsAddress(given)) {
        if (values.end) throw Object.assign(new Error("slash"), { kind: "refused", detail: "A role of this name can be given here only without an end; usher users grant can give it one." });
        return setRoles(view, [...new Set([...view.user.roles, given])], values.reason);
      }
      return decided(view, "PUT", `${view.path}/roles/${encodeURIComponent(given)}`, { body });
    },
  }, `The role is given to ${who}.`);
}

// Servers decode a path before they take it apart, and browsers resolve dots, encoded or not.
function fitsAddress(role) {
  return !role.includes("/") && role !== "." && role !== "..";
}

function setRoles(view, roles, reason) {
  return decided(view, "PUT", `${view.path}/roles`, { body: { roles, reason } });
}

const DENIAL_STAYS = "A denial is left on the record, so that it stays away until somebody gives it again.";

function revoke(view, role, grants) {
  const who = words.labelOf(view.user);
  const sources = grants.filter((each) => each.holds && !each.denies).map((each) => each.source);
  const people = sources.filter((each) => each === "administrator" || each === "identity").map((each) => words.SOURCES[each]);
  return change(view, {
    title: `Take away ${role}?`,
    kind: "danger",
    content: h("ul", { class: "effects" },
      people.length > 0 && h("li", `What ${words.listed(people)} gave ends.`),
      sources.includes("policy") && h("li", `The policy gives this role. ${DENIAL_STAYS}`),
      sources.includes("handler") && h("li", `A handler gives this role. ${DENIAL_STAYS}`),
      h("li", `The API treats ${who} as without it from the next request on.`),
      h("li", "A token that they hold already still names it, until it is refreshed (or, where Usher may not write at Identity, until their next login).")),
    fields: [why("")],
    action: `Take away ${role}`,
    run: (values) => fitsAddress(role)
      ? decided(view, "DELETE", `${view.path}/roles/${encodeURIComponent(role)}`, { query: { reason: values.reason } })
      : setRoles(view, view.user.roles.filter((each) => each !== role), values.reason),
  }, `${who} no longer has ${role}.`);
}

function suspend(view) {
  const who = words.labelOf(view.user);
  return change(view, {
    title: `Suspend ${who}?`,
    kind: "danger",
    content: h("ul", { class: "effects" },
      h("li", "The API refuses them from the next request on, whatever token they hold."),
      h("li", "Their next login is denied, and their token loses its roles when it is refreshed."),
      h("li", "Roles, profile and history stay. It can be taken back at any time.")),
    fields: [why("")],
    action: "Suspend",
    run: (values) => decided(view, "PATCH", view.path, { body: { status: "suspended", reason: values.reason } }),
  }, `${who} is suspended.`);
}

function reactivate(view) {
  const who = words.labelOf(view.user);
  return change(view, {
    title: `Reactivate ${who}?`,
    content: h("p", "They can log in again, with the roles on record."),
    fields: [why("")],
    action: "Reactivate",
    run: (values) => decided(view, "PATCH", view.path, { body: { status: "active", reason: values.reason } }),
  }, `${who} can log in again.`);
}

function remove(view) {
  const who = words.labelOf(view.user);
  const proof = view.user.email || view.id.slice(0, 8);
  const typed = field({ label: `To confirm, type ${proof}`, name: "typed", required: true, autocomplete: "off", spellcheck: "false", autocapitalize: "none" });
  return change(view, {
    title: `Delete ${who}?`,
    kind: "danger",
    content: h("ul", { class: "effects" },
      h("li", "All personal data is erased: address, names, metadata, profile, and the bodies of their events."),
      h("li", "The id stays as a tombstone. The same account can never come back, and its logins are denied."),
      h("li", "The account at Identity is deleted too. Where Usher may not write there, delete it there yourself."),
      h("li", h("strong", "This cannot be undone."))),
    fields: [typed, why("")],
    action: "Delete for good",
    check: (values) => {
      const right = values.typed.trim() === proof.trim();
      typed.complain(right ? "" : "This is not the same.");
      return right;
    },
    run: (values) => decided(view, "DELETE", view.path, { query: { reason: values.reason } }),
  }, "The account is deleted.");
}
