// What the walks share: the inbox, and a report that Python reads.

export const [, , site, operator, identityPackage] = process.argv;
export const identity = `${site}/.netlify/identity`;
const report = {};

export async function lastToken(kind) {
  const answer = await fetch(`${site}/_dev/mail`, { headers: { Accept: "application/json" } });
  const { mails } = await answer.json();
  const mail = mails.find((found) => found.kind === kind);
  if (!mail) throw new Error(`no mail of kind ${kind}`);
  return mail.token;
}

// Through a provider as a browser goes: redirect, consent page, form, redirect back.
export async function externalLogin(url, email) {
  const redirect = await fetch(url, { redirect: "manual" });
  const consent = new URL(redirect.headers.get("Location"), site);
  const page = await (await fetch(consent)).text();
  const action = page.match(/action="([^"]+)"/)[1];
  const state = page.match(/name="state" value="([^"]+)"/)[1];
  const back = await fetch(new URL(action, site), {
    method: "POST",
    redirect: "manual",
    body: new URLSearchParams({ state, email, name: "Grace", verified: "yes" }),
  });
  return new URL(back.headers.get("Location")).hash;
}

export function tell(name, value) {
  report[name] = value;
}

export async function refused(promise) {
  try {
    await promise;
  } catch (error) {
    return [error.status ?? error.name, error.message];
  }
  throw new Error("expected a refusal");
}

// At once: the clients leave timers behind.
export function finish() {
  process.stdout.write(JSON.stringify(report), () => process.exit(0));
}
