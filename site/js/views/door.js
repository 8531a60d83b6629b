// The door: signing in and up, and the links in Identity's mails. Identity's messages are shown in its
// own words, a refusal by the policy in the policy's.

import * as api from "../api.js";
import { fill, h, icon, mark } from "../dom.js";
import { button, field, newId, notice } from "../parts.js";
import * as session from "../session.js";
import { themeButton } from "../theme.js";

const PROVIDERS = { google: "Google", github: "GitHub", gitlab: "GitLab", bitbucket: "Bitbucket", facebook: "Facebook" };

/** `mailed` and `token`: a link from a mail. `said`: [kind, text]. `done(text)`: somebody is signed in. */
export function show(place, { mailed, token, said, done }) {
  const main = h("main", { id: "main", class: "door-main" });
  fill(place, h("div", { class: "door" },
    h("header", { class: "door-side" },
      h("div", { class: "brand" }, mark(), h("span", "Usher")),
      h("p", { class: "motto" }, "An usher checks the ticket at the door and shows each guest to their seat."),
      seats()),
    h("div", { class: "door-page" }, h("div", { class: "door-tools" }, themeButton()), main)));
  const state = { main, done, said, settings: null };
  if (mailed === "confirmation") confirm(state, token);
  else if (mailed === "recovery") recovered(state, token);
  else if (mailed === "invite") invited(state, token);
  else if (mailed === "email_change") emailChange(state, token);
  else signIn(state);
}

function screen({ main }, title, lead, ...content) {
  fill(main, h("div", { class: "door-card" }, h("h1", { tabindex: "-1" }, title), lead && h("p", { class: "lead" }, lead), content));
  document.title = `${title} · Usher`;
}

/** A form that shows its error above the button, and cannot be sent twice. */
function form(fields, action, run) {
  const trouble = h("div", { class: "trouble" });
  const go = button(action, { kind: "primary wide", type: "submit" });
  const root = h("form", { class: "stack", novalidate: false }, fields, trouble, go);
  root.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (go.disabled) return;
    go.disabled = true;
    go.classList.add("busy");
    fill(trouble);
    try {
      await run(Object.fromEntries(new FormData(root)));
    } catch (error) {
      fill(trouble, refusal(error));
      root.querySelector("input[type=password]")?.select();
    } finally {
      go.disabled = false;
      go.classList.remove("busy");
    }
  });
  queueMicrotask(() => fields.find((each) => each.input && !each.input.value)?.input.focus());
  return root;
}

function refusal(error) {
  const extra = {
    offline: "Is this device online?",
    busy: `Please wait ${error.retryAfter ? `${error.retryAfter} seconds` : "a little"} and try again.`,
    away: "Please try again in a moment.",
  }[error.kind];
  const rules = /webhook/i.test(error.message) ? "The rules of this site may not admit this address." : "";
  return notice("bad", error.message, (extra || rules) && h("p", extra || rules));
}

const email = (value) => field({ label: "E-mail", name: "email", type: "email", autocomplete: "username", required: true, value: value ?? "" });
const password = (fresh) => field({
  label: fresh ? "New password" : "Password", name: "password", type: "password", required: true,
  autocomplete: fresh ? "new-password" : "current-password",
  ...(fresh ? { minlength: 8, hint: "At least 8 characters." } : {}),
});

function signIn(state, { address, done = state.done, lead = "For administrators of this site, and for whoever wants to see their own account." } = {}) {
  const further = h("div", { class: "further" });
  screen(state, "Sign in", lead,
    state.said && notice(state.said[0], null, state.said[1]),
    form([email(address), password()], "Sign in", async (values) => {
      await session.signIn(values.email, values.password);
      await done();
    }),
    h("p", { class: "door-links" },
      button("Forgot the password?", { kind: "text", onClick: () => forgot(state) }),
      h("span", { class: "sign-up-link" }, button("Make an account", { kind: "text", onClick: () => signUp(state) }))),
    further);
  state.said = null;
  providers(state, further);
}

async function providers(state, place) {
  try {
    state.settings ??= await session.settings();
  } catch {
    return; // Identity did not answer; the form is there in any case
  }
  const offered = Object.keys(PROVIDERS).filter((name) => state.settings?.external?.[name] === true);
  if (state.settings?.disable_signup) state.main.querySelector(".sign-up-link")?.remove();
  if (!offered.length || !place.isConnected) return;
  fill(place, h("p", { class: "or" }, h("span", "or")),
    offered.map((name) => button(`Continue with ${PROVIDERS[name]}`, { kind: "plain wide", onClick: () => session.leaveFor(name) })));
}

