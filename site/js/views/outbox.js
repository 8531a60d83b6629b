// The outbox.

export const PAGES = [["#/connect/sinks", "Sinks"], ["#/connect/keys", "Keys"]];
