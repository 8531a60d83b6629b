// One event: its body, the answer and its reasons, and the decision it would get now.

import { call, get } from "../api.js";
import { fill, h } from "../dom.js";
import { person } from "../names.js";
import { button, card, chip, code, copyable, facts, load, notice, outcomeChip, pageHead, problem, skeleton, time } from "../parts.js";
import * as words from "../words.js";
import { ledTo } from "./led.js";

export function show(place, { id, signal, title }) {
  title("Event");
  const box = h("div");
  fill(place, box);
  const path = `/events/${encodeURIComponent(id)}`;
  load(box, async () => (await get(path, undefined, signal)).data, (event) => {
    title(words.eventName(event.event));
    return page(event, path, signal);
  }, { signal, bones: [skeleton(1, "head"), skeleton(6)] });
}

function page(event, path, signal) {
  const newcomer = words.isNewcomer(event);
  const address = words.parsed(event.body ?? "")?.user?.email;
  return h("div", {},
    pageHead(words.eventName(event.event), {
      back: { href: "#/events", label: "Events" },
      lead: [outcomeChip(event.outcome), " ", h("span", words.replyWords(event.reply), ".")],
    }),
    h("div", { class: "columns" },
      h("div", { class: "stack" },
        event.outcome === "failed"
          ? card("What failed", { note: "The error, and the line of your own code that it came from. The command usher policy explain shows the whole traceback." }, reasons(event.reasons))
          : card("Why", { note: "The rules that made this decision, in order." }, reasons(event.reasons)),
        card("What it led to", { note: "The changes, and who does not have them yet." }, ledTo(event.led_to, event.user_id, signal)),
        replay(path, signal),
        card("What Identity sent", {}, event.body === null
          ? h("p", { class: "faint" }, "The body was erased, because the person was deleted or the ledger was pruned.")
          : code(words.pretty(event.body), "Body of the event")),
        card("What was answered", { note: `Status ${event.reply.status}.` }, event.reply.body
          ? code(words.pretty(event.reply.body), "Body of the answer") : h("p", { class: "faint" }, "No body."))),
      card("Delivery", {}, facts([
        ["Person", event.user_id && !newcomer ? person(event.user_id, signal) : typeof address === "string" ? address : null],
        ["Received", time(event.received_at, { absolute: true })],
        ["Issued", time(event.issued_at, { absolute: true })],
        ["At", h("span", { class: "mono" }, event.path)],
        ["Origin", { live: "Sent by Identity", trigger: "Made by usher trigger", effects: "Played back, with effects" }[event.origin] ?? "Played back"],
        ["Policy", h("span", { class: "mono" }, event.policy || "none was asked")],
        ["Signed with", signer(event.key_index)],
        ["Number", words.number(event.sequence)],
        ["Id", copyable(event.id, "the id")],
      ]))));
}

function signer(index) {
  if (index < 0) return "no secret of ours: it was imported";
  return index === 0 ? "the newest secret" : `secret ${index + 1}`;
}

function reasons(list, others = null) {
  if (!list.length) return h("p", { class: "faint" }, "No rule took part.");
  return h("ol", { class: "reasons" }, list.map(({ rule, text }) => {
    const isNew = others && !others.some((each) => each.rule === rule && each.text === text);
    return h("li", { class: isNew ? "differs" : "" }, h("span", { class: "reason-text" }, rule.startsWith("error") ? text : words.sentence(text)),
      h("span", { class: "reason-rule" }, words.ruleName(rule), " ", h("code", rule), isNew && chip("only here", "accent")));
  }));
}

function replay(path, signal) {
  const box = h("div", { "aria-live": "polite" });
  const go = button("Replay, changing nothing", { symbol: "replay", onClick: async () => {
    go.disabled = true;
    fill(box, skeleton(3));
    try {
      const { data } = await call("POST", `${path}/replay`, { body: { dry_run: true }, signal });
      fill(box, compared(data));
      go.querySelector("span").textContent = "Replay again";
    } catch (error) {
      if (signal.aborted || error.kind === "over") return;
      fill(box, error.code === "event_unreadable"
        ? notice("warn", "It cannot be replayed", h("p", "Its body was erased, or is not an event that can be read.")) : problem(error));
    } finally {
      go.disabled = false;
    }
  } });
  return card("If it came again now", { note: "Decided by today’s policy and record, beside what was recorded.", actions: go }, box);
}

function compared({ recorded, now, differs }) {
  const same = !differs && recorded.outcome === now.outcome;
  const side = (title, decision, other) => h("section", { class: "side-by-side" }, h("h3", title),
    h("p", outcomeChip(decision.outcome), " ", words.replyWords(decision.reply), "."), reasons(decision.reasons, other.reasons));
  return [
    notice(differs ? "warn" : "good", differs ? "The answer would be another" : "The answer would be the same",
      h("p", same ? "Nothing was changed by looking." : differs ? "Nothing was changed by looking. The lines that differ are marked." : `The outcome would be “${words.OUTCOMES[now.outcome] ?? now.outcome}”, since its effect is on record already.`)),
    h("div", { class: "compare" }, side("Recorded", recorded, now), side("Now", now, recorded)),
    differs && h("div", {}, h("h3", "The two answers"), lineDifference(answer(recorded.reply), answer(now.reply))),
  ];
}

const answer = (reply) => [`status ${reply.status}`, ...(reply.body ? words.pretty(reply.body).split("\n") : [])];

/** A diff of two texts by lines: kept, removed, added (longest common subsequence). */
function lineDifference(left, right) {
  const rows = Array.from({ length: left.length + 1 }, () => new Array(right.length + 1).fill(0));
  for (let i = left.length - 1; i >= 0; i -= 1) {
    for (let j = right.length - 1; j >= 0; j -= 1) {
      rows[i][j] = left[i] === right[j] ? rows[i + 1][j + 1] + 1 : Math.max(rows[i + 1][j], rows[i][j + 1]);
    }
  }
  const lines = [];
  let [i, j] = [0, 0];
  while (i < left.length || j < right.length) {
    if (i < left.length && j < right.length && left[i] === right[j]) lines.push(["same", "  ", left[(i += 1) - 1], (j += 1)]);
    else if (j >= right.length || (i < left.length && rows[i + 1][j] >= rows[i][j + 1])) lines.push(["gone", "− ", left[(i += 1) - 1]]);
    else lines.push(["new", "+ ", right[(j += 1) - 1]]);
  }
  const spoken = { gone: "taken out: ", new: "put in: " };
  return h("pre", { class: "code difference", tabindex: "0", role: "region", "aria-label": "Difference of the answers" },
    lines.map(([kind, sign, text]) => h("span", { class: `line ${kind}` },
      h("span", { "aria-hidden": "true" }, sign), spoken[kind] && h("span", { class: "hidden-text" }, spoken[kind]), `${text}\n`)));
}
