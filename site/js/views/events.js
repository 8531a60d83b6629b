// Events from Identity, live; and those of one record.

import { get, page } from "../api.js";
import { fill, h, icon } from "../dom.js";
import { person } from "../names.js";
import { button, empty, failure, field, outcomeChip, pageHead, skeleton, table, time } from "../parts.js";
import * as words from "../words.js";

const EVERY_MS = 4000;
const PAGE = 30;
const MOST = 400;
const COLUMNS = [
  { label: "Event" }, { label: "Outcome" }, { label: "Person" }, { label: "Decision", className: "wide" }, { label: "Received" },
];

export function show(place, { query, signal, title }) {
  title("Events");
  const event = field({ label: "Event", name: "event", value: query.get("event") ?? "", options: [["", "Any"], ...Object.entries(words.EVENTS)] });
  const outcome = field({ label: "Outcome", name: "outcome", value: query.get("outcome") ?? "", options: [["", "Any"], ...Object.entries(words.OUTCOMES)] });
  const state = h("span", { class: "live-text" });
  const toggle = h("button", { type: "button", class: "button plain live" });
  const box = h("div");
  const more = h("div", { class: "more" });
  const view = { signal, box, more, run: 0, newest: 0, paused: false, timer: null, wait: EVERY_MS };

  fill(place, pageHead("Events", {
    lead: "What Identity sent, how it was answered, and why.",
    actions: [state, toggle],
  }), h("form", { class: "filters", "aria-label": "Events", on: { submit: (each) => each.preventDefault() } }, event, outcome), box, more);

  const say = (text) => {
    state.textContent = text;
    fill(toggle, icon(view.paused ? "play" : "pause"), h("span", view.paused ? "Resume" : "Pause"));
    toggle.classList.toggle("is-live", !view.paused);
  };
  const schedule = () => {
    clearTimeout(view.timer);
    if (!view.paused && !document.hidden && !signal.aborted) view.timer = setTimeout(poll, view.wait);
  };
  const poll = async () => {
    if (!view.table) return schedule();
    const mine = view.run;
    try {
      const { data } = await get("/events", { ...view.query, limit: PAGE }, signal);
      if (mine !== view.run || signal.aborted || view.paused) return undefined;
      view.wait = EVERY_MS;
      const fresh = data.events.filter((each) => each.sequence > view.newest);
      if (fresh.length === PAGE && view.newest) return list(); // more came than one page holds
      add(view, fresh, true);
      say(`Live, looked ${words.clock(new Date())}`);
    } catch (error) {
      if (signal.aborted || error.kind === "over") return undefined;
      view.wait = Math.min((error.retryAfter ?? 0) * 1000 || view.wait * 2, 60_000);
      say(`${words.explain(error).title}; next look in ${Math.round(view.wait / 1000)} s`);
    }
    return schedule();
  };
  const list = async () => {
    const mine = (view.run += 1);
    clearTimeout(view.timer);
    view.query = { event: event.input.value, outcome: outcome.input.value };
    view.newest = 0;
    view.table = null;
    const kept = Object.entries(view.query).filter(([, value]) => value);
    window.history.replaceState(null, "", `#/events${kept.length ? `?${new URLSearchParams(kept)}` : ""}`);
    fill(box, skeleton(8));
    fill(more);
    say(view.paused ? "Paused" : "Live");
    try {
      const found = await page("/events", { ...view.query, limit: PAGE }, null, signal);
      if (mine !== view.run || signal.aborted) return;
      view.table = table("Events, the newest first", COLUMNS, { className: "events" });
      add(view, found.items, false);
      if (!found.items.length) fill(box, empty(kept.length ? "No event fits" : "No event yet", kept.length ? "When one comes, it shows here." : "As soon as somebody signs up, Identity sends one."));
      older(view, found.next);
      schedule();
    } catch (error) {
      if (mine !== view.run || signal.aborted || error.kind === "over") return;
      fill(box, failure(error, list, signal));
    }
  };
  const onVisible = () => {
    if (document.hidden) clearTimeout(view.timer);
    else if (!view.paused && view.table) poll();
  };
  toggle.addEventListener("click", () => {
    view.paused = !view.paused;
    clearTimeout(view.timer);
    say(view.paused ? "Paused" : "Live");
    if (!view.paused) poll();
  });
  event.input.addEventListener("change", list);
  outcome.input.addEventListener("change", list);
  document.addEventListener("visibilitychange", onVisible);
  signal.addEventListener("abort", () => {
    clearTimeout(view.timer);
    document.removeEventListener("visibilitychange", onVisible);
  });
  list();
}

/** Put events into the table: new ones on top, lit for a moment, older ones below. */
function add(view, events, isNew) {
  if (!events.length) return;
  const { root, body, row } = view.table;
  if (!root.isConnected) fill(view.box, root);
  const rows = events.map((each) => row(cells(each, view.signal), { href: `#/events/${each.id}`, className: isNew ? "fresh" : "" }));
  if (isNew) body.prepend(...rows);
  else body.append(...rows);
  view.newest = Math.max(view.newest, ...events.map((each) => each.sequence));
  if (isNew) while (body.childElementCount > MOST) body.lastChild.remove();
}

function older(view, cursor) {
  const mine = view.run;
  fill(view.more, cursor && button("Load older ones", { onClick: async (event) => {
    event.currentTarget.disabled = true;
    try {
      const found = await page("/events", { ...view.query, limit: PAGE }, cursor, view.signal);
      if (mine !== view.run || view.signal.aborted) return;
      add(view, found.items, false);
      older(view, found.next);
    } catch (error) {
      if (mine !== view.run || view.signal.aborted || error.kind === "over") return;
      fill(view.more, failure(error, () => older(view, cursor), view.signal));
    }
  } }));
}

function cells(each, signal) {
  // A newcomer who was turned away has no record to ask for.
  const nobody = !each.user_id || words.isNewcomer(each) || each.outcome === "invalid";
  return [
    h("a", { href: `#/events/${each.id}`, class: "event-name" }, words.eventName(each.event)),
    outcomeChip(each.outcome),
    nobody ? h("span", { class: "faint" }, each.user_id ? "a newcomer" : "nobody known") : person(each.user_id, signal),
    h("span", { class: "decision" }, words.failure(each) || words.replyWords(each.reply)),
    time(each.received_at),
  ];
}

/** One record's events, in a narrow list. */
export async function history(place, { path, signal }) {
  const list = h("ol", { class: "timeline" });
  const more = h("div", { class: "more" });
  fill(place, skeleton(4));
  const next = async (cursor) => {
    try {
      const found = await page(path, { limit: 20 }, cursor, signal);
      if (signal.aborted) return;
      list.append(...found.items.map((each) => h("li",
        h("div", { class: "entry-line" }, outcomeChip(each.outcome), h("a", { href: `#/events/${each.id}` }, words.eventName(each.event)), h("span", { class: "entry-when" }, time(each.received_at))),
        h("p", words.failure(each) || words.replyWords(each.reply), "."))));
      if (list.childElementCount) fill(place, list, more);
      else fill(place, empty("No events", "Identity has sent none about this person, or they were removed since."));
      fill(more, found.next && button("Load more", { onClick: () => next(found.next) }));
    } catch (error) {
      if (!signal.aborted && error.kind !== "over") fill(list.childElementCount ? more : place, failure(error, () => history(place, { path, signal }), signal));
    }
  };
  await next(null);
}
