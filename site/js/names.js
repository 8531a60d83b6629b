// Names for ids: events and audit entries name people by id only, and the outbox sinks.

import { get } from "./api.js";
import { h } from "./dom.js";
import { labelOf, short } from "./words.js";

const known = new Map();
const waiting = [];
let running = 0;
let sinks = null; // asked for, and not answered yet

export const remember = (user) => known.set(user.id, labelOf(user));
export const forgetAll = () => known.clear();

/** A link to a record; it shows the address once that is known. */
export function person(id, signal) {
  const anchor = h("a", { href: `#/users/${encodeURIComponent(id)}`, class: "person-link" }, known.get(id) ?? id.slice(0, 8));
  if (!known.has(id)) {
    waiting.push({ id, anchor, signal });
    work();
  }
  return anchor;
}

/** `handler:NAME` or `sink:ID`, as short as it can be said at once. */
export function consumerName(name) {
  const [, kind, id] = /^([a-z]+):(.*)$/s.exec(name) ?? [null, "", name];
  return kind === "sink" ? short(known.get(id) ?? `sink ${id.slice(0, 8)}`) : id;
}

/** A consumer; a sink shows its address once that is known. */
export function consumer(name, signal) {
  if (!name.startsWith("sink:")) return h("span", consumerName(name));
  const anchor = h("a", { href: "#/connect/sinks", title: known.get(name.slice(5)) }, consumerName(name));
  if (!known.has(name.slice(5))) nameSink(anchor, name, signal);
  return anchor;
}

async function nameSink(anchor, name, signal) {
  try {
    sinks ??= get("/sinks", undefined, signal);
    for (const sink of (await sinks).data.sinks) known.set(sink.id, sink.url);
    anchor.textContent = consumerName(name);
    anchor.title = known.get(name.slice(5)) ?? "";
  } catch {
    // The id stays.
  } finally {
    sinks = null;
  }
}

async function work() {
  if (running >= 3 || waiting.length === 0) return;
  running += 1;
  const { id, anchor, signal } = waiting.shift();
  try {
    if (!signal?.aborted) {
      if (!known.has(id)) remember((await get(`/users/${id}`, undefined, signal)).data);
      anchor.textContent = known.get(id);
    }
  } catch {
    // The id stays.
  } finally {
    running -= 1;
    work();
  }
}
