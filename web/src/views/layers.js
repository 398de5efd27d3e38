import { lineChart } from "../charts.js";
import { axes, choice, controls } from "../controls.js";
import { figure, rowsOf } from "../exports.js";
import { interval, number, words } from "../format.js";
import { heatmap } from "../heatmap.js";
import { ceilingOf, estimate, holdsChance, isControl, ordered, rowsWhere, scaleOf, selection } from "../selection.js";
import { choose } from "../state.js";
import { lineStyle } from "../theme.js";
import { openTable } from "../unpack.js";
import { bandsOf } from "./matrix.js";

const MOST_COLUMNS = 48;

export const layers = {
  id: "layers", title: "Layers", lead: "Where in the model a direction can be found, and whether it holds there on other sets.",
  available: ({ run }) => (run.results.columns.find((column) => column.name === "layer")?.distinct ?? 0) > 1,
  async render(page) {
    const table = await page.open();
    const found = selection(page, table);
    const { options } = found;
    const sets = (names) => ordered(page, names, "name");
    const picks = controls(
      choice({ label: "trained on", key: "train", options: sets(options.train), value: found.train }),
      choice({ label: "tried on", key: "test", options: sets(options.test), value: found.test }),
      axes(found, "metric", "method", "position", "protocol", "model", "seed"));
    return [picks, await curves(page, table, found), options.test.length > 1 ? map(page, table, found) : null];
  },
};

async function curves(page, table, found) {
  const { train, test, metric, protocol, position, model, seed } = found;
  const rows = rowsWhere(table, { train, test, metric, protocol, position, model, seed }).filter((row) => table.get("layer", row) !== null);
  if (new Set(rows.map((row) => table.get("layer", row))).size < 2) return null;
  const ceiling = metric === "accuracy" && (await ceilingOf(page, openTable, test));
  const names = [...new Set(rows.map((row) => table.get("method", row)))];
  const series = names.map((name, i) => {
    const own = rows.filter((row) => table.get("method", row) === name);
    const { colour, dash } = lineStyle(i, isControl(table, own[0]));
    return { name, colour, dash, strong: name === found.method ? true : false, points: own.map((row) => { const e = estimate(table, row); return { x: table.get("layer", row), y: e.value, low: e.low, high: e.high }; }).sort((a, b) => a.x - b.x) };
  }).sort((a, b) => Number(a.strong) - Number(b.strong));
  const chance = estimate(table, rows[0]).chance;
  const lines = [...(chance === null ? [] : [{ y: chance, label: "chance" }]), ...(ceiling ? [{ y: ceiling.value, label: `best at home (${ceiling.method}, layer ${ceiling.layer})`, dash: "1 0" }] : [])];
  const svg = lineChart({ series, lines, mark: found.layer, xTitle: "layer", yTitle: words(metric), range: /spearman|r2/.test(metric) ? null : [0, 1], width: 1180, height: 400, name: "methods by layer" });
  return figure({ title: `${train} → ${test}: every method by layer`, note: `The band is the 95 % interval of ${found.method}; the others' are in the CSV. The dotted line is layer ${found.layer}.`, svg, data: () => rowsOf(table, rows) });
}

function map(page, table, found) {
  const { train, metric, protocol, position, method, model, seed } = found;
  const rows = rowsWhere(table, { train, metric, protocol, position, method, model, seed });
  const cells = new Map(rows.map((row) => [`${table.get("test", row)}\n${table.get("layer", row)}`, { ...estimate(table, row), own: table.get("in_distribution", row) === "yes" }]));
  const all = [...new Set(rows.map((row) => table.get("layer", row)))].sort((a, b) => a - b).map(String);
  if (all.length < 2) return null;
  const tests = ordered(page, [...new Set(rows.map((row) => table.get("test", row)))]);
  const width = all.length > MOST_COLUMNS ? 14 : all.length > 24 ? 36 : 40;
  const cell = (test, layer) => {
    const e = cells.get(`${test}\n${layer}`);
    return e && { value: e.value, scale: scaleOf(e, metric), dim: holdsChance(e), outlined: e.own, label: `${method} on ${train}, layer ${layer}, tried on ${test}: ${number(e.value)} ${interval(e.low, e.high)}, chance ${number(e.chance)}, n ${e.n}` };
  };
  const svg = heatmap({ rows: tests, columns: all, cell, onOpen: (test, layer) => choose({ test, layer, cell: "open" }, "matrix"), selected: [found.test, String(found.layer)], name: "layers", rowTitle: "tried on", columnTitle: "layer", bands: bandsOf(page), width,
    legend: { low: "0", middle: "chance", high: "1", dim: "interval holds chance", outlined: "same set" } });
  return figure({ title: `${method} trained on ${train}: layers and test sets`, note: "Open a cell to see its details in the matrix.", svg, data: () => rowsOf(table, rows) });
}
