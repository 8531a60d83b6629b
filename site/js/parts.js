// The parts that all views are made of.

import { fill, h, icon } from "./dom.js";
import * as words from "./words.js";

let serial = 0;
export const newId = (stem) => `${stem}-${(serial += 1)}`;

export function button(label, { kind = "plain", symbol, type = "button", onClick, ...rest } = {}) {
  return h("button", { type, class: `button ${kind}`, on: onClick && { click: onClick }, ...rest },
    symbol && icon(symbol), h("span", label));
}

export function link(label, href, { kind, symbol, ...rest } = {}) {
  return h("a", { href, class: kind ? `button ${kind}` : undefined, ...rest }, symbol && icon(symbol), h("span", label));
}

const TONES = {
  active: "good", waiting: "warn", pending: "warn", suspended: "bad", deleted: "mute",
  applied: "good", unchanged: "mute", denied: "bad", ignored: "mute", invalid: "warn", failed: "bad",
};

export function chip(text, tone = "mute", { dot = false, title } = {}) {
  return h("span", { class: `chip ${tone}`, title }, dot && h("span", { class: "dot", "aria-hidden": "true" }), text);
}
export const statusChip = (status) => chip(words.STATUSES[status] ?? status, TONES[status], { dot: true });
export const outcomeChip = (outcome) => chip(words.OUTCOMES[outcome] ?? outcome, TONES[outcome], { dot: true });
export const requestChip = (state) => chip(words.REQUEST_STATES[state] ?? state, { open: "warn", approved: "good", declined: "bad" }[state], { dot: true });
export const roleChip = (role) => h("span", { class: "chip role" }, role);

export function roleChips(roles, most = 4) {
  if (!roles.length) return h("span", { class: "faint" }, "none");
  const rest = roles.slice(most);
  return h("span", { class: "chips" }, roles.slice(0, most).map(roleChip),
    rest.length ? chip(`+${rest.length}`, "mute", { title: rest.join(", ") }) : null);
}

/** A time, relative or absolute, with the exact one on hover. */
export function time(text, { absolute = false, none = "never" } = {}) {
  if (!text) return h("span", { class: "faint" }, none);
  return h("time", { datetime: text, title: `${words.moment(text)} (${text})` },
    absolute ? words.moment(text) : words.relative(text));
}

export function avatar(user) {
  const hue = [...(user.id ?? "")].reduce((sum, letter) => sum + letter.charCodeAt(0), 0) % 6;
  return h("span", { class: `avatar hue-${hue}`, "aria-hidden": "true" },
    user.status === "deleted" ? icon("trash") : words.initials(user));
}

export function pageHead(title, { lead, actions, back } = {}) {
  return h("header", { class: "page-head" },
    back && h("a", { class: "back", href: back.href }, icon("back"), h("span", back.label)),
    h("div", { class: "page-title" },
      h("div", h("h1", { tabindex: "-1" }, title), lead && h("p", { class: "lead" }, lead)),
      actions && h("div", { class: "actions" }, actions)));
}

/** Links between the pages of one view. */
export function subpages(label, pages, current) {
  return h("div", { class: "tabs subpages", role: "group", "aria-label": label }, pages.map(([href, text]) =>
    h("a", { href, "aria-current": href === current ? "page" : undefined }, text)));
}

/** Hand a text to the browser as a file to keep. */
export function download(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const anchor = h("a", { download: name });
  anchor.href = address;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

export function card(title, { note, actions, level = "h2", className = "" } = {}, ...content) {
  const id = newId("card");
  return h("section", { class: `card ${className}`, "aria-labelledby": title ? id : undefined },
    title && h("header", { class: "card-head" },
      h("div", h(level, { id }, title), note && h("p", { class: "note" }, note)),
      actions && h("div", { class: "actions" }, actions)),
    content);
}

/** A list of terms and values; rows without a value are left out. */
export function facts(rows) {
  return h("dl", { class: "facts" }, rows.filter((row) => row && row[1] !== null && row[1] !== undefined)
    .map(([term, value]) => h("div", h("dt", term), h("dd", value))));
}

export function code(text, label) {
  return h("pre", { class: "code", tabindex: "0", role: "region", "aria-label": label }, text);
}

export function copyable(text, label) {
  const done = button("Copy", { kind: "quiet small", symbol: "copy", "aria-label": `Copy ${label}` });
  done.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      toast(`Copied ${label}.`);
    } catch {
      toast("The browser would not copy it.", "bad");
    }
  });
  return h("span", { class: "copyable" }, h("span", { class: "mono" }, text), done);
}

