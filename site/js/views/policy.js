// The rules in words, and their verdict on an address.

import { call, get } from "../api.js";
import { fill, h, icon } from "../dom.js";
import { button, card, chip, code, field, load, notice, pageHead, problem, roleChip, skeleton, subpages } from "../parts.js";
import * as words from "../words.js";

export const PAGES = [["#/policy", "In force"], ["#/policy/next", "Next policy"], ["#/policy/codes", "Codes"]];
const KINDS = [[/^Refuses/, "ban", "bad"], [/^Admits/, "door", "good"], [/^(Asks|Lets everyone else wait)/, "requests", "warn"], [/^Gives/, "give", "accent"], [/^Adds/, "plus", "mute"]];

export function show(place, { signal, title }) {
  title("Policy");
  const rules = h("div", { class: "stack" });
  fill(place, pageHead("Policy", { lead: "Who may enter, and with which roles." }), subpages("Policy", PAGES, "#/policy"),
    h("div", { class: "halves" }, rules, trial(signal)));
  load(rules, async () => (await get("/policy", undefined, signal)).data, inForce, { signal, bones: skeleton(5) });
}

function inForce({ rejected, tests, ...policy }) {
  return h("div", { class: "stack" },
    rejected && notice("bad", "The file of now is not in force", h("p", rejected), h("p", "The rules below are those before. Mend the file, then run ", h("code", "usher policy reload"), ".")),
    card("The rules", { note: "Admission is asked in this order, and the first that fits decides. Of the roles, every rule is looked at." }, ruleList(policy)),
    testCard(tests));
}

/** The policy's own tests, those that fail first. */
function testCard(tests) {
  const failed = tests.filter((each) => !each.passed);
  const note = !tests.length ? "The file has none yet." : failed.length ? `${failed.length} of ${tests.length} fail. A reload would be refused.` : tests.length === 1 ? "It passes." : `All ${tests.length} pass.`;
  return card("Its own tests", { note }, tests.length
    ? h("ul", { class: "tests" }, [...failed, ...tests.filter((each) => each.passed)].map(testItem))
    : h("p", { class: "faint" }, "A ", h("code", "[[test]]"), " in the file says what becomes of somebody. A change that breaks one is not put in force."));
}

function testItem({ passed, sentence, reasons }) {
  return h("li", { class: passed ? "good" : "bad" }, icon(passed ? "check" : "close"),
    h("div", h("p", chip(passed ? "Passes" : "Fails", passed ? "good" : "bad"), " ", sentence.replace("[[test]] number ", "Test ")),
      h("details", { open: !passed }, h("summary", "Why"), reasonList(reasons))));
}

function ruleList({ fingerprint, rules }) {
  return h("div", {},
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
  const invited = field({ label: "An administrator invited them", name: "invited", type: "checkbox" });
  const at = field({ label: "When", name: "at", type: "datetime-local", hint: "Empty: now. Rules may hold for a time." });
  const given = field({ label: "Invitation code", name: "code", value: "", options: [["", "None"], ["valid", "One that can be used"], ["invalid", "One that cannot"]] });
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
    const body = { email: email.input.value.trim(), provider: provider.input.value.trim(), proven: proven.input.checked, event: event.input.value, invited: invited.input.checked };
    if (given.input.value) body.code = given.input.value;
    if (at.input.value) body.at = new Date(at.input.value).toISOString();
    try {
      const { data } = await call("POST", "/policy/explain", { body, signal });
      fill(box, verdict(body, data));
    } catch (error) {
      if (!signal.aborted && error.kind !== "over") fill(box, problem(error));
    } finally {
      go.disabled = false;
    }
  } } }, email, h("div", { class: "pair" }, provider, event), proven, invited, h("div", { class: "pair" }, given, at), h("div", { class: "actions" }, go));
  return card("Try an address", { note: "As if somebody new came with it. Nothing is changed, and nothing is kept." }, form, box);
}

function verdict(asked, { admitted, waiting, message, roles, ends, app_metadata: added, reasons }) {
  const [kind, title] = !admitted ? ["bad", "Refused"] : waiting ? ["warn", "Waiting"] : ["good", "Admitted"];
  const given = roles.map((role) => [roleChip(role), ends[role] && ` until ${words.date(ends[role])} `]);
  return h("div", { class: "verdict" },
    notice(kind, title,
      h("p", h("strong", asked.email), !admitted ? [" is told: ", h("q", message)]
        : waiting ? [" waits for an administrator’s approval", roles.length ? [", and would then get ", given] : "."]
          : asked.event === "validate" ? " may go on; the roles follow with the sign-up."
            : roles.length ? [" gets ", given] : " gets no role.")),
    h("h3", "Why"),
    reasonList(reasons.filter((each) => admitted || !/^role\./.test(each.rule))),
    admitted && Object.keys(added).length > 0 && [h("h3", "Added to app_metadata"), code(words.pretty(added), "Added to app_metadata")]);
}

function reasonList(reasons) {
  return h("ol", { class: "reasons" }, reasons.map(({ rule, text }) => h("li",
    h("span", { class: "reason-text" }, words.sentence(text)), h("span", { class: "reason-rule" }, words.ruleName(rule), " ", h("code", rule)))));
}
