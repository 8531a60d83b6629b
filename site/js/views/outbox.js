// The outbox: how consumers stand, and changes that wait or failed, each with its attempts and error.

import { call, get } from "../api.js";
import { fill, h } from "../dom.js";
import { why } from "../fields.js";
import { grow } from "../list.js";
import { consumer, consumerName, person } from "../names.js";
import { ask, button, card, chip, copyable, empty, facts, link, load, pageHead, problem, roleChip, segments, skeleton, subpages, time, toast } from "../parts.js";
import * as words from "../words.js";
import { by } from "./audit.js";

export const PAGES = [["#/connect", "Outbox"], ["#/connect/sinks", "Sinks"], ["#/connect/keys", "Keys"]];
const STATES = [["", "All"], ["waiting", "Waiting"], ["dead", "Dead"], ["dropped", "Dropped"]];
const GONE = "It is no longer in the outbox: it was handed over, or somebody skipped it.";
const UNSEEN_MS = 300_000; // as usher doctor has it
const TONES = { to_come: "mute", waiting: "warn", dead: "bad", dropped: "mute" };

export const changeChip = (state) => chip(words.CHANGE_STATES[state] ?? state, TONES[state], { dot: true });

export function show(place, { query, signal, me, title }) {
  title("Outbox");
  const asked = { state: STATES.some(([key]) => key === query.get("state")) ? query.get("state") : "", consumer: query.get("consumer") ?? "", user: query.get("user") ?? "" };
  const view = { signal, me, asked, standings: h("div", { class: "standings" }), box: h("div"), more: h("div", { class: "more" }) };
  fill(place, pageHead("Connect", { lead: "Changes on their way to your own code.", actions: button("Look again", { symbol: "replay", onClick: () => list(view) }) }),
    subpages("Connect", PAGES, "#/connect"), view.standings,
    h("div", { class: "choice" }, segments("Changes shown", STATES, asked.state, (key) => {
        asked.state = key;
        history.replaceState(null, "", address(asked));
        list(view);
      }),
      asked.user && h("span", "of ", person(asked.user, signal)),
      asked.consumer && h("span", "for ", h("strong", consumer(asked.consumer, signal))),
      (asked.user || asked.consumer) && link("Show all", "#/connect", { kind: "quiet small" })),
    view.box, view.more);
  list(view);
}

/** Where the changes are that fit: `state`, `consumer`, `user`. */
export function address(asked) {
  const kept = Object.entries(asked).filter(([, value]) => value);
  return `#/connect${kept.length ? `?${new URLSearchParams(kept)}` : ""}`;
}

async function list(view) {
  const { box, more, asked } = view;
  view.listing?.abort(); // its answer would come among those of now
  view.listing = new AbortController();
  const signal = AbortSignal.any([view.signal, view.listing.signal]);
  let known = [];
  const rows = h("ul", { class: "items card" });
  const none = h("div");
  await grow({
    path: "/outbox", name: "changes", query: asked, signal, box, more, list: rows, none,
    item: (change) => {
      const item = h("li", { class: "item", "data-change": change.number });
      draw(view, item, change);
      return item;
    },
    begun: ({ consumers }) => {
      known = consumers;
      showStandings(view, consumers);
    },
  });
  fill(none, asked.state || asked.consumer || asked.user ? empty("No change fits", null, link("Show all", "#/connect", { kind: "plain" }))
    : known.length ? empty("Nothing waits or failed", known.some((each) => each.behind) ? "What was not looked at yet is counted above." : "Every change was handed over.")
      : empty("Nobody gets changes yet", "Functions that are marked with @after do, and sinks, once a server works for them."));
}

function showStandings(view, consumers) {
  const { consumer: only } = view.asked;
  const shown = consumers.filter((each) => !only || each.name === only);
  fill(view.standings, shown.length > 0 && card("Who gets changes", {}, h("ul", { class: "items" }, shown.map((each) => standing(view, each)))));
}

