// What people ask for: to be let in, or a role. Decided one by one or several at once.

import { call, get, page } from "../api.js";
import { fill, h } from "../dom.js";
import { ending, roleLines, why } from "../fields.js";
import { remember } from "../names.js";
import { ask, avatar, button, chip, empty, failure, field, notice, pageHead, requestChip, roleChip, segments, skeleton, time, toast } from "../parts.js";
import * as words from "../words.js";
import { by } from "./audit.js";

const STATES = [["open", "Open"], ["declined", "Declined"], ["approved", "Approved"], ["all", "All"]];
const NOTHING = {
  open: ["Nobody waits for you", "People whom the policy lets wait, and requests for roles, show here."],
  declined: ["Nobody was declined", null],
  approved: ["Nothing was approved yet", null],
  all: ["Nobody has asked for anything yet", "People whom the policy lets wait, and requests for roles, show here."],
};

export function show(place, { query, signal, me, title, countOpen }) {
  title("Requests");
  const state = STATES.some(([key]) => key === query.get("state")) ? query.get("state") : "open";
  const view = { signal, me, countOpen, state, rows: [], list: h("ul", { class: "requests" }), refused: h("div", { class: "refused" }), bar: h("div") };
  const box = h("div");
  const more = h("div", { class: "more" });
  place.append(pageHead("Requests", { lead: "People who wait to be let in, and roles that they ask for.",
    actions: segments("Requests shown", STATES, state, (key) => { location.hash = key === "open" ? "#/requests" : `#/requests?state=${key}`; }) }),
  view.refused, view.bar, box, more);
  const next = async (cursor) => {
    fill(cursor ? more : box, cursor ? button("Loading…", { disabled: true }) : skeleton(4));
    try {
      const found = await page("/requests", { state, limit: 20 }, cursor, signal);
      if (signal.aborted) return;
      for (const each of found.items) add(view, each);
      fill(box, view.rows.length ? view.list : empty(...NOTHING[state]));
      fill(more, found.next && button("Load more", { onClick: () => next(found.next) }));
      choice(view);
    } catch (error) {
      if (!signal.aborted && error.kind !== "over") fill(view.rows.length ? more : box, failure(error, () => next(cursor), signal));
    }
  };
  next(null);
}

function add(view, request) {
  const row = { item: h("li", { class: "request card" }), box: null };
  view.rows.push(row);
  view.list.append(row.item);
  draw(view, row, request);
}

/** Show a request as it is now. */
function draw(view, row, request) {
  row.request = request;
  remember(request.user);
  const { user, role, reason, message, state } = request;
  const isOpen = state === "open";
  const name = words.nameOf(user) || words.labelOf(user);
  const canApprove = isOpen || (state === "declined" && role === null && user.status === "waiting");
  row.box = isOpen ? h("input", { type: "checkbox", "aria-label": `Choose ${name}`, on: { change: () => choice(view) } }) : null;
  row.link = h("a", { href: `#/users/${user.id}` }, name);
  row.item.dataset.request = request.id;
  fill(row.item,
    h("div", { class: "request-head" }, row.box,
      h("div", { class: "person" }, avatar(user), h("div", row.link, name !== user.email && h("span", { class: "second" }, user.email))),
      h("div", { class: "request-what" }, role === null ? chip("To be let in", "accent") : ["asks for ", roleChip(role)], !isOpen && requestChip(state), h("span", { class: "faint" }, time(request.created_at)))),
    reason && h("p", { class: "words" }, h("q", reason)),
    h("p", { class: "said-by-policy" }, policyWords(request.policy, role)),
    !isOpen && h("p", { class: "faint" }, state === "approved" ? "Approved by " : "Declined by ", by(request.actor, view.me, view.signal), " · ", time(request.decided_at)),
    state === "declined" && message && h("p", { class: "faint" }, "They read: ", h("q", message)),
    canApprove && h("div", { class: "actions" },
      button("Approve", { kind: isOpen ? "primary small" : "plain small", symbol: "check", "aria-label": `Approve ${name}`, onClick: () => approve(view, [row]) }),
      isOpen && button("Decline", { kind: "plain small", "aria-label": `Decline ${name}`, onClick: () => decline(view, [row]) })));
}

/** What the policy of now says of the person. */
function policyWords(policy, role) {
  if (policy === null) return "The policy fails when it is asked about them. They can be decided even so.";
  const why = policy.reasons.filter((each) => !each.rule.startsWith("role.")).at(-1);
  const entry = policy.waiting ? "lets them wait" : policy.admitted ? "would let them in" : "would refuse them";
  const roles = role === null && policy.admitted && [policy.roles.length ? [" Let in, they get ", policy.roles.map(roleChip)] : " Let in, they get no role."];
  if (role !== null && policy.roles.includes(role)) return ["The policy gives ", roleChip(role), " to them by itself, at their next login."];
  if (role !== null) return ["No rule of the policy gives them ", roleChip(role)];
  return [`The policy ${entry}`, why && `: ${why.text}`, ".", roles];
}