/** A labelled control. `options`: a list of [value, text]; `list`: suggestions. */
export function field({ label, name, type = "text", value = "", hint, options, list, rows, className = "", ...rest }) {
  const id = newId("field");
  const hintId = hint && `${id}-hint`;
  if (type === "checkbox") {
    const input = h("input", { id, name, ...rest, type, checked: value === true });
    return Object.assign(h("div", { class: `check ${className}` }, input,
      h("label", { for: id }, label, hint && h("span", { class: "hint" }, hint))), { input });
  }
  const common = { id, name, "aria-describedby": hintId, ...rest };
  let input;
  if (options) {
    input = h("select", common, options.map(([key, text]) => h("option", { value: key }, text)));
    input.value = value;
  } else if (rows) {
    input = h("textarea", { ...common, rows });
    input.value = value;
  } else {
    input = h("input", { ...common, type, value, list: list && `${id}-list` });
  }
  const error = h("p", { class: "error", id: `${id}-error`, hidden: true });
  const root = h("div", { class: `field ${className}` }, h("label", { for: id }, label), input,
    list && h("datalist", { id: `${id}-list` }, list.map((each) => h("option", { value: each }))),
    hint && h("p", { class: "hint", id: hintId }, hint), error);
  const complain = (text) => {
    error.textContent = text;
    error.hidden = !text;
    input.toggleAttribute("aria-invalid", Boolean(text));
    input.setAttribute("aria-describedby", [hintId, text && error.id].filter(Boolean).join(" "));
  };
  input.addEventListener("input", () => complain(""));
  return Object.assign(root, { input, complain });
}

export function notice(kind, title, ...text) {
  return h("div", { class: `notice ${kind}`, role: kind === "bad" ? "alert" : undefined },
    icon({ good: "check", info: "info" }[kind] ?? "alert"), h("div", title && h("strong", title), text));
}

/** A passing message, read out by screen readers. */
export function toast(text, kind = "good") {
  const place = document.getElementById("toasts");
  const item = h("div", { class: `toast ${kind}` }, icon(kind === "good" ? "check" : "alert"), h("span", text));
  const leave = () => item.remove();
  item.append(button("", { kind: "quiet small", symbol: "close", "aria-label": "Dismiss", onClick: leave }));
  place.append(item);
  while (place.children.length > 3) place.firstChild.remove();
  let timer = setTimeout(leave, 7000);
  item.addEventListener("pointerenter", () => clearTimeout(timer));
  item.addEventListener("pointerleave", () => {
    timer = setTimeout(leave, 3000);
  });
}

export function skeleton(rows = 6, kind = "rows") {
  return h("div", { class: `skeleton ${kind}`, role: "status" }, h("span", { class: "hidden-text" }, "Loading…"),
    Array.from({ length: rows }, (_, n) => h("span", { class: `bone bone-${n % 4}`, "aria-hidden": "true" })));
}

export function empty(title, text, action) {
  return h("div", { class: "state" }, icon("search"), h("h2", title), text && h("p", text), action);
}

/** An error in place of the content; it tries again by itself where waiting helps. */
export function failure(error, retry, signal) {
  const said = words.explain(error);
  const root = h("div", { class: "state", role: "alert" }, icon(said.icon), h("h2", said.title), said.text && h("p", said.text));
  if (!said.again || !retry) return root;
  let left = Math.min(error.retryAfter ?? 8, 120);
  const count = h("p", { class: "faint", "aria-live": "off" });
  const tick = () => {
    if (signal?.aborted || !root.isConnected) return again.cancel();
    if (document.hidden) return undefined;
    count.textContent = `Trying again in ${left} s`;
    left -= 1;
    return left < 0 ? again() : undefined;
  };
  const again = () => {
    again.cancel();
    retry();
  };
  const timer = setInterval(tick, 1000);
  again.cancel = () => {
    clearInterval(timer);
    removeEventListener("online", again);
  };
  addEventListener("online", again);
  count.textContent = `Trying again in ${left} s`;
  root.append(button("Try now", { onClick: again }), count);
  return root;
}

/** A skeleton (`bones`), then the content or the error. */
export async function load(place, ask, show, { signal, bones = skeleton() } = {}) {
  fill(place, bones);
  try {
    const found = await ask();
    if (!signal?.aborted) fill(place, show(found));
  } catch (error) {
    if (signal?.aborted || error.name === "AbortError" || error.kind === "over") return;
    fill(place, failure(error, () => load(place, ask, show, { signal, bones: skeleton() }), signal));
  }
}

/**
 * A dialog that asks before an action. `run(values)` takes it; an error is shown in the dialog, which
 * stays open. Resolves to whether it was done.
 */