function standing(view, { name, behind, waiting, dead, oldest_at: oldest, seen_at: seen, paused }) {
  const parts = [behind && `${words.number(behind)} not looked at yet`, waiting && `${words.number(waiting)} waiting`, dead && `${words.number(dead)} dead ${dead === 1 ? "letter" : "letters"}`].filter(Boolean);
  return h("li", { class: "item", "data-consumer": name },
    h("div", { class: "item-head" }, h("h3", consumer(name, view.signal)), paused ? chip("Paused", "warn", { dot: true }) : oldest && Date.now() - new Date(seen) > UNSEEN_MS && chip("Nobody works for it", "bad", { dot: true }), dead > 0 && changeChip("dead"),
      dead > 0 && button("Retry the dead letters", { kind: "quiet small", "aria-label": `Retry the dead letters of ${consumerName(name)}`, onClick: () => retryDead(view, name, dead) }),
      mayBeGone(name, seen) && button("Forget", { kind: "quiet small", "aria-label": `Forget ${consumerName(name)}`, onClick: () => forget(view, name, waiting + dead) })),
    h("p", parts.length ? words.listed(parts) : "Up to date", oldest && [", the oldest from ", time(oldest)], ". A server last worked for it ", time(seen), ". ",
      (waiting > 0 || dead > 0) && (view.asked.consumer !== name || view.asked.user) && h("a", { href: address({ state: view.asked.state, consumer: name }) }, "Show its changes")));
}

/** Whether no module may have this handler any more: its server would have worked for it. */
const mayBeGone = (name, seen) => name.startsWith("handler:") && Date.now() - new Date(seen) > UNSEEN_MS;

/** Show a change as it is now. */
function draw(view, item, change) {
  const trouble = h("div", { class: "trouble" });
  const label = `${kindWords(change)} for ${consumerName(change.consumer)}`;
  const follows = change.state === "waiting" && !change.due_at;
  const retry = !follows && button("Retry", { kind: "quiet small", "aria-label": `Retry: ${label}`, onClick: () => again(view, item, change, retry, trouble) });
  const story = h("div");
  const more = h("details", { class: "uses" }, h("summary", "What led to it"), story);
  more.addEventListener("toggle", () => more.open && !story.firstChild && tell(view, story, change));
  fill(item,
    h("div", { class: "item-head" }, h("h2", { tabindex: "-1" }, words.KINDS[change.kind] ?? change.kind), change.role && roleChip(change.role), changeChip(change.state),
      h("span", { class: "faint" }, time(change.at))),
    h("p", "Of ", change.kind === "event.denied" ? "a newcomer" : person(change.user_id, view.signal), ", for ", consumer(change.consumer, view.signal), "."),
    h("p", { class: "faint" }, whenWords(change)),
    change.error && h("p", { class: "mono fault" }, change.error),
    more,
    h("div", { class: "actions" }, retry, button("Skip", { kind: "quiet small", "aria-label": `Skip: ${label}`, onClick: () => skip(view, item, change) })),
    trouble);
}

const kindWords = ({ kind, role }) => `${words.KINDS[kind] ?? kind}${role ? ` ${role}` : ""}`;

const tried = (count) => (count === 1 ? "Tried once" : `Tried ${words.number(count)} times`);

function whenWords({ state, tries, due_at: due, failed_at: failed }) {
  if (state === "dropped") return "Given up, and tried no more.";
  if (state === "dead") return [`${tried(tries)}, last `, time(failed), ". Not tried any more."];
  const before = tries > 0 && `${tried(tries)}. `;
  if (!due) return [before, "Waits until an earlier change of this person is handed over."];
  return [before, new Date(due) <= new Date() ? "It is due." : ["Next try ", time(due), "."]];
}

