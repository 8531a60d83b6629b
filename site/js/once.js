// Secrets, keys and codes: Usher keeps no copy that anybody can read, so they are shown this once.

import { h } from "./dom.js";
import { button, card, notice, toast } from "./parts.js";

/** Show a text until its reader has it, above those that nobody has put away yet. `thing` names it in the messages; `more` are further buttons. */
export function showOnce(place, { title, label, text, thing, warning, more = [] }) {
  const box = h("pre", { class: "code", tabindex: "0", role: "region", "aria-label": label }, text);
  const shown = card(title, { className: "once" },
    notice("warn", "Shown this once", h("p", warning)), box,
    h("div", { class: "actions" },
      button("Copy", { symbol: "copy", onClick: async () => {
        try {
          await navigator.clipboard.writeText(text);
          toast(`Copied ${thing}.`);
        } catch {
          toast("The browser would not copy it.", "bad");
        }
      } }),
      more,
      button("Done", { kind: "quiet", onClick: () => {
        shown.remove();
        document.querySelector("#main h1").focus();
      } })));
  place.prepend(shown);
  box.focus();
}
