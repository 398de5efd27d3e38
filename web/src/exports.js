// Files out of the page: tables as CSV, figures as SVG and PNG. Made in the browser, nothing is sent anywhere.

import { h, s } from "./dom.js";
import { theme } from "./theme.js";

/** One field of a CSV: quoted where needed; a text a spreadsheet would run as a formula starts with an apostrophe. */
export function field(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export const csv = (columns, rows) => [columns, ...rows].map((row) => row.map(field).join(",")).join("\r\n") + "\r\n";

export function download(name, content, type) {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

const safe = (name) => name.toLowerCase().replace(/[^a-z0-9]+/g, "_").slice(0, 60).replace(/^_|_$/g, "") || "figure";

function standalone(svg) {
  const copy = svg.cloneNode(true);
  for (const node of copy.querySelectorAll("[data-screen]")) node.remove();
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("font-family", "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif");
  const [, , width, height] = copy.getAttribute("viewBox").split(" ").map(Number);
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  copy.prepend(s("rect", { width, height, fill: theme().panel }));
  return { text: new XMLSerializer().serializeToString(copy), width, height };
}

export const saveSvg = (svg, name) => download(`${safe(name)}.svg`, standalone(svg).text, "image/svg+xml");

export async function savePng(svg, name) {
  const { text, width, height } = standalone(svg);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = h("canvas", { width: 2 * width, height: 2 * height });
  const pen = canvas.getContext("2d");
  pen.scale(2, 2);
  pen.drawImage(image, 0, 0, width, height);
  canvas.toBlob((file) => download(`${safe(name)}.png`, file), "image/png");
}

/** A figure with its title, a line on how to read it, and buttons for its files. `data` gives [columns, rows]. */
export function figure({ title, note, svg, data, name = title }) {
  const button = (label, action, hint) => h("button", { type: "button", class: "export", title: hint, onclick: action }, label);
  return h("figure", { class: "figure" },
    h("figcaption", null, h("div", { class: "figure-head" }, h("h3", null, title), h("div", { class: "exports" },
      data && button("CSV", () => { const [columns, rows] = data(); download(`${safe(name)}.csv`, csv(columns, rows), "text/csv"); }, "the numbers of this figure"),
      svg && button("SVG", () => saveSvg(svg, name), "this figure as vector drawing"),
      svg && button("PNG", () => savePng(svg, name), "this figure as picture"))),
      note && h("p", { class: "note" }, note)),
    svg && h("div", { class: "drawing" }, svg));
}

/** Some rows of a table with all their columns, for a figure's CSV. */
export const rowsOf = (table, rows) => [table.names, rows.map((row) => table.names.map((name) => table.get(name, row)))];
