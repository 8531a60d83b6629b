// @netlify/identity in a function: cookies of the context, and the admin API.

import { finish, identity, identityPackage, lastToken, operator, refused, tell } from "./steps.js";

console.warn = () => {};
const jar = new Map();
globalThis.Netlify = {
  context: {
    cookies: {
      get: (name) => jar.get(name),
      set: ({ name, value }) => jar.set(name, value),
      delete: (name) => jar.delete(name),
    },
  },
};
globalThis.netlifyIdentityContext = { url: identity, token: operator };

const client = await import(identityPackage);
const { admin } = client;

const ada = await admin.createUser({
  email: "ada@example.com",
  password: "secret",
  data: { role: "editor", user_metadata: { full_name: "Ada" } },
});
tell("create", [ada.email, Boolean(ada.confirmedAt), ada.role, ada.name]);
const changed = await admin.updateUser(ada.id, { app_metadata: { roles: ["editor", "member"] } });
tell("update", [changed.roles, changed.provider]);
tell("get", (await admin.getUser(ada.id)).roles);
await admin.createUser({ email: "bob@example.com", password: "secret" });
tell("list", (await admin.listUsers({ page: 1, perPage: 1 })).map((user) => user.email));

const user = await client.login("ada@example.com", "secret");
tell("login", [user.email, [...jar.keys()].sort()]);
delete globalThis.netlifyIdentityContext.token;
tell("me", (await client.getUser()).email);
globalThis.netlifyIdentityContext.token = operator;
tell("wrong", await refused(client.login("ada@example.com", "no")));

const made = await client.signup("eve@example.com", "secret", { full_name: "Eve" });
tell("signup", [made.email, made.confirmedAt ?? null]);
tell("mail", Boolean(await lastToken("confirmation")));
await client.logout();
tell("logout", [...jar.keys()]);
await admin.deleteUser(ada.id);
tell("gone", await refused(admin.getUser(ada.id)));
finish();
