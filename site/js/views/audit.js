// The audit: all changes, and those of one record.

import { page } from "../api.js";
import { fill, h } from "../dom.js";
import { consumer, person } from "../names.js";
import { button, chip, empty, failure, field, pageHead, skeleton, time } from "../parts.js";
import * as words from "../words.js";

const THE_SITE = "00000000-0000-0000-0000-000000000000"; // of an entry that is about no record
const TONES = { "user.suspended": "bad", "user.deleted": "bad", "role.revoked": "warn", "role.ended": "mute", "role.granted": "good", "user.reactivated": "good", "user.approved": "good", "request.declined": "warn" };

export function show(place, { query, signal, me, title }) {
  title("Audit");
  const action = field({ label: "Action", name: "action", value: query.get("action") ?? "", options: [["", "Any"], ...Object.entries(words.ACTIONS)] });
  const actor = field({ label: "By", name: "actor", value: query.get("actor") ?? "", options: [["", "Anybody"], [`user:${me.id}`, "You"], ["identity", "Identity"], ["usher", "Usher itself"], ["sync", "A comparison with Identity"]] });
  const box = h("div", { class: "card" });
  const list = () => {
    const now = { action: action.input.value, actor: actor.input.value };
    const kept = Object.entries(now).filter(([, value]) => value);
    window.history.replaceState(null, "", `#/audit${kept.length ? `?${new URLSearchParams(kept)}` : ""}`);
    history(box, { query: now, me, signal });
  };
  fill(place, pageHead("Audit", { lead: "Every change of a record, by whom and why. It only grows." }),
    h("form", { class: "filters", "aria-label": "Audit", on: { submit: (event) => event.preventDefault() } }, action, actor), box);
  action.input.addEventListener("change", list);
  actor.input.addEventListener("change", list);
  list();
}

/** Entries, the newest first, with a button for more. `own`: all are of one record. */
export async function history(place, { query, me, signal, own = false }) {
  const run = Symbol("run");
  place.run = run;
  const list = h("ol", { class: "timeline" });
  const more = h("div", { class: "more" });
  fill(place, skeleton(4));
  const next = async (cursor) => {
    try {
      const found = await page("/audit", { ...query, limit: own ? 20 : 40 }, cursor, signal);
      if (signal.aborted || place.run !== run) return;
      list.append(...found.items.map((each) => entry(each, me, own, signal)));
      if (list.childElementCount) fill(place, list, more);
      else if (found.next) fill(place, h("p", { class: "faint pad" }, "None among the newest entries; there are older ones."), more);
      else fill(place, empty("Nothing has changed yet", own ? null : "No entry fits."));
      fill(more, found.next && button("Load more", { onClick: () => next(found.next) }));
    } catch (error) {
      if (signal.aborted || place.run !== run || error.kind === "over") return;
      fill(list.childElementCount ? more : place, failure(error, () => history(place, { query, me, signal, own }), signal));
    }
  };
  await next(null);
}

function entry(each, me, own, signal) {
  return h("li",
    h("div", { class: "entry-line" }, chip(words.ACTIONS[each.action] ?? each.action, TONES[each.action] ?? "mute"),
      !own && (each.user_id === THE_SITE ? "the site" : person(each.user_id, signal)),
      h("span", { class: "entry-when" }, time(each.at), " by ", by(each.actor, me, signal))),
    each.action.startsWith("outbox.") ? handedOver(each.after, signal) : changes(each.before ?? {}, each.after),
    each.reason && h("p", h("q", each.reason)),
    each.delivery_id && h("p", h("a", { href: `#/events/${each.delivery_id}` }, "The event that caused it")));
}

export function by(actor, me, signal) {
  if (actor === `user:${me.id}`) return "you";
  if (/^user:[0-9a-f-]{36}$/i.test(actor)) return person(actor.slice(5), signal);
  if (actor.startsWith("code:")) return h("a", { href: "#/policy/codes" }, "an invitation code");
  if (actor.startsWith("sink:")) return h("a", { href: "#/connect/sinks" }, "a sink’s receiver");
  if (actor.startsWith("key:")) return ["the key ", h("a", { href: "#/connect/keys" }, actor.slice(4))];
  return { identity: "Identity", usher: "Usher itself", sync: "a comparison with Identity" }[actor] ?? actor.replace(/^cli:/, "the command line, ").replace(/^handler:/, "the handler ");
}

/** The differences in words: roles one by one, a short value beside the former one, else its name. */
function changes(before, after) {
  const lines = [];
  for (const key of Object.keys({ ...before, ...after })) {
    if (isNothing(before[key]) && isNothing(after[key])) continue; // a new record's empty maps
    if (key === "roles") lines.push(...roleChanges(before.roles ?? {}, after.roles ?? {}));
    else if (key === "codes") lines.push(codesMade(after.codes));
    else if (key === "key") lines.push(["Key ", h("strong", after.key.name), after.key.scopes && `, ${words.listed(after.key.scopes)}`]);
    else if (key === "sink") lines.push(["To ", h("strong", after.sink.host)]);
    else if (key === "request") lines.push([`Request ${after.request.request}, `, after.request.role === null ? "to be let in" : ["for the role ", h("strong", after.request.role)]]);
    else if (isShort(before[key]) && isShort(after[key])) {
      lines.push([h("span", { class: "mono" }, key), ": ", isNothing(before[key]) ? "" : `${before[key]} → `, h("strong", isNothing(after[key]) ? "none" : String(after[key]))]);
    } else lines.push([h("span", { class: "mono" }, key), " changed"]);
  }
  return lines.length ? h("ul", { class: "changes" }, lines.map((line) => h("li", line))) : null;
}

/** A change that was retried or skipped, or several of a consumer. */
function handedOver({ consumer: name, kind, user_id: id, count }, signal) {
  const what = count !== undefined ? `${words.number(count)} ${count === 1 ? "change" : "changes"}` : [words.KINDS[kind] ?? kind, " of ", person(id, signal)];
  return h("p", what, ", for ", consumer(name, signal));
}

const codesMade = ({ ids, label, gives }) => [ids.length === 1 ? "1 code" : `${words.number(ids.length)} codes`, label && [" for ", h("strong", label)],
  gives.length > 0 && [", giving ", words.listed(gives)]];

const isNothing = (value) => value === undefined || value === null || value === "" || (typeof value === "object" && !Object.keys(value).length);
const isShort = (value) => value === undefined || value === null || (typeof value !== "object" && String(value).length <= 80);

function roleChanges(before, after) {
  const lines = [];
  for (const role of Object.keys({ ...before, ...after }).sort()) {
    const [was, is] = [before[role] ?? {}, after[role] ?? {}];
    for (const source of Object.keys({ ...was, ...is }).sort()) {
      const [old, now] = [was[source], is[source]];
      if (JSON.stringify(old) === JSON.stringify(now)) continue;
      const whose = words.SOURCES[source] ?? source;
      const until = now?.until ? ` until ${words.moment(now.until)}` : "";
      const [sign, text] = !now ? ["−", ` no longer ${old.is === "denial" ? "denied" : "given"} by ${whose}`]
        : now.is === "denial" ? ["×", ` denied by ${whose}${until}`]
          : [old && old.is === now.is ? "~" : "+", ` given by ${whose}${until}`];
      lines.push([h("span", { class: `sign sign-${{ "−": "less", "×": "denied", "~": "same", "+": "more" }[sign]}`, "aria-hidden": "true" }, sign), h("strong", role), text]);
    }
  }
  return lines;
}
