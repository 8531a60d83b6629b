// Names for ids: events and audit entries name people by id only.

import { get } from "./api.js";
import { h } from "./dom.js";
import { labelOf } from "./words.js";

const known = new Map();
const waiting = [];
let running = 0;

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