function signUp(state) {
  screen(state, "Make an account", "Identity sends a mail with a link, to see that the address is yours.",
    form([field({ label: "Name", name: "name", autocomplete: "name" }), email(), password(true)], "Sign up", async (values) => {
      const made = await session.signUp(values.email, values.password, values.name)
        .catch((error) => explain(error, values.email));
      if (made?.confirmed_at) {
        await session.signIn(values.email, values.password);
        await state.done("Your account is made.");
        return;
      }
      screen(state, "Look into your mail", null,
        h("div", { class: "big-icon" }, icon("mail")),
        h("p", "We sent a link to ", h("strong", values.email), ". Open it to confirm the address; after that you can sign in."),
        isLocal() && h("p", "This site runs on your own machine: its mails are in ", h("a", { href: "/_dev/mail" }, "the local inbox"), "."),
        button("Back to sign in", { kind: "plain wide", onClick: () => signIn(state, { address: values.email }) }));
      state.main.querySelector("h1").focus();
    }),
    h("p", { class: "door-links" }, button("I have an account", { kind: "text", onClick: () => signIn(state) })));
}

/** Identity hides the policy's sentence behind its own, so Usher is asked for it. */
async function explain(error, address) {
  const why = /webhook/i.test(error.message) ? await api.whyRefused(address) : null;
  throw why ? new session.IdentityError(error.status, why) : error;
}

const isLocal = () => /^(localhost|127\.0\.0\.1|\[::1\])$/.test(location.hostname);

function forgot(state) {
  screen(state, "A new password", "We send a link to your address. It lets you in to choose a new one.",
    form([email()], "Send the link", async (values) => {
      await session.recover(values.email);
      state.said = ["good", `If ${values.email} has an account, a link is on its way.`];
      signIn(state, { address: values.email });
    }),
    h("p", { class: "door-links" }, button("Back to sign in", { kind: "text", onClick: () => signIn(state) })));
}

async function confirm(state, token) {
  screen(state, "Confirming your address", null, h("p", { role: "status", class: "working" }, "One moment…"));
  try {
    await session.verify("signup", token);
    await state.done("Your address is confirmed, and you are signed in.");
  } catch (error) {
    linkFailed(state, error, () => confirm(state, token));
  }
}

async function recovered(state, token) {
  screen(state, "Opening your account", null, h("p", { role: "status", class: "working" }, "One moment…"));
  try {
    await session.verify("recovery", token);
  } catch (error) {
    linkFailed(state, error, () => recovered(state, token));
    return;
  }
  screen(state, "Choose a new password", "The link let you in. Now choose the password that you want to use from here on.",
    form([password(true)], "Save and continue", async (values) => {
      await session.change({ password: values.password });
      await state.done("Your new password is saved, and you are signed in.");
    }));
}

function invited(state, token) {
  screen(state, "You are invited", "Choose a password, and your account is ready.",
    form([password(true)], "Accept the invitation", async (values) => {
      await session.verify("signup", token, values.password);
      await state.done("Welcome! Your invitation is accepted, and you are signed in.");
    }));
}

async function emailChange(state, token) {
  const finish = async () => {
    await session.change({ email_change_token: token });
    await state.done("Your new address is confirmed.");
  };
  const toSignIn = () => signIn(state, { done: finish, lead: "Sign in with your old address to confirm the new one." });
  if (!session.isKept()) {
    toSignIn();
    return;
  }
  screen(state, "Confirming your new address", null, h("p", { role: "status", class: "working" }, "One moment…"));
  try {
    if (await session.renew()) await finish();
    else toSignIn();
  } catch (error) {
    linkFailed(state, error, () => emailChange(state, token));
  }
}

function linkFailed(state, error, again) {
  const spent = error.kind === "refused";
  screen(state, spent ? "This link does not work" : "That did not work yet", null, refusal(error),
    spent ? h("p", "Links in mails work once, and not for ever. Perhaps it was used already: then simply sign in.")
      : button("Try again", { kind: "primary wide", onClick: again }),
    button("Go to sign in", { kind: "plain wide", onClick: () => signIn(state) }));
}

function seats() {
  const id = newId("seats");
  return h("div", { class: "seats", id, "aria-hidden": "true" },
    Array.from({ length: 5 }, (_, row) => h("div", Array.from({ length: 9 }, (_unused, seat) =>
      h("span", { class: row === 2 && seat === 5 ? "seat taken" : "seat" })))));
}
