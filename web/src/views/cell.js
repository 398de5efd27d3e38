import { histogram, lineChart, rocCurve, shareByScore } from "../charts.js";
import { foreign, h } from "../dom.js";
import { figure, rowsOf } from "../exports.js";
import { count, interval, number, words } from "../format.js";
import { ceilingOf, estimate, holdsChance, rowsWhere } from "../selection.js";
import { choose } from "../state.js";
import { theme } from "../theme.js";
import { openJson, openTable } from "../unpack.js";

/** Everything that is saved about one cell: its numbers, its layers, its scores, its worst errors. */
export async function cellDetails(page, table, found) {
  const { method, train, test, layer, position, protocol, model, seed, metric } = found;
  const where = { method, train, test, position, protocol, model, seed };
  const rows = rowsWhere(table, { ...where, layer });
  const ceiling = await ceilingOf(page, openTable, test);
  const close = h("button", { type: "button", class: "close", "aria-label": "close details", onclick: () => choose({ cell: null }, "matrix") }, "×");
  const title = h("h3", { id: "cell-title" }, foreign(train), " → ", foreign(test));
  if (!rows.length) {
    return h("aside", { class: "details", "aria-labelledby": "cell-title" }, close, title, h("p", null, `No probe of ${method} on ${train} was tried on ${test}: the method cannot use this training set (it needs questions with several answers), or the run did not ask for it.`));
  }
  return h("aside", { class: "details", "aria-labelledby": "cell-title" }, close, title,
    h("p", { class: "note" }, `${method}, layer ${layer}${position ? `, position ${position}` : ""}; ${words(protocol)}`),
    headline(estimate(table, rows.find((row) => table.get("metric", row) === metric) ?? rows[0]), metric, ceiling),
    numbers(table, rows), facts(table, rows.find((row) => table.get("metric", row) === metric) ?? rows[0], ceiling),
    byLayer(table, { ...where, metric }, layer, ceiling, metric),
    await scores(page, found));
}

function headline(found, metric, ceiling) {
  if (found.value === null) return h("p", { class: "headline" }, "undefined", h("small", null, words(found.reason ?? "no reason was saved")));
  const verdict = found.low === null || found.chance === null ? "" : holdsChance(found) ? "not told apart from guessing" : found.value > found.chance ? "above chance" : "below chance: the direction points the wrong way here";
  return h("p", { class: "headline" }, number(found.value), h("small", null, `${interval(found.low, found.high)} ${words(metric)}`), h("em", null, verdict));
}

function numbers(table, rows) {
  const line = (row) => { const found = estimate(table, row); return h("tr", null, h("th", { scope: "row" }, words(table.get("metric", row))), h("td", { class: "number" }, found.value === null ? words(found.reason) : number(found.value)), h("td", { class: "number" }, interval(found.low, found.high)), h("td", { class: "number" }, number(found.chance)), h("td", { class: "number" }, `${count(found.n)} ${found.nKind ?? ""}`)); };
  return h("div", { class: "scroll" }, h("table", null, h("thead", null, h("tr", null, ["metric", "value", "95 % interval", "chance", "n"].map((name) => h("th", { scope: "col" }, name)))), h("tbody", null, rows.map(line))));
}

function facts(table, row, ceiling) {
  const told = [
    ceiling && ["best accuracy at home", `${number(ceiling.value)} by ${ceiling.method}, layer ${ceiling.layer}, chosen on the selection split`],
    ["interval by", words(table.get("ci_kind", row))],
    ["training questions", count(table.get("n_train", row))],
    ["sign", table.get("sign_source", row)], ["threshold", table.get("threshold_source", row)],
    table.get("flipped", row) === "yes" && ["turned", "its sign was turned on the evaluation labels"],
    table.get("related", row) === "yes" && ["related sets", "train and test share a source or items"],
    table.get("limited", row) === "yes" && ["limited", "the test set is cut to the run's limit"],
  ];
  return h("dl", { class: "facts" }, told.filter((pair) => pair && pair[1] && pair[1] !== "–").map(([name, value]) => [h("dt", null, name), h("dd", null, value)]));
}

