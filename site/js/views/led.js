// What an event or a person led to: changes, and the consumers that do not have them.

import { h } from "../dom.js";
import { grow } from "../list.js";
import { consumer, consumerName } from "../names.js";
import { chip, empty, roleChip, time } from "../parts.js";
import * as words from "../words.js";
import { address, changeChip } from "./outbox.js";

/** The changes of one event, in order. */
export const ledTo = (changes, user, signal) => (changes.length
  ? h("ol", { class: "timeline" }, changes.map((each) => item(each, user, signal)))
  : h("p", { class: "faint" }, "Nothing changed by it."));

/** The changes of a person, the newest first. */
export function history(place, { path, user, signal }) {
  const [box, more] = [h("div"), h("div", { class: "more" })];
  place.append(box, more);
  return grow({
    path, query: { limit: 20 }, signal, box, more, list: h("ol", { class: "timeline" }),
    item: (each) => item(each, user, signal),
    none: empty("Nothing was handed on", "The audit has no change that your own code would get."),
  });
}

function item({ kind, role, at, told, outstanding }, user, signal) {
  return h("li",
    h("div", { class: "entry-line" }, chip(words.KINDS[kind] ?? kind), role && roleChip(role), h("span", { class: "entry-when" }, time(at))),
    !told && h("p", { class: "faint" }, "Played back, so nobody is told."),
    outstanding.length > 0 && h("ul", { class: "changes led" }, outstanding.map((each) => h("li", { class: "entry-line" },
      changeChip(each.state), consumer(each.consumer, signal),
      each.number !== null && h("a", { href: address({ consumer: each.consumer, user }), "aria-label": `Show: ${words.KINDS[kind] ?? kind} for ${consumerName(each.consumer)}` }, "Show"),
      each.error && h("span", { class: "mono fault" }, each.error)))));
}
