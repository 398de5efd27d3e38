// Any small table with a step or strength, a value and its bounds is drawn as curves.

import { lineChart } from "../charts.js";
import { choice, controls, dataTable } from "../controls.js";
import { figure, rowsOf } from "../exports.js";
import { words } from "../format.js";
import { chosen } from "../state.js";
import { lineStyle } from "../theme.js";
import { openTable } from "../unpack.js";

export const STEPS = ["step", "n_sources", "to", "n_training_samples"];
export const STRENGTHS = ["strength", "factor", "multiplier"];
export const MAPS = ["map", "source_model", "from_model", "target_model"];
const VALUES = ["value", "difference", "per_1000", "auroc", "gap", "effect", "accuracy", "recovery", "cosine", "rating", "score", "kl", "perplexity"];
const SERIES = ["set", "test", "source", "behaviour", "concept", "kind", "method", "direction", "map", "name"];
const PANELS = ["measure", "metric", "outcome", "quantity"];
const BOUNDS = [["ci_low", "ci_high"], ["low", "high"], ["value_low", "value_high"]];

export const namesOf = (header) => header.columns.map((column) => column.name);
const TITLES = {
  auroc_by_step: ["AUROC by step", "Held-out rows of each set. A set's own rows come into training at the step named after it."],
  gain_per_row: ["Gain of each step, per 1,000 rows added", "Paired on the same test rows. A rate: the gain of a step that adds 200 rows is shown five times as large."],
  gap_by_step: ["Gap: AUROC at home less AUROC on each other set", "At home: the sets the probe was first trained on. Below 0, another set is read better than home."],
  same_size: ["More sources at equal size", "AUROC of a mixture cut to as many rows as the first step has, less that of the first step: what variety alone does."],
};

const first = (names, candidates) => candidates.find((name) => names.includes(name));

/** The column that a pair of bounds belongs to: `value` by contract, else the number that stands right before the lower one. */
export function bounded(header) {
  const names = namesOf(header);
  const bounds = BOUNDS.find((pair) => pair.every((name) => names.includes(name)));
  if (!bounds) return null;
  const y = names.includes("value") ? "value" : names[names.indexOf(bounds[0]) - 1];
  const column = header.columns.find((found) => found.name === y);
  return column && column.kind !== "category" && VALUES.includes(y) ? { y, low: bounds[0], high: bounds[1] } : null;
}

/** How to draw a table as curves over one of `xs`, or null when it cannot be. */
export function curveSpec(header, xs) {
  const names = namesOf(header);
  const isNumber = (name) => header.columns.find((column) => column.name === name)?.kind !== "category";
  const x = xs.find((name) => names.includes(name));
  const found = bounded(header);
  return x && found ? { x, ...found, series: first(names, SERIES), panel: first(names, PANELS), label: isNumber(x) ? first(names, ["name", "step_name"]) : null } : null;
}

export const drawable = (run, xs) => Object.entries(run.tables).map(([name, header]) => ({ name, header, spec: curveSpec(header, xs) })).filter((found) => found.spec);

/** All such tables of a run as figures. */
export async function curves(run, xs) {
  const places = new Map();
  const found = [];
  for (const one of drawable(run, xs)) found.push(await panel(one, xs, places));
  return found.flat();
}

/** The style of a name, the same in every figure of a view. */
function styleOf(name, places) {
  if (!places.has(name)) places.set(name, places.size);
  return lineStyle(places.get(name), /random|control|shuffled|null/.test(name));
}

async function panel({ name, header, spec }, xs, places) {
  const table = await openTable(header);
  const panels = spec.panel ? table.distinct(spec.panel) : [];
  const key = `${name}_${spec.panel}`;
  const one = panels.length ? chosen(key, panels, panels[0]) : null;
  const axes = xs.filter((x) => table.has(x) && table.isNumber(x) && table.distinct(x).length > 1);
  if (!axes.length) return null;
  const x = chosen(`${name}_x`, axes, axes[0]);
  const rows = table.select(one === null ? {} : { [spec.panel]: one });
  const names = spec.series ? [...new Set(rows.map((row) => table.get(spec.series, row)))] : [words(spec.y)];
  const series = names.map((label) => ({ name: String(label), ...styleOf(String(label), places), points: rows.filter((row) => !spec.series || table.get(spec.series, row) === label).map((row) => ({ x: table.get(x, row), y: table.get(spec.y, row), low: table.get(spec.low, row), high: table.get(spec.high, row) })).sort((a, b) => a.x - b.x) }));
  const known = series.some((line) => line.points.some((point) => point.y !== null));
  const chance = table.has("chance") ? table.get("chance", rows[0]) : spec.y === "auroc" ? 0.5 : /gap|difference|per_1000|effect/.test(spec.y) ? 0 : null;
  const lines = chance === null ? [] : [{ y: chance, label: /gap|difference|per_1000|effect/.test(spec.y) ? "no difference" : "chance" }];
  const steps = spec.label && x === xs[0] ? new Map(rows.map((row) => [table.get(x, row), table.get(spec.label, row)])) : null;
  const picks = controls(choice({ label: words(spec.panel), key, options: panels.map((v) => [v, words(v)]), value: one }), choice({ label: "over", key: `${name}_x`, options: axes.map((v) => [v, words(v)]), value: x }));
  const undefined_ = rows.filter((row) => table.get(spec.y, row) === null).length;
  const note = [undefined_ && `${undefined_} of ${rows.length} values are undefined and not drawn; the table names why.`, "Bands: 95 % intervals."].filter(Boolean).join(" ");
  const svg = known && lineChart({ series: series.filter((line) => line.points.some((p) => p.y !== null)), lines, xTitle: words(x), yTitle: one === null || one === spec.y ? words(spec.y) : `${words(one)}, ${words(spec.y)}`, range: spec.y === "auroc" || spec.y === "accuracy" ? [0, 1] : null, width: 1040, height: 340, name, categories: steps });
  return [picks, figure({ title: TITLES[name]?.[0] ?? words(name), note: [TITLES[name]?.[1], note].filter(Boolean).join(" "), svg: svg || null, data: () => rowsOf(table, rows) }), undefined_ ? dataTable({ source: table, rows, name, columns: table.names.slice(0, 11).map((n) => ({ name: n, places: 3 })) }) : null];
}