/** What caused a change, and what it goes after. */
const tell = (view, place, { number }) => load(place, () => seen(view, number), (found) => (found === null ? h("p", { class: "faint" }, GONE) : facts([
  ["By", found.actor === null ? "the audit no longer says" : by(found.actor, view.me, view.signal)],
  ["Reason", found.reason],
  ["Event", found.delivery_id && h("a", { href: `#/events/${found.delivery_id}` }, "The event that caused it")],
  ["Goes after", found.behind === null ? null : `number ${found.behind}`],
  ["Number", String(number)],
  ["Key", copyable(found.change_id, "the key")],
])), { signal: view.signal, bones: skeleton(2) });

/** A change with its cause; null: it is there no more. */
async function seen(view, number) {
  try {
    return (await get(`/outbox/${number}`, undefined, view.signal)).data;
  } catch (error) {
    if (error.kind === "missing") return null;
    throw error;
  }
}

async function again(view, item, change, go, trouble) {
  go.disabled = true;
  fill(trouble);
  try {
    const { data } = await call("POST", `/outbox/${change.number}/retry`, { body: {} });
    if (view.signal.aborted) return;
    toast(data.due_at ? "It is tried again at once." : "It follows an earlier change of the same person.");
    draw(view, item, data);
    item.querySelector("h2").focus();
    standAgain(view);
  } catch (error) {
    if (view.signal.aborted || error.kind === "over") return;
    if (error.kind === "missing") return drop(view, item, GONE);
    fill(trouble, problem(error));
    go.disabled = false;
  }
}

/** Take a change out of the list. */
function drop(view, item, said) {
  toast(said);
  const next = item.nextElementSibling ?? item.previousElementSibling;
  item.remove();
  (next?.querySelector("h2") ?? document.querySelector("#main h1")).focus();
  if (next) standAgain(view);
  else list(view);
}

/** How consumers stand after an act; the list stays as it is. */
async function standAgain(view) {
  try {
    const { data } = await get("/outbox", { limit: 1 }, view.signal);
    if (!view.signal.aborted) showStandings(view, data.consumers);
  } catch {
    // What was there stays.
  }
}

async function skip(view, item, change) {
  let gone = false;
  const done = await ask({
    title: "Skip this change?",
    kind: "danger",
    content: h("ul", { class: "effects" }, h("li", h("strong", consumerName(change.consumer)), " never gets it."), h("li", "Later changes of the same person go on."), h("li", h("strong", "This cannot be undone."))),
    fields: [why("Mended by hand")],
    action: "Skip it",
    run: (values) => call("POST", `/outbox/${change.number}/skip`, { body: { reason: values.reason } }),
    onError: (error) => {
      gone = error.kind === "missing";
      return gone;
    },
  });
  if ((done || gone) && !view.signal.aborted) drop(view, item, gone ? GONE : "The change is skipped.");
}

async function forget(view, name, lost) {
  const done = await ask({
    title: "Forget this handler?",
    kind: "danger",
    content: h("ul", { class: "effects" }, h("li", h("strong", consumer(name, view.signal)), " gets nothing any more that has happened until now."),
      lost > 0 && h("li", `${words.number(lost)} ${lost === 1 ? "change that waits for it or failed is" : "changes that wait for it or failed are"} gone.`),
      h("li", "If your code has it after all, it begins anew with what comes from then on."), h("li", h("strong", "This cannot be undone."))),
    fields: [why("It was renamed")],
    action: "Forget it",
    run: (values) => call("POST", "/outbox/forget", { body: { consumer: name, reason: values.reason } }),
  });
  if (!done || view.signal.aborted) return;
  toast("The handler is forgotten.");
  list(view);
}

async function retryDead(view, name, dead) {
  const done = await ask({
    title: dead === 1 ? "Retry the dead letter?" : `Retry ${words.number(dead)} dead letters?`,
    content: h("p", "Of ", h("strong", consumerName(name)), ". Each is tried at once, and for three more days if it fails again."),
    fields: [why("The receiver is back")],
    action: "Retry",
    run: async (values) => {
      const body = { consumer: name, reason: values.reason };
      while ((await call("POST", "/outbox/retry", { body })).data.more);
    },
  });
  if (!done || view.signal.aborted) return;
  toast("They are tried again.");
  list(view);
}
