// Lines over layers or steps, points with intervals, and the drawings of one cell. Figures carry their colours in themselves.

import { s, shorten, textWidth } from "./dom.js";
import { number } from "./format.js";
import { theme } from "./theme.js";

const scale = (from, to) => (value) => to[0] + ((value - from[0]) / (from[1] - from[0] || 1)) * (to[1] - to[0]);

function ticks(low, high, wanted = 5) {
  const raw = (high - low) / wanted || 1;
  const unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * unit).find((m) => m >= raw);
  const found = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-6; v += step) found.push(Math.abs(v) < step * 1e-6 ? 0 : v);
  return found;
}

const tickText = (value) => (Number.isInteger(value) ? value.toLocaleString("en") : String(+value.toFixed(4)));

function frame(width, height, margin, name) {
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": name, "font-size": 12 });
  return { svg, box: { left: margin.left, right: width - margin.right, top: margin.top, bottom: height - margin.bottom } };
}

function axes(svg, box, { x, y, xs, ys, xTitle, yTitle, xText = tickText, yText = tickText }) {
  const t = theme();
  for (const v of ys) svg.append(s("line", { x1: box.left, x2: box.right, y1: y(v), y2: y(v), stroke: t.faint, "stroke-width": 0.8 }), s("text", { x: box.left - 8, y: y(v) + 4, "text-anchor": "end", fill: t.soft, "font-size": 11 }, yText(v)));
  for (const v of xs) svg.append(s("text", { x: x(v), y: box.bottom + 17, "text-anchor": "middle", fill: t.soft, "font-size": 11 }, xText(v)));
  svg.append(s("line", { x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom, stroke: t.soft }));
  svg.append(s("text", { x: (box.left + box.right) / 2, y: box.bottom + 36, "text-anchor": "middle", fill: t.soft }, xTitle));
  svg.append(s("text", { x: 13, y: (box.top + box.bottom) / 2, "text-anchor": "middle", fill: t.soft, transform: `rotate(-90 13 ${(box.top + box.bottom) / 2})` }, yTitle));
}

const flatten = (parts) => parts.filter((v) => v !== null && v !== undefined && Number.isFinite(v));

/** `series`: { name, colour, dash, strong, bars (intervals as bars, moved by so many pixels), points: [{x, y, low, high}] }; `lines`: { y, label, dash }; `mark` an x to point at. */
export function lineChart({ series, lines = [], mark, xTitle, yTitle, range, width = 720, height = 330, name = "curves", categories }) {
  const t = theme();
  const labels = series.map((line) => shorten(line.name, 28));
  const right = Math.max(80, ...labels.map((label) => textWidth(label, 12))) + 40;
  const { svg, box } = frame(width, height, { left: 58, right, top: 14, bottom: 46 }, name);
  const points = series.flatMap((line) => line.points);
  const all = flatten([...points.flatMap((p) => [p.y, p.low, p.high]), ...lines.map((l) => l.y)]);
  const [low, high] = range ?? [Math.min(...all), Math.max(...all)];
  const pad = range ? 0 : (high - low || 1) * 0.05;
  const xsFound = [...new Set(points.map((p) => p.x))].sort((a, b) => a - b);
  const x = scale([xsFound[0], xsFound.at(-1)], [box.left + 10, box.right - 10]);
  const y = scale([low - pad, high + pad], [box.bottom, box.top]);
  const shown = categories || xsFound.length <= 8 ? xsFound : ticks(xsFound[0], xsFound.at(-1), 8).filter((v) => v >= xsFound[0] && v <= xsFound.at(-1));
  axes(svg, box, { x, y, xs: shown, ys: ticks(low, high), xTitle, yTitle, xText: categories ? (v) => shorten(categories.get(v) ?? tickText(v), 16) : tickText });
  if (mark !== undefined && mark !== null) svg.append(s("line", { x1: x(mark), x2: x(mark), y1: box.top, y2: box.bottom, stroke: t.accent, "stroke-width": 1.2, "stroke-dasharray": "2 3" }));
  for (const line of series) drawLine(svg, line, x, y);
  lines.forEach((ref, place) => svg.append(s("line", { x1: box.left, x2: box.right, y1: y(ref.y), y2: y(ref.y), stroke: t.ink, "stroke-width": 1.1, "stroke-dasharray": ref.dash ?? "5 4" }),
    s("text", { x: box.left + 4, y: y(ref.y) + (place ? -6 : 14), fill: t.ink, "font-size": 11.5, stroke: t.panel, "stroke-width": 4, "stroke-linejoin": "round", "paint-order": "stroke" }, ref.label)));
  drawLegend(svg, series, labels, box, y, t);
  return svg;
}

