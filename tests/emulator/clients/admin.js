// gotrue-js's admin calls, by a person whose top-level role is the admin group.

import GoTrue from "gotrue-js";
import { finish, identity, lastToken, operator, tell } from "./steps.js";

console.warn = () => {};
const auth = new GoTrue({ APIUrl: identity });

async function asOperator(method, path, body) {
  const answer = await fetch(identity + path, {
    method,
    headers: { Authorization: `Bearer ${operator}`, "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  return answer.json();
}

const boss = { email: "boss@example.com", password: "secret", role: "admin", confirm: true };
await asOperator("POST", "/admin/users", boss);
const { admin } = await auth.login("boss@example.com", "secret");

const made = await admin.createUser("ada@example.com", "secret", { confirm: true });
tell("create", [made.email, Boolean(made.confirmed_at)]);
const changed = await admin.updateUser(made, { app_metadata: { roles: ["editor"] } });
tell("update", changed.app_metadata);
tell("get", (await admin.getUser(made)).app_metadata.roles);
const list = await admin.listUsers("");
tell("list", list.users.map((user) => user.email));
tell("delete", await admin.deleteUser(made));

await asOperator("POST", "/invite", { email: "eve@example.com", data: { full_name: "Eve" } });
const eve = await auth.acceptInvite(await lastToken("invite"), "secret");
tell("invite", [eve.email, Boolean(eve.invited_at), eve.user_metadata.full_name]);
finish();
