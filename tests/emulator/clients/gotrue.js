// gotrue-js, as sites have used it for years: every call that does not need a browser.

import GoTrue from "gotrue-js";
import { externalLogin, finish, identity, lastToken, refused, tell } from "./steps.js";

console.warn = () => {}; // it warns of plain HTTP each time
const auth = new GoTrue({ APIUrl: identity, setCookie: true });

const settings = await auth.settings();
tell("settings", [settings.autoconfirm, settings.disable_signup, settings.external.google]);

const made = await auth.signup("ada@example.com", "secret", { full_name: "Ada Lövelace" });
tell("signup", [made.email, made.confirmed_at ?? null, made.user_metadata.full_name]);
tell("too early", await refused(auth.login("ada@example.com", "secret")));

let user = await auth.confirm(await lastToken("confirmation"), true);
tell("confirm", [user.email, Boolean(user.confirmed_at)]);
user = await auth.login("ada@example.com", "secret", true);
tell("login", [user.email, user.app_metadata.provider, user.token.token_type]);
tell("wrong", await refused(auth.login("ada@example.com", "no")));

const before = user.token.refresh_token;
const jwt = await user.jwt(true);
tell("refresh", [before !== user.token.refresh_token, jwt === user.token.access_token]);

user = await user.update({ data: { colour: "blue", full_name: null } });
tell("update", user.user_metadata);
user = await user.update({ email: "lovelace@example.com" });
tell("pending", [user.email, user.new_email]);
user = await user.update({ email_change_token: await lastToken("email_change") });
tell("moved", user.email);

await auth.requestPasswordRecovery("lovelace@example.com");
user = await auth.recover(await lastToken("recovery"));
await user.update({ password: "another" });
user = await auth.login("lovelace@example.com", "another");
tell("recovered", user.email);
tell("nobody", await auth.requestPasswordRecovery("nobody@example.com"));

const hash = await externalLogin(auth.loginExternalUrl("github"), "grace@example.com");
const parameters = new URLSearchParams(hash.slice(1));
const grace = await auth.createUser(Object.fromEntries(parameters));
tell("external", [grace.email, grace.app_metadata.provider, grace.user_metadata.full_name]);

tell("not admin", await refused(grace.admin.listUsers()));
await grace.logout();
tell("logout", grace.token);
finish();
