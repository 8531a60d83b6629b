// A list that grows by pages.

import { page } from "./api.js";
import { fill } from "./dom.js";
import { button, failure, skeleton } from "./parts.js";

/**
 * Put the first page into `box`, and a button for the next one into `more`. `item` makes the element
 * of one entry, `none` what stands there without any; `begun` is given the first answer.
 */
export async function grow({ path, name, query, signal, box, more, list, item, none, begun, bones = 4 }) {
  const next = async (cursor) => {
    fill(cursor ? more : box, cursor ? button("Loading…", { disabled: true }) : skeleton(bones));
    try {
      const found = await page(path, { limit: 40, ...query }, cursor, signal, name);
      if (signal.aborted) return;
      if (!cursor) begun?.(found.first);
      list.append(...found.items.map(item));
      if (!cursor) fill(box, found.items.length ? list : none);
      fill(more, found.next && button("Load more", { onClick: () => next(found.next) }));
    } catch (error) {
      if (!signal.aborted && error.kind !== "over") fill(cursor ? more : box, failure(error, () => next(cursor), signal));
    }
  };
  await next(null);
}
