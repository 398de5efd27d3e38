import { axes, choice, controls, picker } from "../controls.js";
import { h } from "../dom.js";
import { figure } from "../exports.js";
import { interval, number, words } from "../format.js";
import { heatmap } from "../heatmap.js";
import { estimate, holdsChance, ordered, orderNames, rowsWhere, scaleOf, selection } from "../selection.js";
import { choose, chosen, state } from "../state.js";
import { FAMILIES } from "../theme.js";
import { openTable } from "../unpack.js";
import { cellDetails } from "./cell.js";

const ONE = "one probe";
const TITLES = { r3b_matrix: "mean recovered accuracy", r1b_by_train: "recovered accuracy of the best method and layer" };

export const matrix = {
  id: "matrix", title: "Matrix", lead: "Rows: the set a direction was found on. Columns: the set it was tried on. Outlined: the same set, on questions held out.",
  available: ({ run }) => sizeOf(run, "train") > 1 || sizeOf(run, "test") > 1,
  async render(page) {
    const table = await page.open();
    const found = selection(page, table);
    const kinds = [ONE, ...summaries(page.run)];
    const kind = chosen("show", kinds, ONE);
    const order = chosen("order", orderNames(page), orderNames(page)[0]);
    const shown = kind === ONE ? ofProbe(table, found) : ofSummary(await openTable(page.run.tables[kind]), kind);
    const open = (train, test) => choose({ train, test, cell: "open" }, "matrix");
    const picks = controls(
      choice({ label: "show", key: "show", options: kinds.map((name) => [name, TITLES[name] ?? words(name)]), value: kind }),
      kind === ONE && axes(found, "metric", "method", "layer", "position", "protocol", "model", "seed"),
      picker({ label: "order", key: "order", options: orderNames(page).map((name) => [name, name === "run" ? "as in the run" : `by ${name}`]), value: order }));
    const svg = draw(page, shown, order, open, state.cell === "open" ? [found.train, found.test] : null);
    const drawing = figure({ title: shown.title, note: shown.note, svg, data: shown.data, name: `matrix ${shown.title}` });
    const details = state.cell === "open" ? h("div", null, kind === ONE ? null : inSummary(shown, found), await cellDetails(page, table, found)) : hint();
    return [picks, familyKey(page), h("div", { class: "split" }, drawing, details)];
  },
};

const sizeOf = (run, name) => run.results.columns.find((column) => column.name === name)?.values?.length ?? 0;

/** The cell as the summary has it, before the one probe that is taken apart below it. */
function inSummary(shown, { train, test, method, layer }) {
  const cell = shown.cells.get(`${train}\n${test}`);
  const value = cell && `${number(cell.value)} ${interval(cell.low, cell.high)}`;
  return h("p", { class: "note" }, value ? `${shown.title}: ${value}. ` : "The summary has no such cell. ", `Below, one probe of it: ${method} at layer ${layer}.`);
}

const hint = () => h("aside", { class: "details empty" }, h("p", null, "Open a cell to see its numbers, how it changes with the layer, how its scores are spread and which texts it gets most wrong."));

function ofProbe(table, { metric, method, layer, position, protocol, model, seed }) {
  const rows = rowsWhere(table, { metric, method, layer, position, protocol, model, seed });
  return {
    title: `${words(metric)}: ${method}, layer ${layer}${position && position !== "last" ? `, ${position}` : ""}`,
    note: `${words(protocol)}. Colour by distance from chance of each test set.`,
    cells: cellsOf(table, rows), trains: names(table, rows, "train"), tests: names(table, rows, "test"), metric,
    data: () => csvOf(table, rows),
  };
}

/** Saved tables with one value and interval per training and test set. */
const summaries = (run) => Object.entries(run.tables).filter(([, header]) => {
  const column = (name) => header.columns.find((found) => found.name === name);
  const [trains, tests] = ["train", "test"].map((name) => column(name)?.values?.length ?? 0);
  return trains > 1 && tests > 1 && header.rows === trains * tests && ["value", "ci_low", "ci_high"].every(column);
}).map(([name]) => name).reverse();

function ofSummary(table, name) {
  const rows = table.select({});
  const get = (column) => table.get(column, rows[0]);
  const whose = get("n_methods") ? `over ${get("n_methods")} methods and layers ${get("cut_layer")} and deeper` : get("best_method") ? `${get("best_method")}, layer ${get("best_layer")}` : "";
  return {
    title: `${TITLES[name] ?? words(name)}${whose && `: ${whose}`}`, note: `${table.has("measure") ? "1.0 is the best probe trained on the test set itself. " : ""}Colour by distance from what guessing gives.`,
    cells: cellsOf(table, rows), trains: names(table, rows, "train"), tests: names(table, rows, "test"), metric: "recovered", data: () => csvOf(table, rows),
  };
}

const cellsOf = (table, rows) => new Map(rows.map((row) => [`${table.get("train", row)}\n${table.get("test", row)}`, { ...estimate(table, row), own: table.get("in_distribution", row) === "yes" }]));
const names = (table, rows, column) => [...new Set(rows.map((row) => table.get(column, row)))];
const csvOf = (table, rows) => [table.names, rows.map((row) => table.names.map((name) => table.get(name, row)))];

function draw(page, shown, order, open, selected) {
  const cell = (train, test) => {
    const found = shown.cells.get(`${train}\n${test}`);
    if (!found) return null;
    const said = found.value === null ? `undefined: ${words(found.reason)}` : `${number(found.value)} ${interval(found.low, found.high)}, chance ${number(found.chance)}, ${found.n} ${found.nKind}`;
    return { value: found.value, scale: scaleOf(found, shown.metric), dim: holdsChance(found), outlined: found.own, label: `trained on ${train}, tried on ${test}: ${said}` };
  };
  const columns = ordered(page, shown.tests, order);
  return heatmap({
    rows: ordered(page, shown.trains, order), columns, width: columns.length > 10 ? 38 : 58, height: columns.length > 10 ? 25 : 34, cell, onOpen: open, selected, name: "matrix",
    rowTitle: "trained on", columnTitle: "tried on", bands: bandsOf(page),
    legend: { low: shown.metric === "spearman" ? "−1" : "0", middle: [...shown.cells.values()].some((found) => found.chance === null && found.value !== null) ? "0.5" : "chance", high: "1", dim: "interval holds chance", outlined: "same set" },
  });
}

/** The colour of a set's family, or nothing where the run has one family only. */
export function bandsOf(page) {
  const list = familyNames(page);
  return list.length > 1 ? (name) => FAMILIES[list.indexOf(page.run.families[name]) % FAMILIES.length] ?? null : null;
}

const familyNames = (page) => [...new Set(Object.values(page.run.families))].filter(Boolean).sort();

function familyKey(page) {
  const list = familyNames(page);
  if (list.length < 2) return null;
  const swatch = (name, i) => { const box = h("i"); box.style.background = FAMILIES[i % FAMILIES.length]; return h("span", null, box, name); };
  return h("p", { class: "key" }, "families: ", list.map(swatch));
}

