// The people on record: searched, filtered, sorted, a page at a time.

import { call, get, page } from "../api.js";
import { fill, h } from "../dom.js";
import { remember } from "../names.js";
import { ask, avatar, button, empty, failure, field, pageHead, roleChips, skeleton, statusChip, table, time, toast } from "../parts.js";
import * as words from "../words.js";

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const SORTS = [
  ["created.desc", "Newest first"], ["created.asc", "Oldest first"], ["email.asc", "Address A to Z"],
  ["email.desc", "Address Z to A"], ["last_seen.desc", "Seen last"], ["last_seen.asc", "Not seen longest"],
];
const KEYS = ["email", "status", "role", "provider", "sort"];

export function show(place, { query, signal, title }) {
  title("Users");
  const now = Object.fromEntries(KEYS.map((key) => [key, query.get(key) ?? ""]));
  if (!SORTS.some(([key]) => key === now.sort)) now.sort = "created.desc";
  let run = 0;
  let timer;

  const search = field({ label: "Search", name: "email", type: "search", value: now.email, placeholder: "Beginning of an address, or an id", autocomplete: "off", spellcheck: "false", className: "search" });
  const status = field({ label: "Status", name: "status", value: now.status, options: [["", "Any"], ...Object.entries(words.STATUSES)] });
  const role = field({ label: "Role", name: "role", options: choice(now.role), value: now.role });
  const provider = field({ label: "Provider", name: "provider", options: choice(now.provider), value: now.provider });
  const sort = field({ label: "Order", name: "sort", value: now.sort, options: SORTS });
  const clear = button("Clear filters", { kind: "text", onClick: () => {
    for (const each of [search, status, role, provider]) each.input.value = "";
    apply();
    search.input.focus();
  } });
  const filters = h("form", { class: "filters", role: "search", "aria-label": "Users", on: { submit: (event) => { event.preventDefault(); apply(); } } },
    search, status, role, provider, sort, clear);
  const summary = h("p", { class: "summary", role: "status" });
  const box = h("div");
  const more = h("div", { class: "more" });

  place.append(pageHead("Users", { lead: "Everybody whom Identity told us about.", actions: button("Invite", { kind: "primary", symbol: "plus", onClick: invite }) }),
    filters, summary, box, more);
  search.input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(apply, 250);
  });
  for (const each of [status, role, provider, sort]) each.input.addEventListener("change", apply);
  signal.addEventListener("abort", () => clearTimeout(timer));
  offer();
  list();

  function apply() {
    clearTimeout(timer);
    const text = search.input.value.trim();
    if (UUID.test(text)) {
      location.hash = `#/users/${text.toLowerCase()}`;
      return;
    }
    Object.assign(now, { email: text, status: status.input.value, role: role.input.value, provider: provider.input.value, sort: sort.input.value });
    const kept = Object.entries(now).filter(([key, value]) => value && !(key === "sort" && value === SORTS[0][0]));
    history.replaceState(null, "", `#/users${kept.length ? `?${new URLSearchParams(kept)}` : ""}`);
    list();
  }

  function parameters() {
    const [by, order] = now.sort.split(".");
    return { email: now.email, status: now.status, role: now.role, provider: now.provider, sort: by, order, limit: 40 };
  }

  async function list() {
    const mine = (run += 1);
    const filtered = Boolean(now.email || now.status || now.role || now.provider);
    clear.hidden = !filtered;
    fill(box, skeleton(8));
    fill(more);
    summary.textContent = "";
    const { root, body, row } = table("Users", [
      { label: "Person" }, { label: "Status" }, { label: "Roles" }, { label: "Provider" }, { label: "Joined" }, { label: "Last seen" },
    ], { className: "users" });
    let shown = 0;
    const next = async (cursor) => {
      fill(more, cursor ? button("Loading…", { disabled: true }) : null);
      try {
        const found = await page("/users", parameters(), cursor, signal);
        if (mine !== run || signal.aborted) return;
        if (!shown && found.items.length) fill(box, root);
        for (const user of found.items) {
          remember(user);
          body.append(row(cells(user), { href: `#/users/${user.id}` }));
        }
        shown += found.items.length;
        say(shown, found.next, filtered);
        if (!shown) fill(box, found.next ? null : nobody(filtered));
        fill(more, found.next && button(found.items.length || shown ? "Load more" : "Go on searching", { onClick: () => next(found.next) }));
      } catch (error) {
        if (mine !== run || signal.aborted || error.kind === "over") return;
        fill(shown ? more : box, failure(error, () => next(cursor), signal));
      }
    };
    await next(null);
  }

  function say(shown, rest, filtered) {
    if (!shown && rest) summary.textContent = "None among the first records looked through; there are more.";
    else summary.textContent = shown ? `${words.number(shown)}${rest ? " shown, and there are more" : shown === 1 ? " person" : " people"}${filtered ? ", filtered" : ""}.` : "";
  }

  function nobody(filtered) {
    return filtered
      ? empty("Nobody fits", "No record has an address that begins so, with these filters.", button("Clear filters", { onClick: () => clear.click() }))
      : empty("Nobody is here yet", "As soon as somebody signs up, Identity sends an event, and their record shows here.");
  }

  /** Offer the roles and providers in use as choices. */
  async function offer() {
    try {
      const [{ data: roles }, { data: stats }] = await Promise.all([get("/roles", undefined, signal), get("/stats", { days: 1 }, signal)]);
      options(role, now.role, roles.roles.map((each) => each.role));
      options(provider, now.provider, Object.keys(stats.by_provider).filter(Boolean).sort());
    } catch {
      // The list shows the error.
    }
  }
}

const choice = (value, others = []) => [["", "Any"], ...[...new Set([...(value ? [value] : []), ...others])].map((each) => [each, each])];

function options(control, value, others) {
  fill(control.input, choice(value, others).map(([key, text]) => h("option", { value: key }, text)));
  control.input.value = value;
}

function cells(user) {
  const name = words.nameOf(user);
  return [
    h("div", { class: "person" }, avatar(user), h("div",
      h("a", { href: `#/users/${user.id}` }, name || words.labelOf(user)),
      name && h("span", { class: "second" }, user.email))),
    statusChip(user.status), roleChips(user.roles), user.provider || h("span", { class: "faint" }, "unknown"),
    time(user.created_at), time(user.last_seen_at),
  ];
}

async function invite() {
  const email = field({ label: "E-mail", name: "email", type: "email", required: true, autocomplete: "off" });
  const name = field({ label: "Name", name: "name", autocomplete: "off", hint: "May be left out; they can change it." });
  let made = null;
  const done = await ask({
    title: "Invite somebody",
    content: h("p", "Identity makes an account and mails a link. Until they open it, the record is pending."),
    fields: [email, name],
    action: "Send the invitation",
    run: async (values) => {
      const data = values.name ? { full_name: values.name } : {};
      made = (await call("POST", "/users", { body: { email: values.email, data } })).data;
    },
  });
  if (done) {
    toast(`${made.email} is invited.`);
    location.hash = `#/users/${made.id}`;
  }
}

