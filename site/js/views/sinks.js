// Sinks: receivers of changes by webhook, added, tried, paused, given another secret, removed.

import { call, get } from "../api.js";
import { fill, h } from "../dom.js";
import { choices, why } from "../fields.js";
import { showOnce } from "../once.js";
import { ask, button, chip, empty, field, load, notice, pageHead, problem, skeleton, subpages, time, toast } from "../parts.js";
import * as words from "../words.js";
import { by } from "./audit.js";
import { PAGES } from "./outbox.js";

const EVERY = "*";
const GONE = "Somebody else has removed this sink.";

export function show(place, { signal, me, title }) {
  title("Sinks");
  const view = { signal, me, made: h("div", { class: "made" }), box: h("div") };
  fill(place, pageHead("Connect", { lead: "Addresses that are told of each change by a signed webhook.",
    actions: button("Add a sink", { kind: "primary", symbol: "plus", onClick: () => add(view) }) }),
  subpages("Connect", PAGES, "#/connect/sinks"), view.made, view.box);
  list(view);
}

const list = (view) => load(view.box, async () => (await get("/sinks", undefined, view.signal)).data.sinks, (sinks) => sinks.length
  ? h("ul", { class: "items card" }, sinks.map((sink) => {
    const item = h("li", { class: "item", "data-sink": sink.id });
    draw(view, item, sink);
    return item;
  }))
  : empty("No sinks yet", "Add the address of a program that should know when somebody signs up, is given a role or is deleted."), { signal: view.signal, bones: skeleton(4) });

/** Show a sink as it is now. */
function draw(view, item, sink) {
  const paused = sink.state === "paused";
  const sent = sink.full ? "with personal data" : "by ids alone";
  const tried = h("div", { "aria-live": "polite" });
  const act = (label, onClick) => button(label, { kind: "quiet small", "aria-label": `${label}: ${words.short(sink.url)}`, onClick });
  const test = act("Test", () => trial(view, test, tried, sink));
  const pause = paused ? act("Resume", () => resume(view, item, tried, sink)) : act("Pause", () => hold(view, item, sink));
  fill(item,
    h("div", { class: "item-head" }, h("h2", { tabindex: "-1" }, sink.url), chip(paused ? "Paused" : "Active", paused ? "warn" : "good", { dot: true })),
    h("p", { class: "entry-line" }, sink.changes.includes(EVERY) ? `Every change, ${sent}` : [h("span", { class: "chips" }, sink.changes.map((kind) => chip(kind))), h("span", sent)]),
    h("p", { class: "faint" }, "Added ", time(sink.created_at), " by ", by(sink.created_by, view.me, view.signal),
      sink.old_secret_until && [" · the secret from before signs, too, until ", time(sink.old_secret_until, { absolute: true })]),
    paused && h("p", "Paused ", time(sink.paused_at), sink.paused_by === `sink:${sink.id}` ? ", because the receiver answered that it is gone" : [" by ", by(sink.paused_by, view.me, view.signal)], ". The changes wait."),
    h("div", { class: "actions" }, test, pause, act("New secret", () => rotate(view, item, sink)), act("Remove", () => remove(view, item, sink))),
    tried);
}

/** Show what an act has made of a sink, and go on from there. */
function become(view, item, sink, said) {
  if (view.signal.aborted) return;
  toast(said);
  draw(view, item, sink);
  item.querySelector("h2").focus();
}

const ownSecret = () => field({ label: "A secret of your own", name: "secret", maxlength: 120, autocomplete: "off", spellcheck: "false", autocapitalize: "none", hint: "whsec_ and base64 of 24 to 64 bytes. Empty: Usher makes one." });

async function add(view) {
  const url = field({ label: "Address", name: "url", type: "url", required: true, maxlength: 2000, autocomplete: "off", placeholder: "https://crm.example.com/hooks/usher" });
  const kinds = choices({ label: "Changes", name: "changes", options: [[EVERY, "Every change", "Of kinds that are yet to come, too."], ...Object.entries(words.KINDS).map(([kind, text]) => [kind, text, kind === "event.denied" ? "event.denied, where USHER_DENIED_CHANGES is on" : kind])], chosen: [EVERY], className: "in-line" });
  const [every] = kinds.querySelectorAll("input");
  const only = () => {
    for (const box of kinds.querySelectorAll("input")) if (box !== every) box.disabled = every.checked;
  };
  every.addEventListener("change", only);
  only();
  const full = field({ label: "Send personal data, too", name: "full", type: "checkbox", hint: "The person, what differs, who did it and why. Else ids, kinds and roles alone." });
  const secret = ownSecret();
  let made = null;
  const done = await ask({
    title: "Add a sink",
    content: h("p", "It is told of what happens from now on."),
    fields: [url, kinds, full, secret],
    action: "Add it",
    check: () => kinds.isRight(),
    run: async (values) => {
      const changes = every.checked ? [EVERY] : kinds.values();
      made = (await call("POST", "/sinks", { body: { url: values.url.trim(), changes, full: full.input.checked, secret: values.secret.trim() } })).data;
    },
  });
  if (!done || view.signal.aborted) return;
  list(view);
  reveal(view, made);
}

