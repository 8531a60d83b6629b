// Fields that several dialogs have: a reason, an end, a list of roles.

import { get } from "./api.js";
import { h } from "./dom.js";
import { button, field } from "./parts.js";

const OFFERED = 8;

export const why = (placeholder) => field({ label: "Reason", name: "reason", maxlength: 500, placeholder, autocomplete: "off", hint: "Kept in the audit, for other administrators." });

/** A time in the future, or nothing; `quick` are buttons for the usual ones. */
export function ending({ label = "Ends", name = "end", hint }) {
  const end = field({ label, name, type: "datetime-local", hint });
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
