// Plots as SVG, drawn at the width there is, so that their text keeps its size.

import { fill, h, s } from "./dom.js";
import * as words from "./words.js";

const HEIGHT = 150;
const LEFT = 34;
const BOTTOM = 22;
const TOP = 10;

/** The steps of an axis from 0 that covers `most`. */
export function ticks(most) {
  const rough = Math.max(most, 1) / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough));
  return Array.from({ length: Math.ceil(Math.max(most, 1) / step) + 1 }, (_, n) => n * step);
}

/** Bars by day. `days`: dates as YYYY-MM-DD; `counts`: as many numbers. */
export function perDay({ name, tone, days, counts }) {
  const total = counts.reduce((sum, each) => sum + each, 0);
  const best = counts.indexOf(Math.max(...counts));
  const label = total
    ? `${name} per day from ${day(days[0])} to ${day(days.at(-1))}: ${words.number(total)} in all, most on ${day(days[best])} with ${counts[best]}.`
    : `${name} per day from ${day(days[0])} to ${day(days.at(-1))}: none.`;
  const readout = h("span", { class: "readout faint", "aria-hidden": "true" }, `${day(days[0])} to ${day(days.at(-1))}`);
  const rest = readout.textContent;
  const place = h("div", { class: "plot" });
  const draw = (width) => {
    const axis = ticks(Math.max(...counts));
    const top = axis.at(-1);
    const inner = width - LEFT - 4;
    const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
    const slot = inner / days.length;
    const bar = Math.max(1.5, Math.min(slot * 0.68, 26));
    const every = Math.max(1, Math.ceil(days.length / Math.max(2, Math.floor(inner / 78))));
    const svg = s("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": label, class: `bars ${tone}` },
      axis.map((value) => [
        s("line", { class: value ? "grid" : "grid base", x1: LEFT, x2: width - 4, y1: y(value), y2: y(value) }),
        s("text", { class: "axis", x: LEFT - 7, y: y(value) + 3.5, "text-anchor": "end" }, words.number(value)),
      ]),
      days.map((each, n) => {
        const x = LEFT + slot * (n + 0.5);
        const shown = (days.length - 1 - n) % every === 0;
        const edge = n === days.length - 1 && slot < 40;
        const height = y(0) - y(counts[n]);
        return s("g", { class: "day", on: {
          pointerenter: () => fill(readout, `${day(each)}: `, h("strong", words.number(counts[n]))),
          pointerleave: () => fill(readout, rest),
        } },
        s("title", `${day(each)}: ${words.number(counts[n])}`),
        s("rect", { class: "hit", x: LEFT + slot * n, y: TOP, width: slot, height: HEIGHT - TOP - BOTTOM }),
        counts[n] > 0 && s("path", { class: "bar", d: column(x - bar / 2, y(0), bar, height) }),
        shown && s("text", { class: "axis", x: edge ? width - 4 : x, y: HEIGHT - 6, "text-anchor": edge ? "end" : "middle" }, day(each)));
      }));
    fill(place, svg);
  };
  follow(place, draw);
  return h("figure", { class: "figure" },
    h("figcaption", h("span", { class: "figure-name" }, name), h("span", { class: "figure-total" }, words.number(total)), readout),
    place);
}

function column(x, base, width, height) {
  const r = Math.min(2.5, width / 2, height);
  return `M${x} ${base}v${-(height - r)}q0 ${-r} ${r} ${-r}h${width - 2 * r}q${r} 0 ${r} ${r}v${height - r}z`;
}

/** Bars side by side with their names; each may lead somewhere. */
export function shares(rows, { total } = {}) {
  const most = Math.max(1, ...rows.map((row) => row.count));
  return h("ul", { class: "shares" }, rows.map(({ name, count, href, tone = "" }) => h("li",
    h("span", { class: "share-name" }, href ? h("a", { href }, name) : name),
    s("svg", { class: `share-bar ${tone}`, "aria-hidden": "true", focusable: "false", width: "100%", height: 8 },
      s("title", `${name}: ${count}`),
      s("rect", { class: "track", width: "100%", height: 8, rx: 4 }),
      s("rect", { class: "bar", width: `${Math.max((count / most) * 100, count ? 1.5 : 0)}%`, height: 8, rx: 4 })),
    h("span", { class: "share-count" }, words.number(count),
      total ? h("span", { class: "faint" }, ` ${words.percent(count / total)}`) : null))));
}

function follow(place, draw) {
  let drawn = 0;
  new ResizeObserver(([entry]) => {
    const width = Math.max(220, Math.floor(entry.contentRect.width));
    if (width !== drawn) draw((drawn = width));
  }).observe(place);
}

const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
export const day = (text) => DAY.format(new Date(`${text}T00:00:00Z`));