function drawLine(svg, line, x, y) {
  const known = line.points.filter((p) => p.y !== null);
  const banded = known.filter((p) => p.low !== null && p.low !== undefined);
  if (banded.length > 1 && line.strong !== false && !line.bars) {
    const edge = [...banded.map((p) => `${x(p.x)},${y(p.high)}`), ...banded.toReversed().map((p) => `${x(p.x)},${y(p.low)}`)].join(" ");
    svg.append(s("polygon", { points: edge, fill: line.colour, "fill-opacity": line.strong ? 0.2 : 0.1 }));
  }
  const opacity = line.strong === false ? 0.55 : 1;
  svg.append(s("polyline", { points: known.map((p) => `${x(p.x)},${y(p.y)}`).join(" "), fill: "none", stroke: line.colour, "stroke-width": line.strong ? 2.4 : 1.5, "stroke-dasharray": line.dash || null, "stroke-opacity": opacity, "stroke-linejoin": "round" }));
  if (line.bars) for (const p of banded) svg.append(s("line", { x1: x(p.x) + line.bars, x2: x(p.x) + line.bars, y1: y(p.low), y2: y(p.high), stroke: line.colour, "stroke-width": 1.6, "stroke-opacity": 0.75 }));
  if (known.length <= 40) for (const p of known) svg.append(s("circle", { cx: x(p.x) + (line.bars ?? 0), cy: y(p.y), r: line.strong ? 3 : 2, fill: line.colour, "fill-opacity": opacity }, s("title", null, `${line.name}, ${tickText(p.x)}: ${number(p.y)} ${p.low === null || p.low === undefined ? "" : `[${number(p.low)}, ${number(p.high)}]`}`)));
}

/** Names at the right edge, at the height of each line's end, moved apart. */
function drawLegend(svg, series, labels, box, y, t) {
  const ends = series.map((line, i) => ({ i, at: y(line.points.findLast((p) => p.y !== null)?.y ?? 0) })).sort((a, b) => a.at - b.at);
  const step = Math.min(15, (box.bottom - box.top) / Math.max(1, ends.length));
  ends.forEach((end, place) => { end.at = Math.max(end.at, box.top + 4, place ? ends[place - 1].at + step : 0); });
  for (let place = ends.length - 1, floor = box.bottom; place >= 0; place--, floor -= step) ends[place].at = Math.min(ends[place].at, floor);
  for (const { i, at } of ends) {
    svg.append(s("line", { x1: box.right + 6, x2: box.right + 24, y1: at, y2: at, stroke: series[i].colour, "stroke-width": 2.2, "stroke-dasharray": series[i].dash || null }));
    svg.append(s("text", { x: box.right + 29, y: at + 4, fill: t.ink, "font-weight": series[i].strong ? 650 : 400 }, labels[i], s("title", null, series[i].name)));
  }
}