export function ask({ title, content = [], fields = [], action, kind = "primary", run, check, onError }) {
  return new Promise((resolve) => {
    const id = newId("dialog");
    const trouble = h("div", { class: "trouble" });
    const go = button(action, { kind, type: "submit" });
    const cancel = button("Cancel", { kind: "plain", onClick: () => dialog.close() });
    const form = h("form", { class: "dialog-body" },
      h("h2", { id }, title), h("div", { class: "prose" }, content), fields, trouble,
      h("div", { class: "dialog-actions" }, cancel, go));
    const dialog = h("dialog", { "aria-labelledby": id, class: kind }, form);
    let done = false;
    let busy = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const values = Object.fromEntries(new FormData(form));
      if (busy) return;
      fill(trouble);
      if (check && !check(values)) return;
      busy = true;
      go.disabled = true;
      go.classList.add("busy");
      try {
        await run(values);
        done = true;
        dialog.close();
      } catch (error) {
        if (error.kind === "over" || onError?.(error)) dialog.close();
        else fill(trouble, problem(error));
      } finally {
        busy = false;
        go.disabled = false;
        go.classList.remove("busy");
      }
    });
    dialog.addEventListener("cancel", (event) => busy && event.preventDefault());
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(done);
    });
    document.body.append(dialog);
    dialog.showModal();
    (fields.find((each) => each.input)?.input ?? cancel).focus();
  });
}

/** An error, shown beside its cause. */
export function problem(error) {
  if (error.code === "last_administrator") {
    return notice("bad", "This is the last administrator", h("p",
      "Without them nobody could open this console any more. Nothing was changed. Give the administrators’ role to somebody else first, then come back."));
  }
  if (error.code === "identity_not_configured") {
    return notice("bad", "Invitations are not set up", h("p",
      "The server needs USHER_IDENTITY_URL and USHER_IDENTITY_ADMIN_TOKEN to ask Identity for one."));
  }
  const { title, text } = words.explain(error);
  const faults = error.problems?.map((each) => `${(each.pointer ?? each.parameter ?? "").replace(/^\//, "") || "The request"}: ${each.detail}`);
  return notice("bad", title, faults?.length ? h("ul", faults.map((each) => h("li", each))) : h("p", text));
}

/** A table that becomes a list of cards on a phone. Roles are written out: CSS takes them away there. */
export function table(caption, columns, { className = "" } = {}) {
  const body = h("tbody", { role: "rowgroup" });
  const root = h("div", { class: `table-box ${className}` }, h("table", { role: "table" },
    h("caption", { class: "hidden-text" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map((column) =>
      h("th", { role: "columnheader", scope: "col", class: column.className, "aria-sort": column.sorted }, column.head ?? column.label)))),
    body));
  const row = (cells, { href, className: kind } = {}) => {
    const tr = h("tr", { role: "row", class: [kind, href && "open"].filter(Boolean).join(" ") || undefined },
      cells.map((cell, n) => h("td", { role: "cell", class: columns[n].className, "data-label": columns[n].label }, cell)));
    if (href) {
      tr.addEventListener("click", (event) => {
        if (event.target.closest("a, button") || String(getSelection())) return;
        if (event.metaKey || event.ctrlKey) open(href, "_blank", "noopener");
        else location.hash = href;
      });
    }
    return tr;
  };
  return { root, body, row };
}

/** Tabs by the usual keys; each panel is made when it is first shown. */
export function tabs(label, items) {
  const list = h("div", { role: "tablist", "aria-label": label, class: "tabs" });
  const panels = h("div");
  const made = items.map(({ name, show }) => {
    const id = newId("tab");
    const panel = h("div", { role: "tabpanel", id: `${id}-panel`, "aria-labelledby": id, hidden: true });
    const tab = h("button", { type: "button", role: "tab", id, "aria-controls": panel.id, "aria-selected": "false", tabindex: "-1" }, name);
    list.append(tab);
    panels.append(panel);
    return { tab, panel, show, shown: false };
  });
  const choose = (index, focus) => {
    made.forEach((each, n) => {
      const on = n === index;
      each.tab.setAttribute("aria-selected", String(on));
      each.tab.tabIndex = on ? 0 : -1;
      each.panel.hidden = !on;
      if (on && !each.shown) {
        each.shown = true;
        each.show(each.panel);
      }
      if (on && focus) each.tab.focus();
    });
  };
  made.forEach((each, n) => each.tab.addEventListener("click", () => choose(n)));
  list.addEventListener("keydown", (event) => {
    const at = made.findIndex((each) => each.tab === document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: made.length - 1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    choose((to + made.length) % made.length, true);
  });
  choose(0);
  return h("div", list, panels);
}

/** One choice of a few, as buttons. */
export function segments(label, options, value, onChange) {
  const name = newId("segment");
  return h("fieldset", { class: "segments" }, h("legend", { class: "hidden-text" }, label),
    options.map(([key, text]) => {
      const id = newId("choice");
      return [h("input", { type: "radio", name, id, value: key, checked: key === value, on: { change: () => onChange(key) } }),
        h("label", { for: id }, text)];
    }));
}
