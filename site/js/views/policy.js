// The rules in words, and their verdict on an address.

import { call, get } from "../api.js";
import { fill, h, icon } from "../dom.js";
import { button, card, code, field, load, notice, pageHead, problem, roleChip, skeleton } from "../parts.js";
import * as words from "../words.js";

const KINDS = [[/^Refuses/, "ban", "bad"], [/^Admits/, "door", "good"], [/^Gives/, "give", "accent"], [/^Adds/, "plus", "mute"]];

export function show(place, { signal, title }) {
  title("Policy");
  const rules = h("div");
  fill(place, pageHead("Policy", { lead: "Who may enter, and with which roles." }),
    h("div", { class: "halves" }, card("The rules", { note: "Admission is asked in this order, and the first that fits decides. Of the roles, every rule is looked at." }, rules), trial(signal)));
  load(rules, async () => (await get("/policy", undefined, signal)).data, ruleList, { signal, bones: skeleton(5) });
}

function ruleList({ fingerprint, rules, rejected }) {
  return h("div", {},
    rejected && notice("bad", "The file of now is not in force", h("p", rejected), h("p", "The rules below are those before. Mend the file, then run ", h("code", "usher policy reload"), ".")),
    h("ol", { class: "rules" }, rules.map((text) => {
      const [, symbol, tone] = KINDS.find(([pattern]) => pattern.test(text)) ?? [null, "policy", "mute"];
      return h("li", { class: tone }, icon(symbol), h("span", text));
    })),
    h("p", { class: "hint" }, "Fingerprint ", h("code", fingerprint), ". It is kept with every decision. After a change of the file, run ", h("code", "usher policy reload"), "; usher dev takes it up by itself."));
}

function trial(signal) {
  const email = field({ label: "E-mail", name: "email", type: "text", inputmode: "email", required: true, maxlength: 320, autocomplete: "off", spellcheck: "false", autocapitalize: "none", placeholder: "ada@example.com" });
  const provider = field({ label: "Provider", name: "provider", value: "email", maxlength: 100, list: ["email", "google", "github", "gitlab", "bitbucket"], autocomplete: "off", autocapitalize: "none" });
  const event = field({ label: "Event", name: "event", value: "signup", options: [["signup", "Sign-up: the account is confirmed"], ["validate", "Validation: somebody asks for an account"]] });
  const proven = field({ label: "The address is proven", name: "proven", type: "checkbox", value: true, hint: "Somebody has shown that they reach it, or their provider vouches for it." });
  const go = button("Try it", { kind: "primary", type: "submit" });
  const box = h("div", { class: "verdict-place", "aria-live": "polite" });
  event.input.addEventListener("change", () => {
    const early = event.input.value === "validate"; // nothing can be proven yet
    proven.input.disabled = early;
    if (early) proven.input.checked = false;
  });
  const form = h("form", { class: "stack", on: { submit: async (submitted) => {
    submitted.preventDefault();
    go.disabled = true;
    fill(box, skeleton(3));
    const body = { email: email.input.value.trim(), provider: provider.input.value.trim(), proven: proven.input.checked, event: event.input.value };
    try {
      const { data } = await call("POST", "/policy/explain", { body, signal });
      fill(box, verdict(body, data));
    } catch (error) {
      if (!signal.aborted && error.kind !== "over") fill(box, problem(error));
    } finally {
      go.disabled = false;
    }
  } } }, email, h("div", { class: "pair" }, provider, event), proven, h("div", { class: "actions" }, go));
  return card("Try an address", { note: "As if somebody new came with it. Nothing is changed, and nothing is kept." }, form, box);
}

function verdict(asked, { admitted, message, roles, app_metadata: added, reasons }) {
  return h("div", { class: "verdict" },
    notice(admitted ? "good" : "bad", admitted ? "Admitted" : "Refused",
      h("p", h("strong", asked.email), admitted
        ? asked.event === "validate" ? " may go on; the roles follow with the sign-up." : roles.length ? ["  gets ", roles.map(roleChip)] : " gets no role."
        : [" is told: ", h("q", message)])),
    h("h3", "Why"),
    h("ol", { class: "reasons" }, reasons.filter((each) => admitted || !/^role\./.test(each.rule)).map(({ rule, text }) => h("li",
      h("span", { class: "reason-text" }, words.sentence(text)), h("span", { class: "reason-rule" }, words.ruleName(rule), " ", h("code", rule))))),
    admitted && Object.keys(added).length > 0 && [h("h3", "Added to app_metadata"), code(words.pretty(added), "Added to app_metadata")]);
}