/** `rows`: { name, value, low, high, marks: [{x, label}], control }; `lines` are shared reference values; `fine`: many marks. */
export function dotChart({ rows, lines = [], xTitle, range, width = 720, name = "estimates", markWord, fine }) {
  const t = theme();
  const left = Math.max(60, ...rows.map((row) => textWidth(shorten(row.name, 34), 12.5))) + 22;
  const height = 44 + rows.length * 25 + (lines.length ? 18 : 0);
  const right = Math.max(90, ...rows.map((row) => textWidth(estimateText(row), 11))) + 20;
  const { svg, box } = frame(width, height + 12, { left, right, top: lines.length ? 26 : 10, bottom: 48 }, name);
  const all = flatten([...rows.flatMap((r) => [r.value, r.low, r.high, ...(r.marks ?? []).map((m) => m.x)]), ...lines.map((l) => l.x)]);
  const [low, high] = range ?? [Math.min(...all), Math.max(...all)];
  const pad = range ? 0 : (high - low || 1) * 0.06;
  const x = scale([low - pad, high + pad], [box.left, box.right]);
  for (const v of ticks(low - pad, high + pad)) svg.append(s("line", { x1: x(v), x2: x(v), y1: box.top, y2: box.bottom, stroke: t.faint, "stroke-width": 0.8 }), s("text", { x: x(v), y: box.bottom + 16, "text-anchor": "middle", fill: t.soft, "font-size": 11 }, tickText(v)));
  svg.append(s("text", { x: (box.left + box.right) / 2, y: box.bottom + 34, "text-anchor": "middle", fill: t.soft }, xTitle));
  for (const ref of lines) svg.append(s("line", { x1: x(ref.x), x2: x(ref.x), y1: box.top - 4, y2: box.bottom, stroke: t.ink, "stroke-dasharray": ref.dash ?? "5 4" }), s("text", { x: x(ref.x), y: box.top - 9, "text-anchor": "middle", fill: t.ink, "font-size": 11 }, ref.label));
  const step = (box.bottom - box.top) / rows.length;
  rows.forEach((row, i) => drawDot(svg, row, box, box.top + (i + 0.5) * step, x, t, fine));
  if (markWord) svg.append(s("path", { d: `M${box.right + 14},${box.bottom + 24}v10`, stroke: t.ink, "stroke-width": 2 }), s("text", { x: box.right + 20, y: box.bottom + 34, fill: t.soft, "font-size": 11 }, markWord));
  return svg;
}

function drawDot(svg, row, box, at, x, t, fine) {
  const paint = row.colour ?? (row.control ? t.soft : t.lines[0]);
  svg.append(s("text", { x: box.left - 10, y: at + 4, "text-anchor": "end", fill: t.ink, "font-size": 12.5 }, shorten(row.name, 34), s("title", null, row.name)));
  for (const mark of row.marks ?? []) if (mark.x !== null) svg.append(s("path", { d: fine ? `M${x(mark.x)},${at - 5}v10` : `M${x(mark.x)},${at - 7}v14`, stroke: fine ? t.soft : t.ink, "stroke-width": fine ? 1 : 2 }, s("title", null, `${mark.label} ${number(mark.x)}`)));
  if (row.value === null) return svg.append(s("text", { x: box.left + 6, y: at + 4, fill: t.soft, "font-style": "italic" }, row.reason ?? "undefined"));
  if (row.low !== null && row.low !== undefined) svg.append(s("line", { x1: x(row.low), x2: x(row.high), y1: at, y2: at, stroke: paint, "stroke-width": 2.4, "stroke-linecap": "round" }));
  const hollow = row.control ? { fill: t.panel, stroke: paint, "stroke-width": 2 } : { fill: paint };
  svg.append(s("circle", { cx: x(row.value), cy: at, r: 4.6, ...hollow }, s("title", null, `${row.name}: ${number(row.value)}`)));
  svg.append(s("text", { x: box.right + 8, y: at + 4, fill: t.soft, "font-size": 11 }, estimateText(row)));
}

const estimateText = (row) => `${number(row.value)}${row.low !== null && row.low !== undefined ? ` [${number(row.low, 2)}, ${number(row.high, 2)}]` : ""}`;

/** Rows by score, true above the line and false below it; the dashed line is the threshold. */
export function histogram({ ends, above, below, threshold = 0, xTitle = "score", width = 440, height = 210 }) {
  const t = theme();
  const { svg, box } = frame(width, height, { left: 44, right: 12, top: 20, bottom: 40 }, "scores by class");
  const most = Math.max(...above, ...below, 1);
  const middle = (box.top + box.bottom) / 2;
  const x = scale(ends, [box.left, box.right]);
  const bar = (box.right - box.left) / above.length;
  const draw = (counts, colour, up) => counts.forEach((n, i) => n && svg.append(s("rect", { x: box.left + i * bar + 0.5, width: bar - 1, y: up ? middle - (n / most) * (middle - box.top) : middle + 1, height: (n / most) * (middle - box.top), fill: colour }, s("title", null, `${n} rows`))));
  draw([...above], t.lines[0], true);
  draw([...below], t.lines[1], false);
  svg.append(s("line", { x1: box.left, x2: box.right, y1: middle, y2: middle, stroke: t.soft }));
  if (ends[0] < threshold && ends[1] > threshold) svg.append(s("line", { x1: x(threshold), x2: x(threshold), y1: box.top - 4, y2: box.bottom, stroke: t.ink, "stroke-dasharray": "4 3" }), s("text", { x: x(threshold), y: box.top - 8, "text-anchor": "middle", fill: t.ink, "font-size": 11 }, "threshold"));
  for (const v of ticks(ends[0], ends[1], 4)) svg.append(s("text", { x: x(v), y: box.bottom + 15, "text-anchor": "middle", fill: t.soft, "font-size": 11 }, tickText(v)));
  svg.append(s("text", { x: (box.left + box.right) / 2, y: box.bottom + 32, "text-anchor": "middle", fill: t.soft }, xTitle));
  svg.append(s("text", { x: box.left - 6, y: box.top + 14, "text-anchor": "end", fill: t.lines[0], "font-weight": 600 }, "true"), s("text", { x: box.left - 6, y: box.bottom - 6, "text-anchor": "end", fill: t.lines[1], "font-weight": 600 }, "false"));
  return svg;
}

