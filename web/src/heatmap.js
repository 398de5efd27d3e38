// A grid of values: one tab stop, arrow keys move, Enter opens. Colour says where a value stands between chance and its ends.

import { s, shorten, textWidth } from "./dom.js";
import { brief } from "./format.js";
import { colour, inkOn, theme } from "./theme.js";

const GAP = 10;

/**
 * `cell(row, column)` gives null, or { value, scale, label, open, dim, outlined, empty }: `dim` marks an interval that holds chance,
 * `empty` is the word for an undefined value. `bands` colours the rows' and columns' families.
 */
export function heatmap({ rows, columns, cell, onOpen, selected, rowTitle, columnTitle, bands, legend, width = 38, height = 25, name = "matrix", rowLabel = (row) => row }) {
  const t = theme();
  const left = Math.ceil(Math.max(...rows.map((r) => textWidth(shorten(rowLabel(r)), 12)), 40)) + (bands ? 26 : 18) + (rowTitle ? 20 : 0);
  const longest = Math.max(...columns.map((c) => textWidth(shorten(c), 12)), 10);
  const slanted = columns.some((c) => textWidth(shorten(c), 12) > width - 4);
  const top = (slanted ? Math.ceil(longest * 0.72) + 18 : 22) + (columnTitle ? 20 : 0) + (bands ? 8 : 0);
  const right = slanted ? Math.ceil(longest * 0.72) : 8;
  const bar = Math.min(300, Math.max(200, columns.length * width));
  const said = legend ? left + bar + 60 + Math.max(textWidth(legend.dim ?? "", 11), textWidth(legend.outlined ?? "", 11)) : 0;
  const total = [Math.ceil(Math.max(left + columns.length * width + right, said)), top + rows.length * height + (legend ? 58 : 12)];
  const svg = s("svg", { viewBox: `0 0 ${total[0]} ${total[1]}`, width: total[0], height: total[1], class: "heatmap", role: "grid", "aria-label": name, "font-size": 12 });
  svg.append(s("defs", null, s("pattern", { id: `hatch-${name}`, width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, s("line", { x1: 0, y1: 0, x2: 0, y2: 5, stroke: t.ink, "stroke-width": 0.9, "stroke-opacity": 0.28 }))));
  if (columnTitle) svg.append(s("text", { x: left, y: 14, fill: t.soft, "font-style": "italic" }, columnTitle));
  if (rowTitle) svg.append(s("text", { x: 12, y: top + (rows.length * height) / 2, fill: t.soft, "font-style": "italic", "text-anchor": "middle", transform: `rotate(-90 12 ${top + (rows.length * height) / 2})` }, rowTitle));
  columns.forEach((name, c) => svg.append(columnLabel(name, left + (c + 0.5) * width, top - GAP - (bands ? 6 : 0), slanted, t)));
  rows.forEach((name, r) => svg.append(s("text", { x: left - GAP - (bands ? 6 : 0), y: top + (r + 0.5) * height + 4, "text-anchor": "end", fill: t.ink }, shorten(rowLabel(name)), s("title", null, rowLabel(name)))));
  if (bands) drawBands(svg, { rows, columns, bands, left, top, width, height });
  const nodes = rows.map((row, r) => {
    const line = s("g", { role: "row" });
    const found = columns.map((column, c) => drawCell(cell(row, column), { x: left + c * width, y: top + r * height, width, height, label: `${row}, ${column}`, hatch: `hatch-${name}`, t }));
    line.append(...found.filter(Boolean));
    svg.append(line);
    return found;
  });
  keys(svg, nodes, (r, c) => onOpen?.(rows[r], columns[c]), selected && [rows.indexOf(selected[0]), columns.indexOf(selected[1])], t);
  if (legend) svg.append(drawLegend(legend, left, top + rows.length * height + 18, bar, t, `hatch-${name}`));
  return svg;
}

function columnLabel(name, x, y, slanted, t) {
  const turn = slanted ? { transform: `rotate(-45 ${x} ${y})`, "text-anchor": "start" } : { "text-anchor": "middle" };
  return s("text", { x, y, fill: t.ink, ...turn }, shorten(name), s("title", null, name));
}

function drawBands(svg, { rows, columns, bands, left, top, width, height }) {
  const strip = (name, box) => bands(name) && svg.append(s("rect", { ...box, fill: bands(name) }));
  rows.forEach((name, r) => strip(name, { x: left - 9, y: top + r * height, width: 5, height }));
  columns.forEach((name, c) => strip(name, { x: left + c * width, y: top - 9, width, height: 5 }));
}

function drawCell(found, { x, y, width, height, label, hatch, t }) {
  if (!found) return null;
  const undefined_ = found.value === null;
  const ground = colour(found.value, found.scale);
  const group = s("g", { class: "cell", role: "gridcell", tabindex: -1, "data-keep": `${hatch} ${label}`, "aria-label": found.label ?? label });
  group.append(s("rect", { x, y, width, height, fill: ground, stroke: t.panel, "stroke-width": 1.5 }));
  if (found.dim && !undefined_) group.append(s("rect", { x, y, width, height, fill: `url(#${hatch})` }));
  if (found.outlined) group.append(s("rect", { x: x + 1.5, y: y + 1.5, width: width - 3, height: height - 3, fill: "none", stroke: t.ink, "stroke-width": 1.3 }));
  const text = undefined_ ? (found.empty ?? "–") : brief(found.value);
  if (width >= 26) group.append(s("text", { x: x + width / 2, y: y + height / 2 + 4, "text-anchor": "middle", "font-size": width > 50 ? 13.5 : Math.min(11.5, width / 3), fill: undefined_ ? t.soft : inkOn(ground), "pointer-events": "none" }, text));
  group.append(s("title", null, found.label ?? label));
  return group;
}

function keys(svg, nodes, open, selected, t) {
  const mark = s("rect", { fill: "none", stroke: t.accent, "stroke-width": 3, rx: 2, "pointer-events": "none", visibility: "hidden", "data-screen": "" });
  svg.append(mark);
  const present = (r, c) => nodes[r]?.[c];
  const put = (r, c) => {
    const box = present(r, c)?.firstChild;
    if (!box) return;
    for (const side of ["x", "y", "width", "height"]) mark.setAttribute(side, box.getAttribute(side));
    mark.setAttribute("visibility", "visible");
  };
  const first = selected && present(...selected) ? selected : nodes.flatMap((line, r) => line.map((node, c) => node && [r, c])).find(Boolean);
  if (first) present(...first).setAttribute("tabindex", 0);
  if (selected && present(...selected)) put(...selected);
  nodes.forEach((line, r) => line.forEach((node, c) => {
    if (!node) return;
    node.addEventListener("click", () => { put(r, c); open(r, c); });
    node.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (step) {
        let [a, b] = [r + step[0], c + step[1]];
        while (nodes[a] && b >= 0 && b < nodes[a].length && !nodes[a][b]) { a += step[0]; b += step[1]; }
        if (present(a, b)) { node.setAttribute("tabindex", -1); present(a, b).setAttribute("tabindex", 0); present(a, b).focus(); }
        event.preventDefault();
      } else if (event.key === "Enter" || event.key === " ") { put(r, c); open(r, c); event.preventDefault(); }
    });
  }));
}

