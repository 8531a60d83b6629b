// The theme: the system's, or the one chosen here. theme.js at the root applies it before the first paint.

import { fill, icon } from "./dom.js";
import { button } from "./parts.js";

const ORDER = ["auto", "light", "dark"];
const SHOWN = { auto: ["auto", "Auto"], light: ["sun", "Light"], dark: ["moon", "Dark"] };

const current = () => document.documentElement.dataset.theme ?? "auto";

/** A button that goes through automatic, light and dark. */
export function themeButton() {
  const made = button("", { kind: "quiet small theme" });
  const say = () => {
    const [symbol, text] = SHOWN[current()];
    fill(made, icon(symbol), text);
    made.setAttribute("aria-label", `Theme: ${text}`);
  };
  made.addEventListener("click", () => {
    const next = ORDER[(ORDER.indexOf(current()) + 1) % ORDER.length];
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem("usher.theme", next);
    } catch {
      // Then it holds until the page is left.
    }
    say();
  });
  say();
  return made;
}
