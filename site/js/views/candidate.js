// Another policy, tried on the past or on the records of now, beside the one in force.

import { call } from "../api.js";
import { fill, h } from "../dom.js";
import { person } from "../names.js";
import { button, card, chip, field, notice, pageHead, problem, roleChip, segments, skeleton, subpages, table } from "../parts.js";
import * as words from "../words.js";
import { PAGES } from "./policy.js";
import { shadow } from "./shadow.js";

const ON = [["events", "On past events"], ["records", "On the records of now"]];
const COLUMNS = [{ label: "What" }, { label: "Now" }, { label: "Then" }, { label: "How many" }, { label: "For instance" }];

export function show(place, { signal, title }) {
  title("Policy");
  fill(place, pageHead("Policy", { lead: "What another policy would change, before it is in force." }), subpages("Policy", PAGES, "#/policy/next"),
    h("div", { class: "stack" }, shadow(signal), trial(signal)));
}

function trial(signal) {
  let on = "events";
  const text = field({ label: "The policy to try", name: "policy", rows: 12, hint: "Empty: the file that USHER_POLICY_SHADOW names.", className: "toml", autocomplete: "off", spellcheck: "false", autocapitalize: "none", placeholder: "[admission]\ndefault = \"ask\"" });
  const file = field({ label: "Or take a file", name: "file", type: "file", accept: ".toml,text/plain", hint: "A list that it names by a file of its own cannot be read here: usher policy try can." });
  const go = button("Try it", { kind: "primary", type: "submit" });
  const box = h("div", { class: "trial-result", "aria-live": "polite" });
  file.input.addEventListener("change", async () => {
    const [chosen] = file.input.files;
    if (!chosen) return;
    try {
      text.input.value = await chosen.text();
    } catch {
      file.complain("This file cannot be read.");
    }
  });
  const form = h("form", { class: "stack", on: { submit: async (event) => {
    event.preventDefault();
    go.disabled = true;
    fill(box, skeleton(3));
    try {
      const { data } = await call("POST", "/policy/try", { body: { policy: text.input.value.trim() ? text.input.value : null, on }, signal });
      fill(box, result(data, signal));
    } catch (error) {
      if (!signal.aborted && error.kind !== "over") fill(box, problem(error));
    } finally {
      go.disabled = false;
    }
  } } }, text, file, h("div", { class: "actions" }, segments("Tried on", ON, on, (key) => { on = key; }), go));
  return [
    card("Try a policy", { note: "It is compared with the policy in force. Nothing is changed, and nothing is kept." }, form),
    box,
  ];
}

function result({ on, count, of, users, differences }, signal) {
  const looked = on === "events" ? `${words.number(count)} events of ${words.number(users)} people` : `the records of ${words.number(count)} people`;
  const rest = of > count ? (on === "events" ? `, the newest of about ${words.number(of)}` : `, of ${words.number(of)}`) : "";
  if (!count) return notice("info", on === "events" ? "There is no event yet to try it on" : "There is no record yet to try it on");
  if (!differences.length) return notice("good", "Nothing would come out differently", ` Both policies were asked about ${looked}${rest}.`);
  const { root, body, row } = table("Differences", COLUMNS, { className: "differences" });
  body.append(...differences.map((each) => row([
    whatWords(each.what), sideWords(each.was), sideWords(each.now), words.number(each.count),
    // Those who were refused have no record.
    each.was.startsWith("denied by ") && on === "events" ? h("a", { href: "#/events?outcome=denied" }, "Denied events")
      : h("span", { class: "instances" }, [...new Set(each.examples)].map((id) => person(id, signal))),
  ])));
  return card("What would come out differently", { note: `Both policies were asked about ${looked}${rest}.` }, root,
    h("p", { class: "hint" }, on === "events"
      ? "Both begin with nobody on record, and what administrators did is left out."
      : "Admission is what would become of somebody who signed up now; people who are in stay in. A role is one that they have after their next login."));
}

/** `admission at signup`, `role 'staff'`. */
function whatWords(what) {
  const [, , role] = /^role (['"])(.*)\1$/su.exec(what) ?? [];
  if (role !== undefined) return ["Role ", roleChip(role)];
  const [, event] = /^admission at (\w+)$/.exec(what) ?? [];
  return event ? `Admission at ${words.eventName(event).toLowerCase()}` : words.sentence(what).replace(/\.$/, "");
}

function sideWords(side) {
  const [, rule] = /^denied by (.+)$/s.exec(side) ?? [];
  if (rule) return h("span", { class: "side-words" }, chip("Refused", "bad"), h("code", rule));
  const [text, tone] = { admitted: ["Admitted", "good"], waiting: ["Waiting", "warn"], failed: ["Failed", "bad"], had: ["Has it", "good"], "not had": ["Does not have it", "mute"] }[side] ?? [side, "mute"];
  return chip(text, tone);
}
