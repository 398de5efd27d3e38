import { dotChart } from "../charts.js";
import { axes, choice, controls, dataTable } from "../controls.js";
import { h } from "../dom.js";
import { figure, rowsOf } from "../exports.js";
import { count, words } from "../format.js";
import { ceilingOf, estimate, isControl, ordered, rowsWhere, selection } from "../selection.js";
import { openTable } from "../unpack.js";

export const methods = {
  id: "methods", title: "Methods", lead: "Which way of finding a direction carries furthest, and whether the differences are real.",
  available: ({ run }) => (run.results.columns.find((column) => column.name === "method")?.values?.length ?? 0) > 1,
  async render(page) {
    const table = await page.open();
    const means = page.run.tables.r2_probes && (await openTable(page.run.tables.r2_probes));
    const pairs = page.run.tables.paired_tests && (await openTable(page.run.tables.paired_tests));
    return [means && ranking(means), pairs && pairTable(pairs), await atOneCell(page, table)];
  },
};

function ranking(table) {
  const rows = table.select({});
  const dots = rows.map((row) => { const e = estimate(table, row); return { name: table.get("name", row), value: e.value, low: e.low, high: e.high, control: isControl(table, row), marks: [{ x: table.get("chance", row), label: "guessing" }], reason: words(table.get("reason", row)) }; });
  const svg = dotChart({ rows: dots, xTitle: "mean recovered accuracy (1 is the best probe at home)", width: 1040, name: "methods ranked", markWord: "guessing" });
  const first = rows[0];
  return figure({ title: "Mean over cells away from home", note: `Counted: ${table.get("counted", first)}; ${count(table.get("n_cells", first))} cells of the leading method on ${table.get("n_sets", first)} test sets. Hollow: the control, which learned nothing. Intervals hold for other questions of the same sets.`, svg, data: () => rowsOf(table, rows), name: "methods ranked" });
}

function pairTable(table) {
  const columns = [["method_a", "method"], ["method_b", "against"], ["difference", "difference of means"], ["ci_low", "from"], ["ci_high", "to"], ["q", "q (other questions)"], ["q_sets", "q (other sets)"], ["n_cells", "cells"]];
  const rows = table.select({});
  const why = table.has("q_sets", "reason") && rows.every((row) => table.get("q_sets", row) === null) ? table.get("reason", rows[0]) : null;
  const drawn = dataTable({ source: table, rows, name: "paired_tests", caption: "Every pair on the cells both have", columns: columns.filter(([name]) => table.has(name)).map(([name, title]) => ({ name, title, places: name.startsWith("n_") ? 0 : 3 })) });
  return [drawn, why && h("p", { class: "note" }, `No q for other sets: ${why}.`)];
}

async function atOneCell(page, table) {
  const found = selection(page, table);
  const { train, test, layer, metric, protocol, position, model, seed, options } = found;
  const rows = rowsWhere(table, { train, test, layer, metric, protocol, position, model, seed });
  const sets = (names) => ordered(page, names, "name");
  const picks = controls(
    choice({ label: "trained on", key: "train", options: sets(options.train), value: train }), choice({ label: "tried on", key: "test", options: sets(options.test), value: test }),
    axes(found, "layer", "metric", "protocol", "position", "model", "seed"));
  if (rows.length < 2) return rows.length ? null : [h("h3", null, "At one cell"), picks, h("p", { class: "note" }, "No method was tried here.")];
  const dots = rows.map((row) => { const e = estimate(table, row); return { name: table.get("method", row), value: e.value, low: e.low, high: e.high, control: isControl(table, row), reason: words(e.reason) }; })
    .sort((a, b) => (b.value ?? -9) - (a.value ?? -9));
  const chance = estimate(table, rows[0]).chance;
  const ceiling = metric === "accuracy" && (await ceilingOf(page, openTable, test));
  const lines = [...(chance === null ? [] : [{ x: chance, label: "chance" }]), ...(ceiling ? [{ x: ceiling.value, label: "best at home", dash: "1 0" }] : [])];
  const svg = dotChart({ rows: dots, lines, xTitle: words(metric), range: /spearman|r2/.test(metric) ? null : [0, 1], width: 1040, name: "methods at one cell" });
  return [h("h3", { class: "spaced" }, "At one cell"), picks, figure({ title: `${train} → ${test}, layer ${layer}`, note: `n = ${count(estimate(table, rows[0]).n)} ${estimate(table, rows[0]).nKind ?? ""}`, svg, data: () => rowsOf(table, rows), name: `methods ${train} ${test} layer ${layer}` })];
}