/** The secret, for the receiver. */
function reveal(view, sink) {
  showOnce(view.made, {
    title: `The secret of ${words.short(sink.url)}`, label: "Secret", thing: "the secret", text: sink.secret,
    warning: "The receiver checks with it that a webhook is yours. Copy it there before you leave this page: nobody can read it here again.",
  });
}

async function trial(view, go, place, sink) {
  go.disabled = true;
  fill(place, skeleton(1));
  try {
    const { data: { delivered, status, problem: wrong, elapsed_ms: elapsed } } = await call("POST", `/sinks/${sink.id}/test`, { signal: view.signal });
    fill(place, notice(delivered ? "good" : "bad", delivered ? "The receiver took it" : "The receiver did not take it",
      h("p", delivered ? `Status ${status}, after ${words.number(elapsed)} ms.` : words.sentence(wrong))));
  } catch (error) {
    await explain(view, place, error);
  } finally {
    go.disabled = false;
  }
}

async function hold(view, item, sink) {
  let now = sink;
  const done = await askOf(view, {
    title: `Pause ${words.short(sink.url)}?`,
    content: h("ul", { class: "effects" }, h("li", "Changes wait, and are sent once you resume it."), h("li", "After 30 days they are no longer kept for it.")),
    fields: [why("The receiver is being moved")],
    action: "Pause",
    run: async (values) => {
      now = (await call("POST", `/sinks/${sink.id}/pause`, { body: { reason: values.reason } })).data;
    },
  });
  if (done) become(view, item, now, "The sink is paused.");
}

async function resume(view, item, place, sink) {
  try {
    become(view, item, (await call("POST", `/sinks/${sink.id}/resume`)).data, "What waits is sent again.");
  } catch (error) {
    await explain(view, place, error);
  }
}

async function rotate(view, item, sink) {
  const secret = ownSecret();
  const atOnce = field({ label: "End the secret from before at once", name: "now", type: "checkbox", hint: "For one that leaked. Else both sign for a day, so that the receiver can change at leisure." });
  let made = null;
  const done = await askOf(view, {
    title: "Give it a new secret?",
    content: h("p", "For ", h("strong", words.short(sink.url)), "."),
    fields: [secret, atOnce],
    action: "Give it a new secret",
    run: async (values) => {
      made = (await call("POST", `/sinks/${sink.id}/rotate`, { body: { secret: values.secret.trim(), now: atOnce.input.checked } })).data;
    },
  });
  if (!done) return;
  draw(view, item, made);
  reveal(view, made);
}

async function remove(view, item, sink) {
  const done = await askOf(view, {
    title: `Remove ${words.short(sink.url)}?`,
    kind: "danger",
    content: h("ul", { class: "effects" }, h("li", "Nothing more is sent to it."), h("li", "What waits for it is dropped."), h("li", h("strong", "This cannot be undone."))),
    action: "Remove",
    run: () => call("DELETE", `/sinks/${sink.id}`),
  });
  if (done) await listAgain(view, "The sink is removed.");
}

/** `ask` about a sink that another administrator may have removed meanwhile. */
async function askOf(view, question) {
  let gone = false;
  const done = await ask({ ...question, onError: (error) => {
    gone = error.kind === "missing";
    return gone;
  } });
  if (view.signal.aborted) return false;
  if (gone) await listAgain(view, GONE);
  return done;
}

/** Show an error beside its sink, where that is there still. */
async function explain(view, place, error) {
  if (view.signal.aborted || error.kind === "over") return;
  if (error.kind === "missing") await listAgain(view, GONE);
  else fill(place, problem(error));
}

async function listAgain(view, said) {
  toast(said);
  document.querySelector("#main h1").focus();
  await list(view);
}
