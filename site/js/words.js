// The console's wording: times, names of events and outcomes, and errors as people understand them.

const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const NUMBER = new Intl.NumberFormat();
const STEPS = [["year", 31_536_000], ["month", 2_592_000], ["week", 604_800], ["day", 86_400], ["hour", 3_600], ["minute", 60]];

export const number = (value) => NUMBER.format(value);
/** A share from 0 to 1 in percent; only nothing at all is "0%". */
export const percent = (share) => (share > 0 && share < 0.005 ? "<1%" : `${Math.round(share * 100)}%`);
export const date = (text) => DATE.format(new Date(text));
export const moment = (text) => FULL.format(new Date(text));
export const clock = (when) => CLOCK.format(when);

/** "3 hours ago", "in 9 days". */
export function relative(text, now = Date.now()) {
  const seconds = (new Date(text).getTime() - now) / 1000;
  for (const [unit, size] of STEPS) {
    if (Math.abs(seconds) >= size) return RELATIVE.format(Math.trunc(seconds / size), unit);
  }
  return seconds > 0 ? "in a moment" : "just now";
}

export const EVENTS = {
  validate: "Validation",
  signup: "Sign-up",
  login: "Login",
  usermodified: "Changed at Identity",
  userdeleted: "Deleted at Identity",
};
export const OUTCOMES = {
  applied: "Applied", unchanged: "Unchanged", denied: "Denied", ignored: "Ignored", invalid: "Invalid", failed: "Failed",
};
export const STATUSES = { active: "Active", waiting: "Waiting", pending: "Pending", suspended: "Suspended", deleted: "Deleted" };
export const REQUEST_STATES = { open: "Open", approved: "Approved", declined: "Declined" };
export const CODE_STATES = { open: "Open", used_up: "Used up", ended: "Ended", revoked: "Revoked" };
export const CHANGE_STATES = { to_come: "To come", waiting: "Waiting", dead: "Dead letter", dropped: "Dropped" };
export const KEY_STATES = { open: "Open", expired: "Ended", revoked: "Revoked" };
export const SCOPES = {
  "users:read": ["Read people", "Their records, roles and events, and the counts."],
  "roles:write": ["Give and take roles", "All but the administrators’ role."],
  "changes:read": ["Read the feed of changes", "By ids alone, unless it may read people, too."],
  "clients:name": ["Name its clients", "For the guard of a site of yours: each visitor then has a limit of their own."],
};
export const KINDS = {
  "user.created": "Record made",
  "user.confirmed": "May enter",
  "user.changed": "Record changed",
  "user.suspended": "Suspended",
  "user.reactivated": "Reactivated",
  "user.deleted": "Deleted",
  "role.granted": "Role given",
  "role.revoked": "Role taken away",
  "event.denied": "Refused at the door",
};
export const ACTIONS = {
  "user.invited": "Invited",
  "user.created": "Record made",
  "user.changed": "Record changed",
  "user.suspended": "Suspended",
  "user.reactivated": "Reactivated",
  "user.deleted": "Deleted",
  "user.removed": "Removed, never confirmed",
  "user.approved": "Approved",
  "request.made": "Request made",
  "request.withdrawn": "Request taken back",
  "request.declined": "Request declined",
  "role.granted": "Role given",
  "role.revoked": "Role taken away",
  "role.ended": "Role ended",
  "roles.set": "Roles set",
  "event.denied": "Refused",
  "policy.reloaded": "Policy reloaded",
  "policy.promoted": "Policy promoted",
  "codes.made": "Codes made",
  "code.revoked": "Code revoked",
  "key.created": "Key created",
  "key.revoked": "Key revoked",
  "sink.added": "Sink added",
  "sink.rotated": "Sink's secret replaced",
  "sink.paused": "Sink paused",
  "sink.resumed": "Sink resumed",
  "sink.removed": "Sink removed",
  "outbox.retried": "Changes retried",
  "outbox.skipped": "Change skipped",
  "outbox.forgotten": "Handler forgotten",
};
export const SOURCES = { policy: "the policy", administrator: "an administrator", identity: "Identity", handler: "a handler" };

export const eventName = (name) => EVENTS[name] ?? name;

/** A sentence, made from a part of one. */
export const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".") : "");

const MOST_SHOWN = 80;
/** A URL, cut where it would fill the page. */
export const short = (url) => (url.length > MOST_SHOWN ? `${url.slice(0, MOST_SHOWN - 1)}…` : url);