/** The bar for several at once. */
function choice(view) {
  const open = view.rows.filter((row) => row.box);
  const chosen = open.filter((row) => row.box.checked);
  if (!view.bar.firstChild) {
    const all = h("input", { type: "checkbox", id: "choose-all", on: { change: () => {
      for (const row of view.rows) if (row.box) row.box.checked = all.checked;
      choice(view);
    } } });
    view.chooser = { all, count: h("span", { role: "status" }),
      approve: button("Approve", { kind: "plain small", "aria-label": "Approve those chosen", onClick: () => approve(view, view.chooser.rows) }),
      decline: button("Decline", { kind: "plain small", "aria-label": "Decline those chosen", onClick: () => decline(view, view.chooser.rows) }) };
    view.bar.append(h("div", { class: "choice" }, all, h("label", { for: "choose-all" }, "Choose all shown"), view.chooser.count, view.chooser.approve, view.chooser.decline));
  }
  view.bar.hidden = open.length < 2;
  view.chooser.rows = chosen;
  view.chooser.all.checked = chosen.length > 0 && chosen.length === open.length;
  view.chooser.all.indeterminate = chosen.length > 0 && chosen.length < open.length;
  view.chooser.count.textContent = chosen.length ? `${chosen.length} chosen` : "";
  view.chooser.approve.hidden = view.chooser.decline.hidden = chosen.length === 0;
}

const who = (rows) => (rows.length === 1 ? words.labelOf(rows[0].request.user) : `${rows.length} people`);

async function approve(view, rows) {
  const [only] = rows.length === 1 ? rows : [];
  const asked = only?.request.role ?? "";
  const policy = only?.request.policy?.roles ?? [];
  const hint = !only ? "One a line. Given to each, in the place of a role that is asked for."
    : asked ? "One a line. These are given in the place of what is asked for."
      : `One a line. Given besides what the policy gives${policy.length ? `: ${words.listed(policy)}` : ""}.`;
  const roles = await roleLines({ hint, value: asked, signal: view.signal });
  if (view.signal.aborted) return;
  const end = ending({ label: "The roles end", hint: "Leave it empty for roles that do not end by themselves." });
  await decide(view, rows, "approve", {
    title: asked ? `Give ${asked} to ${who(rows)}?` : `Approve ${who(rows)}?`,
    content: h("p", asked ? "The role reaches their token when that is next refreshed." : "They are in at once, with the policy’s roles of now. Identity is told."),
    fields: [roles, roles.offered, end, end.quick, why("Met at the spring meeting")],
    action: "Approve",
    check: () => end.isRight(),
    body: (values) => ({ roles: roles.roles(), reason: values.reason, expires_at: end.moment() }),
  });
}

async function decline(view, rows) {
  const message = field({ label: "Sentence for the person", name: "message", rows: 2, maxlength: 500, hint: "They read it on their own page. Without one: An administrator declined this request." });
  await decide(view, rows, "decline", {
    title: `Decline ${who(rows)}?`,
    kind: "danger",
    content: h("ul", { class: "effects" }, h("li", "Somebody who waits goes on waiting, without roles. They can still be approved later."), h("li", "A role that is asked for is not given. They can ask again.")),
    fields: [message, why("")],
    action: "Decline",
    body: (values) => ({ message: values.message, reason: values.reason }),
  });
}

/** Decide some requests, one after the other. Those that another administrator decided first are told, and shown as they are now. */
async function decide(view, rows, verb, { body, ...question }) {
  const left = [...rows];
  const refused = [];
  let done = 0;
  fill(view.refused);
  await ask({
    ...question,
    run: async (values) => {
      while (left.length) {
        const [row] = left;
        try {
          draw(view, row, (await call("POST", `/requests/${row.request.id}/${verb}`, { body: body(values) })).data);
          done += 1;
        } catch (error) {
          if (!["conflict", "missing"].includes(error.kind)) throw error;
          refused.push({ row, error });
        }
        left.shift();
      }
    },
  });
  if (view.signal.aborted) return;
  for (const { row } of refused) await mend(view, row);
  if (refused.length) {
    fill(view.refused, notice("bad", refused.length === 1 ? "One was not changed" : `${refused.length} were not changed`,
      h("ul", refused.map(({ row, error }) => h("li", h("strong", words.labelOf(row.request.user)), ": ", words.explain(error).text)))));
  }
  if (done) toast(`${done === 1 ? who([rows.find((row) => !refused.some((each) => each.row === row))]) : `${done} requests`} ${verb === "approve" ? "approved" : "declined"}.`);
  if (done || refused.length) {
    choice(view);
    view.countOpen();
    rows[0].link.focus();
  }
}

/** Show a request as the server has it; one that is there no more goes. */
async function mend(view, row) {
  try {
    draw(view, row, (await get(`/requests/${row.request.id}`, undefined, view.signal)).data);
  } catch (error) {
    if (error.kind !== "missing") return;
    view.rows.splice(view.rows.indexOf(row), 1);
    row.item.remove();
  }
}
