// The shadow policy: what it would have decided otherwise of the events since it follows.

import { get } from "../api.js";
import { fill, h } from "../dom.js";
import { person } from "../names.js";
import { button, card, chip, failure, load, notice, roleChip, skeleton, table, time } from "../parts.js";
import * as words from "../words.js";

const LIMIT = 30;
const MOST = 100_000; // differences that the server counts
const CHANGES = { refused: ["Refused", "bad"], admitted: ["Let in", "good"], waiting: ["Made to wait", "warn"], gains: ["Gains", "good"], loses: ["Loses", "bad"], failed: ["Fails", "bad"] };
const DONE = { refused: (n) => `refused ${n}`, admitted: (n) => `let in ${n}`, waiting: (n) => `let ${n} wait` };
const COLUMNS = [{ label: "Event" }, { label: "Person" }, { label: "Change" }, { label: "Why", className: "wide" }, { label: "Received" }];

/** The card of the shadow; nothing of it where no shadow policy is set. */
export function shadow(signal) {
  const place = h("div");
  load(place, async () => (await get("/policy/shadow", { limit: LIMIT }, signal)).data, (found) => page(found, signal), { signal, bones: skeleton(3) });
  return place;
}

function page({ source, absent, run, changes, more_changes: hidden, counted, differences, next_cursor: next }, signal) {
  if (source === null) {
    return card("The shadow policy", {}, h("p", { class: "faint" }, "There is none. Where ", h("code", "USHER_POLICY_SHADOW"), " names a policy, each event is decided by it as well, and what would come out differently shows here. No answer depends on it."));
  }
  const name = source.split(/[\\/]/).at(-1);
  if (absent) return card("The shadow policy", {}, h("p", { class: "faint" }, "There is nothing to watch: ", h("strong", name), " is not there. It may have been promoted. Put the next policy there, and it is watched."));
  if (run === null) return card("The shadow policy", {}, notice("info", `No server follows with ${name} yet`));
  return card("The shadow policy", { note: "It decides every event beside the policy in force. No answer depends on it." },
    h("div", { class: "shadow-parts" },
      h("p", { class: "shadow-lead" }, lead(name, run, changes)),
      run.error && notice("bad", "Its process ended, and is started again", h("p", run.error), run.failed_at && h("p", time(run.failed_at))),
      run.behind > 0 && h("p", { class: "faint" }, `It has still to look at ${words.number(run.behind)} of the newest events.`),
      changes.length > 0 && h("ul", { class: "shadow-changes", "aria-label": "By rule" }, changes.map(group)),
      hidden > 0 && h("p", { class: "faint" }, `Less frequent kinds that are not shown: ${words.number(hidden)}.`),
      counted >= MOST && h("p", { class: "faint" }, `Only the newest ${words.number(MOST)} differences are counted.`),
      differences.length > 0 && list(differences, next, signal)));
}

/** "next.toml would have refused 3 of 214 events since Monday." */
function lead(name, { events, since }, changes) {
  const counted = Object.entries(DONE).map(([change, done]) => [done, changes.filter((each) => each.change === change).reduce((sum, each) => sum + each.events, 0)])
    .filter(([, count]) => count > 0).map(([done, count]) => done(words.number(count)));
  const failed = changes.some((each) => each.change === "failed");
  const roles = changes.some((each) => each.role !== null);
  const what = counted.length ? `would have ${words.listed(counted)}` : roles ? "would have given other roles" : failed ? "fails" : "would have changed nothing";
  return [h("strong", name), ` ${what}${failed && !counted.length && !roles ? " at some" : ""} of ${words.number(events)} ${events === 1 ? "event" : "events"} since `, time(since, { absolute: true }), "."];
}

function changeWords({ change, role }) {
  const [text, tone] = CHANGES[change] ?? [change, "mute"];
  return [chip(text, tone), role !== null && [" ", roleChip(role)]];
}

function group(each) {
  return h("li", h("span", { class: "count" }, words.number(each.events)),
    h("p", changeWords(each), ` ${words.number(each.people)} ${each.people === 1 ? "person" : "people"}`),
    h("p", words.sentence(each.text), " ", h("code", { class: "faint" }, each.rule)));
}

function list(differences, next, signal) {
  const { root, body, row } = table("Events that would have come out differently", COLUMNS);
  const more = h("div", { class: "more" });
  const add = (items, rest) => {
    body.append(...items.map((each) => row([
      h("a", { href: `#/events/${each.event_id}`, class: "event-name" }, words.eventName(each.event)),
      each.change === "admitted" ? h("span", { class: "faint" }, "a newcomer") : person(each.user_id, signal), // refused: no record
      h("span", changeWords(each)),
      h("span", { class: "decision" }, words.sentence(each.text), " ", h("code", each.rule)), time(each.received_at),
    ])));
    fill(more, rest && button("Load more", { onClick: () => read(rest) }));
  };
  const read = async (cursor) => {
    fill(more, button("Loading…", { disabled: true }));
    try {
      const { data } = await get("/policy/shadow", { limit: LIMIT, cursor }, signal);
      if (!signal.aborted) add(data.differences, data.next_cursor);
    } catch (error) {
      if (!signal.aborted && error.kind !== "over") fill(more, failure(error, () => read(cursor), signal));
    }
  };
  add(differences, next);
  return [root, more];
}
