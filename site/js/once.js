// Secrets, keys and codes: Usher keeps no copy that anybody can read, so they are shown this once.

import { fill, h } from "./dom.js";
import { button, card, notice, toast } from "./parts.js";

/** Show a text until its reader has it. `thing` names it in the messages; `more` are further buttons. */
export function showOnce(place, { title, label, text, thing, warning, more = [] }) {
  const box = h("pre", { class: "code", tabindex: "0", role: "region", "aria-label": label }, text);
  fill(place, card(title, { className: "once" },
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
      button("Done", { kind: "quiet", onClick: () => fill(place) }))));
  box.focus();
}
