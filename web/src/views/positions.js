import { dotChart, histogram, scatter } from "../charts.js";
import { axes, choice, controls } from "../controls.js";
import { h } from "../dom.js";
import { figure, rowsOf } from "../exports.js";
import { interval, number, words } from "../format.js";
import { heatmap } from "../heatmap.js";
import { estimate, holdsChance, isControl, scaleOf, selection } from "../selection.js";
import { choose, chosen } from "../state.js";
import { openTable } from "../unpack.js";

export const positions = {
  id: "positions", title: "Layer × position", lead: "One probe per layer and token position. Outlined: the cell chosen without looking at test rows.",
  available: ({ run }) => (run.results.columns.find((column) => column.name === "position")?.values?.length ?? 0) > 1,
  async render(page) {
    const table = await page.open();
    const found = selection(page, table);
    const splits = table.distinct("split");
    const split = chosen("split", splits, "test");
    const picks = controls(
      choice({ label: "metric", key: "metric", options: found.options.metric, value: found.metric }),
      choice({ label: "rows", key: "split", options: splits.map((name) => [name, { test: "test rows", cv: "cross-validation", train: "training rows" }[name] ?? name]), value: split }),
      choice({ label: "method", key: "method", options: [...new Set(table.select({}).filter((row) => !isControl(table, row)).map((row) => table.get("method", row)))], value: found.method }),
      axes(found, "test", "model", "seed"));
    const where = { split, metric: found.metric, method: found.method, protocol: found.protocol, test: found.test, model: found.model, seed: found.seed };
    const rows = table.select(where).filter((row) => !isControl(table, row) && table.get("position", row) !== null && table.get("layer", row) !== null);
    return [picks, rows.length ? map(table, rows, found, split) : h("p", { class: "note" }, "No rows for this choice."), controlsOf(table, found), await predictions(page, split)];
  },
};

function map(table, rows, found, split) {
  const cells = new Map(rows.map((row) => [`${table.get("layer", row)}\n${table.get("position", row)}`, { ...estimate(table, row), own: table.get("selected", row) === "yes" }]));
  const layers = [...new Set(rows.map((row) => table.get("layer", row)))].sort((a, b) => b - a).map(String);
  const named = new Map(rows.map((row) => [String(table.get("layer", row)), table.get("layer_name", row)]));
  const places = [...new Set(rows.map((row) => table.get("position", row)))];
  const cell = (layer, position) => {
    const e = cells.get(`${layer}\n${position}`);
    return e && { value: e.value, scale: scaleOf(e, found.metric), dim: holdsChance(e), outlined: e.own, label: `layer ${layer}, ${position}: ${e.value === null ? words(e.reason) : number(e.value)} ${interval(e.low, e.high)}, chance ${number(e.chance)}, n ${e.n}` };
  };
  const svg = heatmap({ rows: layers, columns: places, cell, onOpen: (layer, position) => choose({ layer, position }, "positions"), selected: [String(found.layer), found.position], name: "positions", rowLabel: (layer) => (Number(layer) < 0 ? named.get(layer) ?? layer : layer), rowTitle: "layer", columnTitle: "token position", width: 58, height: 21,
    legend: { low: /spearman/.test(found.metric) ? "−1" : "0", middle: "chance", high: "1", dim: "interval holds chance", outlined: "chosen" } });
  const words_ = { test: "test rows", cv: "cross-validation on training rows", train: "the training rows themselves, which flatter" }[split] ?? split;
  return figure({ title: `${words(found.metric)} of ${found.method} on ${words_}`, svg, data: () => rowsOf(table, rows) });
}

/** The chosen probe beside controls that learned nothing of the answers, where the run has them. */
function controlsOf(table, found) {
  const rows = table.select({ split: "test", metric: found.metric, test: found.test, model: found.model, seed: found.seed }).filter((row) => table.get("control", row) === "yes" || table.get("selected", row) === "yes");
  if (!rows.some((row) => isControl(table, row))) return null;
  const dots = rows.map((row) => { const e = estimate(table, row); return { name: isControl(table, row) ? `control: ${words(table.get("method", row))}` : `${table.get("method", row)}, chosen cell`, value: e.value, low: e.low, high: e.high, reason: words(e.reason), control: isControl(table, row) }; });
  const chance = estimate(table, rows[0]).chance;
  const svg = dotChart({ rows: dots, lines: chance === null ? [] : [{ x: chance, label: "chance" }], xTitle: words(found.metric), width: 1040, name: "controls" });
  return figure({ title: "The chosen probe beside its controls", svg, data: () => rowsOf(table, rows) });
}

const MOST_DOTS = 3000;

/** What the chosen probe predicts for the rows of the split that is shown. */
async function predictions({ run }, split) {
  const header = run.tables.predictions;
  if (!header) return null;
  const table = await openTable(header);
  if (!table.has("split", "actual", "predicted")) return null;
  const rows = table.select({ split });
  if (!rows.length || !table.isNumber("actual")) return null;
  if (table.distinct("actual").every((value) => value === 0 || value === 1)) return byClass(table, rows);
  const points = rows.slice(0, MOST_DOTS).map((row) => ({ x: table.get("actual", row), y: table.get("predicted", row) }));
  const note = rows.length > MOST_DOTS ? `The first ${MOST_DOTS} of ${rows.length} rows; the CSV has all.` : null;
  return figure({ title: "Predictions of the chosen probe", note, svg: scatter({ points, xTitle: "actual", yTitle: "predicted" }), data: () => rowsOf(table, rows) });
}

const BINS = 20;

/** Probabilities of two classes, drawn as counts. */
function byClass(table, rows) {
  const counts = (actual) => { const found = new Array(BINS).fill(0); for (const row of rows) if (table.get("actual", row) === actual) found[Math.min(BINS - 1, Math.floor(table.get("predicted", row) * BINS))] += 1; return found; };
  return figure({ title: "Predictions of the chosen probe", note: `${rows.length} rows: those that are true above the line, those that are false below it.`, svg: histogram({ ends: [0, 1], above: counts(1), below: counts(0), threshold: 0.5, xTitle: "predicted probability", width: 620 }), data: () => rowsOf(table, rows) });
}