function byLayer(table, where, layer, ceiling, metric) {
  const rows = rowsWhere(table, where).filter((row) => table.get("layer", row) !== null);
  if (new Set(rows.map((row) => table.get("layer", row))).size < 2) return null;
  const points = rows.map((row) => { const e = estimate(table, row); return { x: table.get("layer", row), y: e.value, low: e.low, high: e.high }; }).sort((a, b) => a.x - b.x);
  const chance = estimate(table, rows[0]).chance;
  const lines = [...(chance === null ? [] : [{ y: chance, label: "chance" }]), ...(ceiling && metric === "accuracy" ? [{ y: ceiling.value, label: "best at home", dash: "1 0" }] : [])];
  const svg = lineChart({ series: [{ name: where.method, colour: theme().lines[0], strong: true, points }], lines, mark: layer, xTitle: "layer", yTitle: words(metric), range: metric === "spearman" ? null : [0, 1], width: 460, height: 220, name: "this cell by layer" });
  return figure({ title: "By layer", svg, data: () => rowsOf(table, rows), name: `${where.train} ${where.test} by layer` });
}

async function scores(page, found) {
  if (!page.run.details) return h("p", { class: "note" }, "This report holds no scores of single rows. `probeshift report --details auto` adds them where the activations are still stored.");
  const cells = await openTable(page.run.details.cells);
  const same = cells.select({ method: found.method, train: found.train, test: found.test, position: found.position, protocol: found.protocol });
  const row = same.find((r) => cells.get("layer", r) === found.layer);
  if (row === undefined) return elsewhere(cells, same, found);
  const get = (name) => cells.vector(name, row);
  const [all, positive] = [cells.get("rows", row), cells.get("true", row)];
  const base = positive / all;
  return [
    figure({ title: "Scores by class", note: `${count(positive)} true and ${count(all - positive)} false rows of the test set.${oneSided(get("ends"))}`, svg: histogram({ ends: [...get("ends")], above: get("true_rows"), below: get("false_rows") }), data: () => bins(get), name: "scores by class" }),
    h("div", { class: "pair" },
      Number.isNaN(get("caught")[0]) ? h("p", { class: "note" }, "One class only: no ROC curve.") : figure({ title: "ROC", svg: rocCurve({ caught: get("caught") }), data: () => [["false_rows_called_true_at_most", "true_rows_called_true"], [...get("caught")].map((v, i, whole) => [i / (whole.length - 1), v])], name: "roc" }),
      figure({ title: "True rows by score", svg: shareByScore({ share: get("part_share"), low: get("part_low"), high: get("part_high"), base }), data: () => [["part", "mean_score", "share_true", "ci_low", "ci_high", "rows"], [...get("part_share")].map((v, i) => [i + 1, get("part_score")[i], v, get("part_low")[i], get("part_high")[i], get("part_rows")[i]])], name: "true rows by score" })),
    await worst(page, get),
  ];
}

/** Said when the threshold lies outside the picture. */
const oneSided = ([low, high]) => (low > 0 ? " Every score lies above the threshold: all rows are called true." : high < 0 ? " Every score lies below the threshold: all rows are called false." : "");

function elsewhere(cells, same, found) {
  const layers = [...new Set((same.length ? same : cells.select({})).map((row) => cells.get("layer", row)))];
  if (!same.length) return h("p", { class: "note" }, found.protocol === "published" ? "Scores of single rows are shown for the strict protocol." : `Scores of single rows were not saved for this cell (saved at layer ${layers.join(", ")}).`);
  return h("p", { class: "note" }, `Scores of single rows were saved at layer ${layers.join(", ")}. `, h("button", { type: "button", onclick: () => choose({ layer: layers[0] }) }, `go to layer ${layers[0]}`));
}

const bins = (get) => { const [low, high] = get("ends"); const n = get("true_rows").length; return [["from", "to", "true_rows", "false_rows"], [...get("true_rows")].map((v, i) => [low + (i * (high - low)) / n, low + ((i + 1) * (high - low)) / n, v, get("false_rows")[i]])]; };

async function worst(page, get) {
  const { texts, labels, rows } = await openJson(page.run.details.texts);
  const wrong = [...get("worst")].map((number_, i) => [number_, get("worst_score")[i]]).filter(([number_]) => number_ >= 0);
  if (!wrong.length) return h("p", { class: "note" }, "No row is on the wrong side of the threshold.");
  return h("div", { class: "worst" }, h("h4", null, "The rows furthest on the wrong side"), h("ol", null, wrong.map(([place, score]) => h("li", null,
    h("p", { class: "verdict" }, h("b", { class: labels[place] ? "is-true" : "is-false" }, labels[place] ? "true" : "false"), ` called ${labels[place] ? "false" : "true"}, score ${number(score, 2)} `, h("span", { class: "row-id" }, foreign(rows[place]))),
    h("blockquote", { dir: "auto" }, texts[place])))));
}
