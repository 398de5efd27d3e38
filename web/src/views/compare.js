import { choice, controls, dataTable, wordTable } from "../controls.js";
import { h } from "../dom.js";
import { figure, rowsOf } from "../exports.js";
import { interval, number, words } from "../format.js";
import { heatmap } from "../heatmap.js";
import { ordered } from "../selection.js";
import { chosen } from "../state.js";
import { openTable } from "../unpack.js";
import { sentence } from "./overview.js";

export const compare = {
  id: "compare", title: "Compare", lead: "Two runs cell by cell: what changed, and whether it is more than noise.",
  available: ({ index }) => index.comparisons.length > 0,
  async render(page) {
    const { comparisons } = page.index;
    const at = Number(chosen("against", comparisons.map((_, i) => i), 0));
    const { before, after, words: said, counts, settings, cells } = comparisons[at];
    const table = await openTable(cells);
    const tally = await openTable(counts);
    const pick = (name) => [name, chosen(name, table.distinct(name), page.run.start[name])];
    const wanted = Object.fromEntries(["metric", "method", "layer", "position", "protocol"].filter((name) => table.has(name)).map(pick));
    const picks = controls(
      choice({ label: "with", key: "against", options: comparisons.map((c, i) => [i, c.after]), value: at }),
      ...Object.entries(wanted).map(([name, value]) => choice({ label: name, key: name, options: table.distinct(name), value })));
    const beyond = table.select({ verdict: "beyond noise" });
    const columns = ["metric", "method", "train", "test", "layer", "position", "value_before", "value_after", "difference", "ci_low", "ci_high", "q", "basis"].filter((n) => table.has(n)).map((name) => ({ name, places: 3 }));
    return [
      h("p", null, h("bdi", null, before), " → ", h("bdi", null, after)), h("ul", { class: "sentences" }, said.map((line) => h("li", null, sentence(line)))),
      table.rows > 0 && dataTable({ source: tally, rows: tally.select({}), name: "changes_counted", caption: "Cells by verdict", columns: tally.names.map((name) => ({ name, places: 0 })) }),
      settings.rows.length ? wordTable(settings, "settings_that_differ") : h("p", { class: "note" }, "No setting of the two manifests differs."),
      table.rows > 0 && [picks, drawChanges(page, table, wanted)],
      table.rows === 0 ? null : beyond.length ? dataTable({ source: table, rows: beyond, name: "changes_beyond_noise", caption: "Changed beyond noise, largest first", columns, sort: { by: (row) => Math.abs(table.get("difference", row)), down: true } }) : h("p", { class: "note" }, "No cell changed beyond noise."),
    ];
  },
};

function drawChanges(page, table, wanted) {
  const rows = table.select(wanted);
  const cells = new Map(rows.map((row) => [`${table.get("train", row)}\n${table.get("test", row)}`, row]));
  const names = (column) => ordered(page, [...new Set(rows.map((row) => table.get(column, row)))]);
  const cell = (train, test) => {
    const row = cells.get(`${train}\n${test}`);
    if (row === undefined) return null;
    const get = (name) => table.get(name, row);
    return { value: get("difference"), scale: { low: -0.5, middle: 0, high: 0.5 }, outlined: get("verdict") === "beyond noise", label: `${train} → ${test}: ${number(get("value_before"))} to ${number(get("value_after"))}, difference ${number(get("difference"))} ${interval(get("ci_low"), get("ci_high"))}, ${get("verdict")}` };
  };
  const svg = heatmap({ rows: names("train"), columns: names("test"), cell, name: "changes", rowTitle: "trained on", columnTitle: "tried on", width: 42, legend: { low: "−0.5", middle: "no change", high: "+0.5", outlined: "beyond noise" } });
  return figure({ title: `Change of ${words(wanted.metric)}: ${wanted.method ?? ""}, layer ${wanted.layer ?? ""}`, svg, data: () => rowsOf(table, rows) });
}
