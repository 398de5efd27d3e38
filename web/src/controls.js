// Controls: native selects and tables, so that keyboard and screen readers work as everywhere.

import { foreign, h } from "./dom.js";
import { count, label as named, number, probability, words } from "./format.js";
import { csv, download } from "./exports.js";
import { choose } from "./state.js";

/** A select that chooses a key of the state. `options` are values, or [value, label]. */
export function picker({ label, key, options, value, hint }) {
  const pairs = options.map((option) => (Array.isArray(option) ? option : [option, named(option)]));
  const select = h("select", { "data-keep": key, title: hint, onchange: (event) => choose({ [key]: event.target.value }) },
    pairs.map(([v, text]) => h("option", { value: v, selected: String(v) === String(value) }, text)));
  return h("label", { class: "picker" }, h("span", null, label), select);
}

export const controls = (...parts) => h("div", { class: "controls" }, ...parts);

/** Only when there is something to choose between. */
export const choice = (about) => (about.options.length > 1 ? picker(about) : null);

/** Selects for those axes of a selection that have more than one value. */
export const axes = (found, ...names) => names.map((name) => choice({ label: name, key: name, options: found.options[name], value: found[name] }));

const PAGE = 60;

/** A table of columns [{ name, title, places, format }] over row numbers of `source`; sorts on a heading, exports all of it. */
export function dataTable({ source, rows, columns, name, caption, sort }) {
  let shown = PAGE;
  let order = sort ?? null;
  const body = h("tbody");
  const more = h("button", { type: "button", class: "more" });
  const sorted = () => {
    if (!order) return rows;
    const sign = order.down ? -1 : 1;
    const key = (row) => (order.by ? order.by(row) : source.get(order.name, row));
    return [...rows].sort((a, b) => { const [x, y] = [key(a), key(b)]; return x === y ? 0 : x === null ? 1 : y === null ? -1 : sign * (x < y ? -1 : 1); });
  };
  const draw = () => {
    body.replaceChildren(...sorted().slice(0, shown).map((row) => h("tr", null, columns.map((column) => cellOf(column, source, row)))));
    more.hidden = shown >= rows.length;
    more.textContent = `show ${Math.min(rows.length - shown, 10 * PAGE)} more of ${count(rows.length)}`;
  };
  more.addEventListener("click", () => { shown += 10 * PAGE; draw(); });
  const head = h("tr", null, columns.map((column) => h("th", { scope: "col", class: source.isNumber(column.name) ? "number" : null },
    h("button", { type: "button", onclick: () => { order = { name: column.name, down: order?.name === column.name ? !order.down : source.isNumber(column.name) }; draw(); } }, column.title ?? words(column.name)))));
  draw();
  const all = () => download(`${name}.csv`, csv(source.names, rows.map((row) => source.names.map((n) => source.get(n, row)))), "text/csv");
  return h("div", { class: "table" }, h("div", { class: "figure-head" }, caption && h("h3", null, caption), h("div", { class: "exports" }, h("button", { type: "button", class: "export", onclick: all, title: "all rows and columns" }, "CSV"))),
    h("div", { class: "scroll", tabindex: 0 }, h("table", null, h("thead", null, head), body)), more);
}

function cellOf(column, source, row) {
  const value = source.get(column.name, row);
  if (column.format) return h("td", { class: "number" }, column.format(row));
  if (typeof value === "number" && /^[pq](_|$)/.test(column.name)) return h("td", { class: "number" }, probability(value));
  if (typeof value === "number") return h("td", { class: "number" }, source.isWhole(column.name) ? count(value) : number(value, column.places ?? 4));
  return h("td", null, value === null ? "–" : foreign(value));
}

/** A table of words as the page was given it. */
export function wordTable({ title, columns, rows }, name) {
  const all = () => download(`${name}.csv`, csv(columns, rows), "text/csv");
  return h("div", { class: "table words" }, h("div", { class: "figure-head" }, h("h3", null, title), h("div", { class: "exports" }, h("button", { type: "button", class: "export", onclick: all }, "CSV"))),
    h("div", { class: "scroll", tabindex: 0 }, h("table", null, h("thead", null, h("tr", null, columns.map((c) => h("th", { scope: "col" }, c)))), h("tbody", null, rows.map((row) => h("tr", null, row.map((value, i) => h(i ? "td" : "th", i ? null : { scope: "row" }, foreign(value)))))))));
}
