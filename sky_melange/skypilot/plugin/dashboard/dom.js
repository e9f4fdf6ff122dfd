// Elements. Text only ever becomes text nodes: nothing here parses HTML, so names need no escaping.

/** An element; attributes that are functions are listeners, those that are null or false are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else if (name.startsWith("--")) element.style.setProperty(name, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A table with a caption. Columns: {head, cell(row), number}; the first is the row's header. */
export function table({ caption, columns, rows, rowAttributes = () => ({}) }) {
  const head = columns.map(({ head: text, number }) => h("th", { scope: "col", class: number && "number" }, text));
  const body = rows.map((row) =>
    h("tr", rowAttributes(row), columns.map(({ cell, number }, index) =>
      h(index ? "td" : "th", { scope: index ? null : "row", class: number && "number" }, cell(row)))));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", { class: "hidden" }, caption), h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)));
}

/** A button; `kind` is primary, danger or plain. */
export function button(label, onClick, { kind = "plain", ...attributes } = {}) {
  return h("button", { type: "button", class: `button ${kind}`, click: onClick, ...attributes }, label);
}

/** What the page waits for. */
export function waiting(label) {
  return h("p", { class: "waiting", role: "status" }, h("span", { class: "spinner", "aria-hidden": "true" }), label);
}

/** Every finding of an API error: where, what, and what to do. */
export function errorBox(title, error) {
  const findings = (error.findings ?? [{ message: error.message }]).map(({ where, message, help }) =>
    h("li", {},
      where ? h("code", { class: "where" }, where) : null,
      h("span", { class: "what" }, message),
      help ? h("span", { class: "help" }, help) : null));
  return h("div", { class: "error", role: "alert" }, h("strong", {}, title), h("ul", {}, findings));
}

/** A word with a mark of its own, so that colour is never alone. Kinds: good, bad, warn, quiet. */
export function badge(kind, text) {
  const mark = { good: "✓", bad: "✕", warn: "!", quiet: "–" }[kind];
  return h("span", { class: `badge ${kind}` }, h("span", { "aria-hidden": "true" }, mark), ` ${text}`);
}

/** What is not known, and why. */
export function unknown(reason) {
  return h("span", { class: "unknown" }, "unknown", reason ? h("small", {}, reason) : null);
}

/** A titled part of the page. */
export function section(title, { actions = null, note = null } = {}, ...children) {
  return h("section", { "aria-label": title },
    h("div", { class: "bar" }, h("h2", {}, title), actions),
    note ? h("p", { class: "note" }, note) : null,
    children);
}

/** Opens a modal dialog in `root` and returns it; it removes itself when closed. */
export function openDialog(root, title, ...children) {
  const dialog = h("dialog", { "aria-label": title }, h("h2", {}, title), children);
  dialog.addEventListener("close", () => dialog.remove());
  root.append(dialog);
  dialog.showModal();
  return dialog;
}

const DRAWN = new Set(["svg", "line", "polyline", "polygon", "rect", "circle", "text", "title"]);
const SHAPED = /^(viewBox|role|aria-label|points|[xy][12]?|c[xy]|r|width|height|text-anchor|fill|fill-opacity|stroke(-width|-dasharray)?)$/;

/** A picture from the text of an SVG: known shapes and their places; anything else in it is left out. */
export function picture(text) {
  const { documentElement } = new DOMParser().parseFromString(text, "image/svg+xml");
  return h("figure", {}, documentElement.tagName === "svg" ? copied(documentElement) : null);
}

function copied(node) {
  if (node.nodeType === Node.TEXT_NODE) return document.createTextNode(node.data);
  if (!DRAWN.has(node.tagName)) return null;
  const element = document.createElementNS("http://www.w3.org/2000/svg", node.tagName);
  for (const { name, value } of node.attributes) if (SHAPED.test(name)) element.setAttribute(name, value);
  element.append(...[...node.childNodes].map(copied).filter(Boolean));
  return element;
}