/** The name that a person gave, if any. */
export function nameOf(user) {
  for (const from of [user.profile, user.user_metadata]) {
    for (const key of ["full_name", "name"]) {
      if (typeof from?.[key] === "string" && from[key].trim()) return from[key].trim();
    }
  }
  return "";
}

export const labelOf = (user) => user.email || (user.status === "deleted" ? "Deleted account" : user.id);

export function initials(user) {
  const source = nameOf(user) || user.email || "";
  const letters = source.match(/\p{L}/gu) ?? [];
  const words = source.split(/[\s.@_+-]+/u).map((word) => word.match(/\p{L}/u)?.[0]).filter(Boolean);
  return ((words.length > 1 ? words[0] + words[1] : letters.slice(0, 2).join("")) || "–").toUpperCase();
}

export const listed = (items) =>
  items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} and ${items.at(-1)}`;

/** The name of a rule's place in the policy, or of its kind. */
export function ruleName(rule) {
  const numbered = /^(role|rule)\.(\d+)$/.exec(rule);
  if (numbered) return `${numbered[1] === "role" ? "Role rule" : "Admission rule"} ${numbered[2]}`;
  const [family] = rule.split(".");
  return { admission: "Admission", user: "Status", identity: "Identity", denial: "Denial", event: "Event", policy: "Policy", code: "Invitation code", observe: "Observe mode", push: "Push", instance: "Instance", metadata: "Metadata", error: "Error" }[family] ?? "Rule";
}

/** The answer to Identity, as a sentence. */
export function replyWords(reply) {
  const body = parsed(reply.body);
  if (reply.status === 200) {
    const roles = body?.app_metadata?.roles;
    if (!Array.isArray(roles)) return "Admitted; Identity was sent new metadata";
    return roles.length ? `Admitted with ${listed(roles.map(String))}` : "Admitted with no role";
  }
  if (reply.status === 204) return "Nothing to change at Identity";
  if (reply.status === 202) return "Accepted, to be applied later";
  if (reply.status >= 500) return "Not processed, so Identity tried again";
  const detail = typeof body?.detail === "string" ? body.detail : "";
  if (reply.status === 403) return `Refused${detail ? `: ${detail}` : ""}`;
  return `Could not be read${detail ? `: ${detail}` : ""}`;
}

/** What failed and where, for a failed event; else an empty text. */
export function failure(event) {
  if (event.outcome !== "failed") return "";
  const text = (rule) => event.reasons.find((each) => each.rule === rule)?.text;
  return [text("error"), text("error.at")].filter(Boolean).join(" at ");
}

/** Whether an event is of somebody who was turned away before there was a record. */
export const isNewcomer = (event) => ["denied", "failed"].includes(event.outcome) && ["validate", "signup"].includes(event.event);

export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** JSON in lines; anything else as it is. */
export function pretty(text) {
  const value = typeof text === "string" ? parsed(text) : text;
  return value === null && typeof text === "string" ? text : JSON.stringify(value, null, 2);
}

/** Title and text for an error; `again` says whether to offer another try. */
export function explain(error) {
  const said = error.detail || (error.kind && error.status ? error.message : "");
  switch (error.kind) {
    case "offline":
      return { icon: "cloud", title: "The server cannot be reached", text: error.sent ? "There is no answer, so it may have been done. Look before you try again." : "Nothing was changed. Is this device online?", again: true };
    case "busy":
      return { icon: "pause", title: "Too many requests at once", text: "The server asks us to wait a little.", again: true };
    case "away":
      return { icon: "pause", title: "Not available at the moment", text: said || "The database, or Identity, cannot be asked just now.", again: true };
    case "failed":
      return { icon: "alert", title: "Something went wrong on the server", text: "Its log has the details, in the line request.failed.", again: true };
    case "missing":
      return { icon: "search", title: "There is no such record", text: said || "It may have been removed, or the address is mistyped.", again: false };
    case "forbidden":
      return { icon: "ban", title: "Not allowed", text: said, again: false };
    case "changed":
      return { icon: "alert", title: "Somebody else changed this record", text: "Your change was not made. The record is shown as it is now.", again: false };
    case "over":
      return { icon: "door", title: "The session is over", text: "Please sign in again.", again: false };
    default:
      return { icon: "alert", title: "That did not work", text: said || error.message || "No reason was given.", again: false };
  }
}
