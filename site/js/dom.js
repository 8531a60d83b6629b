// Builds the page. All that people wrote becomes text, never markup: nothing here can make markup of it.

const SVG = "http://www.w3.org/2000/svg";

/** An element. Props: `class`, `on` (listeners), attributes; false, null and undefined leave one out. */
export function h(tag, props, ...children) {
  return build(document.createElement(tag), props, children);
}

/** An SVG element. */
export function s(tag, props, ...children) {
  return build(document.createElementNS(SVG, tag), props, children);
}

function build(element, props, children) {
  if (typeof props === "string" || Array.isArray(props) || props instanceof Node) {
    children.unshift(props);
    props = {};
  }
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === "href" && !/^(#|\/(?![/\\]))/.test(value)) {
      throw new TypeError("links of the console stay on its own site");
    } else if (name.startsWith("on") || name === "style" || name === "srcdoc") {
      throw new TypeError(`${name} is never set`);
    } else if (name === "value") {
      element.value = value;
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(element, child);
    else if (child instanceof Node) element.appendChild(child);
    else if (child !== null && child !== undefined && child !== false) {
      element.appendChild(document.createTextNode(String(child)));
    }
  }
}

/** Replace the element's content with these children. */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

const ICONS = {
  overview: ["M4 20V10", "M10 20V4", "M16 20v-8", "M21 20H3"],
  requests: ["M3.5 13.5h5l1.5 3h4l1.5-3h5", "M6 5h12l2.5 8.5V19h-17v-5.5z"],
  users: ["M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7z", "M2.5 20a6.5 6.5 0 0 1 13 0", "M16 4.3a3.5 3.5 0 0 1 0 6.4", "M18.5 14.5a6.5 6.5 0 0 1 3 5.5"],
  events: ["M3 12h4l3-8 4 16 3-8h4"],
  audit: ["M12 7v5l3.5 2", "M3.5 12a8.5 8.5 0 1 0 2.6-6.1L3.5 8.3", "M3.5 4v4.3h4.3"],
  policy: ["M12 3l7.5 3v5.5c0 4.5-3.1 8-7.5 9.5-4.4-1.5-7.5-5-7.5-9.5V6z", "M8.8 12l2.3 2.3 4.2-4.5"],
  connect: ["M9 3v5", "M15 3v5", "M6.5 8h11v3.5a5.5 5.5 0 0 1-11 0z", "M12 17v4"],
  search: ["M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14z", "M20.5 20.5L16 16"],
  sun: ["M12 16.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9z", "M12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4"],
  moon: ["M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z"],
  auto: ["M12 20.5a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17z", "M12 3.5v17", "M12 7.5h6.5M12 12h8.3M12 16.5h6.5"],
  close: ["M6 6l12 12", "M18 6L6 18"],
  back: ["M19 12H5", "M11 6l-6 6 6 6"],
  next: ["M9 6l6 6-6 6"],
  plus: ["M12 5v14", "M5 12h14"],
  check: ["M5 12.5l4.5 4.5L19 7.5"],
  alert: ["M12 8.5v4.5", "M12 16.5v.1", "M12 3.5L2.5 20h19z"],
  pause: ["M9 5.5v13", "M15 5.5v13"],
  play: ["M7.5 5l11 7-11 7z"],
  replay: ["M20.5 12a8.5 8.5 0 1 1-2.6-6.1l2.6 2.4", "M20.5 4v4.3h-4.3"],
  leave: ["M10 20.5H5.5a1.5 1.5 0 0 1-1.5-1.5V5a1.5 1.5 0 0 1 1.5-1.5H10", "M15.5 16.5L20 12l-4.5-4.5", "M20 12H9.5"],
  copy: ["M9 9h10.5v10.5H9z", "M5.5 15h-1V4.5H15v1"],
  ban: ["M12 20.5a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17z", "M6 6l12 12"],
  trash: ["M4.5 7h15", "M9.5 7V4.5h5V7", "M6.5 7l1 13h9l1-13", "M10.5 11v5.5M13.5 11v5.5"],
  mail: ["M3.5 5.5h17v13h-17z", "M4 6.5l8 6.5 8-6.5"],
  cloud: ["M3 3l18 18", "M8.5 6.5A6 6 0 0 1 18 10a4.5 4.5 0 0 1 2.7 7.5", "M16.5 19H7A4.5 4.5 0 0 1 6.3 10"],
  info: ["M12 20.5a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17z", "M12 11.5v4.5", "M12 8v.1"],
  give: ["M12 5v14", "M5 12h14"],
  door: ["M14 20.5V3.5L5.5 5v14z", "M14 5.5h4.5v13H14", "M11 12v.1"],
};

/** A decorative icon; its meaning stands beside it in words. */
export function icon(name) {
  const paths = ICONS[name].map((d) => s("path", { d }));
  return s("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" }, paths);
}

/** The logo, a ticket. */
export function mark() {
  return s(
    "svg",
    { class: "mark", viewBox: "0 0 28 20", "aria-hidden": "true", focusable: "false" },
    s("path", { class: "mark-paper", d: "M1 4a3 3 0 0 1 3-3h20a3 3 0 0 1 3 3v2.6a3.5 3.5 0 0 0 0 6.8V16a3 3 0 0 1-3 3H4a3 3 0 0 1-3-3v-2.6a3.5 3.5 0 0 0 0-6.8z" }),
    s("path", { class: "mark-tear", d: "M18.5 4.5v11" }),
  );
}
