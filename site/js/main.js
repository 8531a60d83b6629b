// The start. Strangers see the door, people their own page, administrators the console. The part of the
// address after the # names the view.

import * as api from "./api.js";
import { fill, h, icon, mark } from "./dom.js";
import { forgetAll } from "./names.js";
import { button, failure, newId, notice } from "./parts.js";
import * as session from "./session.js";
import { themeButton } from "./theme.js";
import * as words from "./words.js";
import * as audit from "./views/audit.js";
import * as codes from "./views/codes.js";
import * as door from "./views/door.js";
import * as event from "./views/event.js";
import * as events from "./views/events.js";
import * as keys from "./views/keys.js";
import * as outbox from "./views/outbox.js";
import * as own from "./views/own.js";
import * as overview from "./views/overview.js";
import * as policy from "./views/policy.js";
import * as candidate from "./views/candidate.js";
import * as requests from "./views/requests.js";
import * as sinks from "./views/sinks.js";
import * as user from "./views/user.js";
import * as users from "./views/users.js";

const ROUTES = [
  [/^\/overview$/, overview, "overview"],
  [/^\/requests$/, requests, "requests"],
  [/^\/users$/, users, "users"],
  [/^\/users\/([^/]+)$/, user, "users"],
  [/^\/events$/, events, "events"],
  [/^\/events\/([^/]+)$/, event, "events"],
  [/^\/audit$/, audit, "audit"],
  [/^\/policy$/, policy, "policy"],
  [/^\/policy\/codes$/, codes, "policy"],
  [/^\/policy\/next$/, candidate, "policy"],
  [/^\/connect$/, outbox, "connect"],
  [/^\/connect\/sinks$/, sinks, "connect"],
  [/^\/connect\/keys$/, keys, "connect"],
];
const NAVIGATION = [["overview", "Overview"], ["requests", "Requests"], ["users", "Users"], ["events", "Events"], ["audit", "Audit"], ["policy", "Policy"], ["connect", "Connect"]];
const MOST_COUNTED = 20; // of the open requests: each is answered with its person, and what the policy says of them
const app = document.getElementById("app");

let me = null;
let leave = null; // aborts what the view on screen has under way

