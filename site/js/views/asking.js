// One's own requests: what became of each, and a form for another one.

import { call } from "../api.js";
import { fill, h } from "../dom.js";
import { button, card, field, problem, requestChip, roleChip, time, toast } from "../parts.js";

/** A card with the requests of a person; `again` shows the page anew after a change. */
export function asking({ me, requests, again }) {
  const waits = me.status === "waiting";
  return card("Your requests", { note: waits ? "What administrators read before they decide." : "Ask the administrators of this site for a role." },
    requests.length ? h("ul", { class: "wishes" }, requests.map((each) => wish(each, again))) : null,
    form(waits, requests, again));
}

/** Whether the newest request to be let in was declined. */
export const isDeclined = (requests) => requests.find((each) => each.role === null)?.state === "declined";

function wish({ id, role, reason, state, message, created_at: made, decided_at: decided }, again) {
  const trouble = h("div", { class: "trouble" });
  const back = button("Take back", { kind: "quiet small", "aria-label": `Take back the request for ${role}`, onClick: async () => {
    back.disabled = true;
    try {
      await call("DELETE", `/me/requests/${id}`);
      toast("The request is taken back.");
      again();
    } catch (error) {
      if (error.kind !== "over") fill(trouble, problem(error));
      back.disabled = false;
    }
  } });
  return h("li", { "data-request": id },
    h("div", { class: "role-line" }, role === null ? h("strong", "To be let in") : roleChip(role), requestChip(state), state === "open" && role !== null && back),
    h("p", { class: "faint" }, "Asked ", time(made), decided && [" · decided ", time(decided)]),
    reason && h("p", h("q", reason)),
    state !== "open" && message && h("p", { class: "answer" }, message), trouble);
}

function form(waits, requests, again) {
  const role = waits ? null : field({ label: "Role", name: "role", required: true, maxlength: 100, autocomplete: "off", spellcheck: "false", autocapitalize: "none" });
  const declined = isDeclined(requests);
  const open = waits && !declined && requests.find((each) => each.role === null);
  const reason = field({ label: waits ? "What should they know about you?" : "What do you need it for?", name: "reason", rows: 3, value: open ? open.reason : "", maxlength: 500, required: waits, hint: "Administrators read it. 500 characters at most." });
  const send = button(!waits ? "Ask for the role" : declined ? "Ask again" : "Send", { kind: "primary", type: "submit" });
  const trouble = h("div", { class: "trouble" });
  return h("form", { class: "stack asking", on: { submit: async (event) => {
    event.preventDefault();
    send.disabled = true;
    fill(trouble);
    try {
      await call("POST", "/me/requests", { body: { role: role?.input.value.trim() ?? null, reason: reason.input.value.trim() } });
      toast("The administrators will see your request.");
      again();
    } catch (error) {
      if (error.kind !== "over") fill(trouble, problem(error));
      send.disabled = false;
    }
  } } }, role, reason, trouble, h("div", { class: "actions" }, send));
}
