// Counts of users, and events by day.

import { get } from "../api.js";
import { fill, h } from "../dom.js";
import { card, empty, load, notice, pageHead, segments, skeleton } from "../parts.js";
import { day, perDay, shares } from "../plot.js";
import * as words from "../words.js";

const SPANS = [["7", "7 days"], ["30", "30 days"], ["90", "90 days"]];
const PLOTS = [
  ["Sign-ups", "good", (each) => each.event === "signup" && ["applied", "unchanged"].includes(each.outcome)],
  ["Logins", "accent", (each) => each.event === "login" && ["applied", "unchanged"].includes(each.outcome)],
  ["Denials", "bad", (each) => each.outcome === "denied"],
  ["Failures", "bad", (each) => each.outcome === "failed"],
];
const STATUS_TONES = { active: "good", waiting: "warn", pending: "warn", suspended: "bad", deleted: "mute" };

export function show(place, { query, signal, title }) {
  title("Overview");
  const box = h("div");
  const undelivered = h("div", { class: "undelivered" });
  const days = SPANS.some(([key]) => key === query.get("days")) ? query.get("days") : "30";
  const draw = (span) => load(box, async () => (await get("/stats", { days: span }, signal)).data, (stats) => page(stats, Number(span)),
    { signal, bones: [skeleton(5, "tiles"), skeleton(4, "plots"), skeleton(3, "plots")] });
  place.append(pageHead("Overview", {
    lead: "Who is here, and what Identity told us.",
    actions: segments("Days shown", SPANS, days, (span) => {
      history.replaceState(null, "", `#/overview?days=${span}`);
      draw(span);
    }),
  }), undelivered, box);
  draw(days);
  tellDead(undelivered, signal);
}

/** Changes that were given up are told here: most people look at the outbox only then. */
async function tellDead(place, signal) {
  try {
    const { data: { consumers } } = await get("/outbox", { limit: 1 }, signal);
    const dead = total(consumers.map((each) => each.dead));
    if (signal.aborted || !dead) return;
    fill(place, notice("warn", dead === 1 ? "1 dead letter" : `${words.number(dead)} dead letters`,
      h("p", "Changes that your own code or a sink did not take in three days. ", h("a", { href: "#/connect?state=dead" }, "Show them"))));
  } catch {
    // The outbox itself says what is wrong.
  }
}

function page(stats, span) {
  const status = (name) => stats.by_status[name] ?? 0;
  if (!stats.users && !stats.events.length) {
    return empty("Nobody is here yet", "As soon as somebody signs up, Identity sends an event, and it shows here.");
  }
  const days = lastDays(span);
  const counted = PLOTS.map(([name, tone, fits]) => ({ name, tone, days, counts: perDays(stats.events.filter(fits), days) }));
  return h("div", { class: "stack" },
    h("ul", { class: "tiles" },
      tile("People", stats.users, "#/users"),
      tile("Active", status("active"), "#/users?status=active", "good"),
      tile("Waiting", status("waiting"), "#/users?status=waiting", "warn"),
      tile("Pending", status("pending"), "#/users?status=pending", "warn"),
      tile("Suspended", status("suspended"), "#/users?status=suspended", "bad"),
      tile("Failures", total(counted.at(-1).counts), "#/events?outcome=failed", "bad")),
    card("Day by day", { note: `Events received in the last ${span} days, by UTC day.` },
      h("div", { class: "plots" }, counted.map(perDay)),
      numbers(counted, days)),
    h("div", { class: "thirds" },
      card("By role", { note: "One person may have several." }, bars(stats.by_role, "role", stats.users)),
      card("By provider", { note: "How they sign in." }, bars(stats.by_provider, "provider", stats.users)),
      card("By status", { note: "Deleted records keep only their id." }, shares(
        Object.keys(words.STATUSES).filter((name) => status(name)).map((name) => ({
          name: words.STATUSES[name], count: status(name), href: `#/users?status=${name}`, tone: STATUS_TONES[name],
        }))))));
}

const total = (counts) => counts.reduce((sum, each) => sum + each, 0);

function tile(name, count, href, tone = "") {
  return h("li", h("a", { class: `tile ${tone}`, href }, h("span", { class: "tile-name" }, name), h("span", { class: "tile-count" }, words.number(count))));
}

function bars(counts, parameter, total) {
  const rows = Object.entries(counts).sort(([, a], [, b]) => b - a).slice(0, 12);
  if (!rows.length) return h("p", { class: "faint" }, "None.");
  return shares(rows.map(([name, count]) => ({
    name: name || "unknown", count, href: name ? `#/users?${new URLSearchParams({ [parameter]: name })}` : undefined,
  })), { total });
}

function numbers(counted, days) {
  const box = h("div");
  const shown = h("details", { class: "as-table" }, h("summary", "The numbers as a table"), box);
  shown.addEventListener("toggle", () => fill(box, shown.open && h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Numbers by day" },
    h("table", { class: "plain-table" },
      h("caption", { class: "hidden-text" }, "Sign-ups, logins, denials and failures by day"),
      h("thead", h("tr", h("th", { scope: "col" }, "Day (UTC)"), counted.map((each) => h("th", { scope: "col" }, each.name)))),
      h("tbody", days.map((_, n) => days.length - 1 - n).map((n) => h("tr", h("th", { scope: "row" }, day(days[n])),
        counted.map((each) => h("td", words.number(each.counts[n]))))))))));
  return shown;
}

function lastDays(span) {
  return Array.from({ length: span }, (_, n) => new Date(Date.now() - (span - 1 - n) * 86_400_000).toISOString().slice(0, 10));
}

function perDays(events, days) {
  const counts = new Map(days.map((each) => [each, 0]));
  for (const each of events) if (counts.has(each.day)) counts.set(each.day, counts.get(each.day) + each.count);
  return [...counts.values()];
}