function drawLegend({ low, middle, high, words, dim, outlined }, x, y, width, t, hatch) {
  const group = s("g", { "font-size": 11, fill: t.soft });
  const steps = 60;
  for (let i = 0; i < steps; i++) {
    const place = (i + 0.5) / steps;
    const value = place < 0.5 ? -1 + 2 * place : 2 * place - 1;
    group.append(s("rect", { x: x + (i * width) / steps, y, width: width / steps + 0.5, height: 9, fill: colour(value, { low: -1, middle: 0, high: 1 }) }));
  }
  group.append(s("text", { x, y: y + 22 }, low), s("text", { x: x + width / 2, y: y + 22, "text-anchor": "middle" }, middle), s("text", { x: x + width, y: y + 22, "text-anchor": "end" }, high));
  if (words) group.append(s("text", { x, y: y - 5 }, words));
  let at = x + width + 26;
  if (dim) { group.append(s("rect", { x: at, y: y - 3, width: 16, height: 13, fill: t.map[4], stroke: t.faint }), s("rect", { x: at, y: y - 3, width: 16, height: 13, fill: `url(#${hatch})` }), s("text", { x: at + 22, y: y + 8 }, dim)); }
  if (outlined) { group.append(s("rect", { x: at, y: y + 15, width: 16, height: 13, fill: "none", stroke: t.ink, "stroke-width": 1.3 }), s("text", { x: at + 22, y: y + 26 }, outlined)); }
  return group;
}