/** Take a link from a mail, or a provider's answer, out of the address before anything else. */
async function start() {
  addEventListener("hashchange", route);
  const fragment = new URLSearchParams(location.hash.replace(/^#\/?/, ""));
  const mailed = ["confirmation", "recovery", "invite", "email_change"].find((kind) => fragment.has(`${kind}_token`));
  const isToken = mailed || fragment.has("access_token") || fragment.has("error_description");
  if (isToken) history.replaceState(null, "", location.pathname);
  if (mailed) return atDoor({ mailed, token: fragment.get(`${mailed}_token`) });
  if (fragment.has("access_token")) {
    return session.arrive(fragment) ? enter() : atDoor({ said: ["bad", "That login was not begun in this tab, so it was not taken."] });
  }
  if (fragment.has("error_description")) return atDoor({ said: ["bad", fragment.get("error_description")] });
  return session.isKept() ? enter() : atDoor();
}

/** Show the page of the person whose session this is. */
async function enter({ said } = {}) {
  wait();
  try {
    if (session.token() === null && !(await session.renew())) return atDoor();
    const { data: person } = await api.get("/me");
    if (person.status === "waiting") return await showOwn(own.showWaiting, person, said);
    me = { ...person, ...(await api.get("/policy/me")).data };
    if (me.administrator) showConsole(said);
    else await showOwn(own.show, me, said);
  } catch (error) {
    if (error.kind === "over") return undefined;
    if (error.code === "account_suspended" || error.code === "account_deleted") return undefined; // refused() shows it
    end();
    fill(app, plainPage(h("main", { id: "main", class: "narrow" }, failure(error, () => enter({ said })),
      h("p", { class: "center" }, button("Sign out", { kind: "quiet", onClick: signOut })))));
  }
  return undefined;
}

function atDoor(state = {}) {
  end();
  document.title = "Sign in · Usher";
  door.show(app, { ...state, done: (said) => enter({ said }) });
}

function wait() {
  end();
  document.title = "Usher";
  fill(app, plainPage(h("main", { id: "main", class: "narrow splash", "aria-busy": "true" }, mark(), h("p", { role: "status" }, "Opening…"))));
}

function end() {
  me = null;
  leave?.abort();
  leave = null;
  forgetAll();
  document.querySelectorAll("dialog").forEach((dialog) => dialog.close());
}

async function signOut() {
  end();
  history.replaceState(null, "", location.pathname);
  await session.signOut();
  atDoor({ said: ["good", "You are signed out."] });
}

function over() {
  // The address stays, so that signing in again leads back to the same view.
  session.forget();
  atDoor({ said: ["warn", "Your session has ended. Please sign in again."] });
}

function refused(error) {
  if (error.code === "forbidden") {
    if (me?.administrator) enter(); // the role was taken away meanwhile
    return;
  }
  end();
  document.title = "No entry · Usher";
  const text = error.code === "account_suspended"
    ? "An administrator has suspended this account. Only an administrator can lift that."
    : "This account was deleted. Its record cannot come back.";
  fill(app, plainPage(h("main", { id: "main", class: "narrow" },
    h("div", { class: "state" }, icon("ban"), h("h1", { tabindex: "-1" }, error.code === "account_suspended" ? "Account suspended" : "Account deleted"),
      h("p", text), button("Sign out", { onClick: signOut })))));
}

function plainPage(...content) {
  return h("div", { class: "plain" },
    h("header", { class: "plain-head" }, h("span", { class: "brand" }, mark(), h("span", "Usher")), themeButton()), content);
}

/** The page of a person who is no administrator, by one of the views in own.js. */
async function showOwn(view, person, said) {
  const { data: { requests: wishes } } = await api.get("/me/requests");
  document.title = "Your account · Usher";
  const main = h("main", { id: "main", class: "narrow" });
  fill(app, plainPage(banner(person), main));
  view(main, { me: person, requests: wishes, said, signOut, again: () => enter() });
  main.querySelector("h1")?.focus({ preventScroll: true });
}

/** While Usher only observes, every page says so. */
function banner({ mode }) {
  return mode === "observe" && h("div", { class: "banner", role: "note" }, icon("alert"),
    h("p", h("strong", "Usher only observes. "), "Every event is answered with 204: nobody is refused, and Identity is told of no change. Records are kept as ever."));
}

function showConsole(said) {
  const links = NAVIGATION.map(([name, text]) => h("a", { href: `#/${name}`, "data-view": name }, icon(name), h("span", text), name === "requests" && h("span", { class: "badge", id: "open-requests" })));
  const main = h("main", { id: "main", tabindex: "-1" });
  const skip = button("Skip to content", { kind: "primary skip", onClick: () => main.focus() });
  const id = newId("navigation");
  fill(app, h("div", { class: "shell" }, skip,
    h("header", { class: "side" },
      h("a", { class: "brand", href: "#/overview", "aria-label": "Usher, overview" }, mark(), h("span", "Usher")),
      h("nav", { id, "aria-label": "Console" }, links),
      h("div", { class: "side-foot" },
        h("a", { class: "whoami", href: `#/users/${me.id}` },
          h("span", { class: "hidden-text" }, "Your record: "), h("strong", words.nameOf(me) || "You"), h("span", me.email)),
        h("div", { class: "side-tools" }, themeButton(), button("Sign out", { kind: "quiet small", symbol: "leave", onClick: signOut })))),
    h("div", { class: "page" }, banner(me), main)));
  if (said) main.before(h("div", { class: "said" }, notice("good", null, said)));
  route();
}

/** Show how many requests are open, beside the link to them. */
async function countOpen() {
  const badge = document.getElementById("open-requests");
  const { signal } = leave;
  try {
    const { data } = await api.get("/requests", { limit: MOST_COUNTED }, signal);
    const many = data.requests.length;
    if (!signal.aborted) fill(badge, many > 0 && [`${many}${data.next_cursor ? "+" : ""}`, h("span", { class: "hidden-text" }, " open")]);
  } catch {
    // The view itself says what is wrong.
  }
}

function route() {
  if (!me?.administrator) return;
  const [path, search = ""] = location.hash.replace(/^#/, "").split("?");
  if (!path || path === "/") {
    history.replaceState(null, "", "#/overview");
    route();
    return;
  }
  leave?.abort();
  leave = new AbortController();
  document.querySelectorAll("dialog").forEach((dialog) => dialog.close());
  const main = document.getElementById("main");
  const found = ROUTES.map(([pattern, view, name]) => ({ match: pattern.exec(path), view, name })).find((each) => each.match);
  for (const each of document.querySelectorAll("[data-view]")) {
    if (each.dataset.view === found?.name) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
  const title = (text) => {
    document.title = `${text} · Usher`;
  };
  if (!found) {
    title("Not found");
    fill(main, h("div", { class: "state" }, icon("search"), h("h1", { tabindex: "-1" }, "There is no such page"),
      h("p", "The address may be mistyped."), h("a", { class: "button plain", href: "#/overview" }, "To the overview")));
    return;
  }
  const first = main.childElementCount === 0;
  if (!first) document.querySelector(".said")?.remove(); // it was about the view before
  main.replaceChildren();
  let id = "";
  try {
    id = decodeURIComponent(found.match[1] ?? "");
  } catch {
    // Nobody has this id; the view says so.
  }
  found.view.show(main, { id, query: new URLSearchParams(search), signal: leave.signal, me, title, countOpen });
  countOpen();
  scrollTo(0, 0);
  if (!first) main.querySelector("h1")?.focus({ preventScroll: true });
}

api.whenRefused(over, refused);
start();
