// Fields that several dialogs have: a reason, an end, a list of roles.

import { get } from "./api.js";
import { h } from "./dom.js";
import { button, field } from "./parts.js";

const OFFERED = 8;

export const why = (placeholder) => field({ label: "Reason", name: "reason", maxlength: 500, placeholder, autocomplete: "off", hint: "Kept in the audit, for other administrators." });

/** A time in the future, so many `days` away at first, or nothing; `quick` are buttons for the usual ones. */
export function ending({ label = "Ends", name = "end", hint, days: first = 0 }) {
  const end = field({ label, name, type: "datetime-local", hint, value: first ? local(first) : "" });
  const quick = h("div", { class: "quick" }, [["In a week", 7], ["In a month", 30], ["Never", 0]].map(([text, days]) =>
    button(text, { kind: "quiet small", "aria-label": `${label}: ${text.toLowerCase()}`, onClick: () => { end.input.value = days ? local(days) : ""; } })));
  const isRight = () => {
    const late = Boolean(end.input.value) && new Date(end.input.value) <= new Date();
    end.complain(late ? "This lies in the past." : "");
    return !late;
  };
  return Object.assign(end, { quick, isRight, moment: () => (end.input.value ? new Date(end.input.value).toISOString() : null) });
}

/** Roles, one a line, for a name may hold any sign; those in use are offered as buttons. */
export async function roleLines({ hint, value = "", signal }) {
  const lines = field({ label: "Roles", name: "roles", rows: 2, value, hint, autocomplete: "off", spellcheck: "false", autocapitalize: "none" });
  const roles = () => [...new Set(lines.input.value.split("\n").map((each) => each.trim()).filter(Boolean))];
  const known = await knownRoles(signal);
  const offered = known.slice(0, OFFERED).map((role) => button(role, { kind: "quiet small", symbol: "plus", "aria-label": `Add ${role}`, onClick: () => {
    lines.input.value = [...new Set([...roles(), role])].join("\n");
  } }));
  return Object.assign(lines, { roles, offered: h("div", { class: "quick" }, offered) });
}

/** The roles that somebody has or that a rule gives; none where they cannot be asked for, as they can still be typed. */
export async function knownRoles(signal) {
  try {
    return (await get("/roles", undefined, signal)).data.roles.map((each) => each.role);
  } catch {
    return [];
  }
}

function local(days) {
  const then = new Date(Date.now() + days * 86_400_000);
  return new Date(then.getTime() - then.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** Some of a few: a group of checkboxes. `options`: a list of [value, text, hint]. */
export function choices({ label, name, options, chosen = [], className = "" }) {
  const boxes = options.map(([value, text, hint]) => Object.assign(field({ label: text, name, type: "checkbox", value: chosen.includes(value), hint }), { choice: value }));
  const error = h("p", { class: "error", role: "alert", hidden: true });
  const root = h("fieldset", { class: `choices ${className}` }, h("legend", label), boxes, error);
  const values = () => boxes.filter((each) => each.input.checked).map((each) => each.choice);
  const isRight = () => {
    error.textContent = values().length ? "" : "Choose one at least.";
    error.hidden = values().length > 0;
    return values().length > 0;
  };
  root.addEventListener("change", () => !error.hidden && isRight());
  return Object.assign(root, { values, isRight });
}