export function rocCurve({ caught, width = 260, height = 250 }) {
  const t = theme();
  const { svg, box } = frame(width, height, { left: 50, right: 12, top: 10, bottom: 44 }, "ROC curve");
  const x = scale([0, 1], [box.left, box.right]);
  const y = scale([0, 1], [box.bottom, box.top]);
  axes(svg, box, { x, y, xs: [0, 0.5, 1], ys: [0, 0.5, 1], xTitle: "false rows called true", yTitle: "true rows called true" });
  svg.append(s("line", { x1: x(0), y1: y(0), x2: x(1), y2: y(1), stroke: t.soft, "stroke-dasharray": "5 4" }), s("text", { x: x(0.62), y: y(0.55), fill: t.soft, "font-size": 11 }, "chance"));
  const points = [...caught].map((v, i) => `${x(i / (caught.length - 1))},${y(v)}`);
  svg.append(s("polyline", { points: [`${x(0)},${y(0)}`, ...points].join(" "), fill: "none", stroke: t.lines[0], "stroke-width": 2.2 }));
  return svg;
}

/** Share of true rows in equal parts of the rows, lowest scores first. */
export function shareByScore({ share, low, high, base, width = 260, height = 250 }) {
  const t = theme();
  const { svg, box } = frame(width, height, { left: 50, right: 12, top: 10, bottom: 44 }, "share of true rows by score");
  const parts = [...share].filter((v) => !Number.isNaN(v)).length;
  const x = scale([0.5, parts + 0.5], [box.left, box.right]);
  const y = scale([0, 1], [box.bottom, box.top]);
  axes(svg, box, { x, y, xs: [1, parts], ys: [0, 0.5, 1], xTitle: "equal parts of the rows, by score", yTitle: "share of them true", xText: (v) => (v === 1 ? "lowest" : "highest") });
  svg.append(s("line", { x1: box.left, x2: box.right, y1: y(base), y2: y(base), stroke: t.soft, "stroke-dasharray": "5 4" }));
  share.forEach((v, i) => Number.isNaN(v) || svg.append(s("line", { x1: x(i + 1), x2: x(i + 1), y1: y(low[i]), y2: y(high[i]), stroke: t.lines[0], "stroke-width": 2 }), s("circle", { cx: x(i + 1), cy: y(v), r: 3.6, fill: t.lines[0] })));
  return svg;
}

/** Predicted against actual, a dot per row; the line is where they are equal. */
export function scatter({ points, xTitle, yTitle, width = 440, height = 400, name = "predicted against actual" }) {
  const t = theme();
  const { svg, box } = frame(width, height, { left: 62, right: 16, top: 12, bottom: 46 }, name);
  const all = flatten(points.flatMap((p) => [p.x, p.y]));
  const ends = [Math.min(...all), Math.max(...all)];
  const x = scale(ends, [box.left + 6, box.right]);
  const y = scale(ends, [box.bottom - 6, box.top]);
  axes(svg, box, { x, y, xs: ticks(...ends), ys: ticks(...ends), xTitle, yTitle });
  svg.append(s("line", { x1: x(ends[0]), y1: y(ends[0]), x2: x(ends[1]), y2: y(ends[1]), stroke: t.soft, "stroke-dasharray": "5 4" }));
  for (const p of points) if (p.x !== null && p.y !== null) svg.append(s("circle", { cx: x(p.x), cy: y(p.y), r: 3, fill: t.lines[0], "fill-opacity": 0.55 }));
  return svg;
}
