// Which rows of the results a view shows: one of each of model, split, metric, protocol, method, layer, position.

import { chosen, state } from "./state.js";

const AXES = ["metric", "protocol", "method", "layer", "position", "train", "test", "model", "seed"];

/** The values each axis has, and the one that is chosen: by the address, else the run's own choice, else a plain default. */
export function selection(page, table) {
  const start = page.run.start;
  const options = Object.fromEntries(AXES.map((axis) => [axis, table.distinct(axis)]));
  if (!state.train && !start.train) options.train = ordered(page, options.train);
  const deep = options.layer[Math.floor(options.layer.length * 0.75)];
  const defaults = { metric: start.metric ?? "accuracy", protocol: "strict", method: start.method ?? "dim", layer: start.layer ?? deep, train: start.train, test: start.train, position: start.position };
  const value = Object.fromEntries(AXES.map((axis) => [axis, chosen(axis, options[axis], defaults[axis])]));
  return { options, ...value };
}

/** The first order a run has: its clustering, else by family. */
export const orderNames = (page) => Object.keys(page.run.orders);

export function ordered(page, names, order) {
  const list = page.run.orders[order ?? orderNames(page)[0]] ?? [];
  const place = new Map(list.map((name, i) => [name, i]));
  return [...names].sort((a, b) => (place.get(a) ?? 1e9) - (place.get(b) ?? 1e9));
}

const split = (table) => (table.distinct("split").includes("test") ? "test" : table.distinct("split")[0]);

export const rowsWhere = (table, wanted) => table.select({ split: split(table), ...wanted });

/** One estimate: what every view says about a value. */
export const estimate = (table, row) => ({
  row, value: table.get("value", row), low: table.get("ci_low", row), high: table.get("ci_high", row), chance: table.get("chance", row),
  n: table.get("n", row), nKind: table.get("n_kind", row), kind: table.get("ci_kind", row), reason: table.get("reason", row),
});

/** Whether the saved interval holds chance: such a value is not told apart from guessing. */
export const holdsChance = (found) => found.low !== null && found.chance !== null && found.low <= found.chance && found.chance <= found.high;

/** Where the middle and the ends of the colours are for an estimate. */
export const scaleOf = (found, metric) => (/spearman|corrected|r2/.test(metric) ? { low: -1, middle: found.chance ?? 0, high: 1 } : { low: 0, middle: found.chance ?? 0.5, high: 1 });

export const isControl = (table, row) => table.get("control", row) === "yes" || table.get("method", row) === "random" || table.get("kind", row) === "control";

/** The best probe at home of a set, as the run's table of ceilings has it. */
export async function ceilingOf(page, openTable, test) {
  const header = page.run.tables.ceilings;
  if (!header) return null;
  const table = await openTable(header);
  const rows = table.has("test", "value") ? table.select({ test }) : [];
  return rows.length && table.get("value", rows[0]) !== null ? { value: table.get("value", rows[0]), method: table.get("method", rows[0]), layer: table.get("layer", rows[0]) } : null;
}
