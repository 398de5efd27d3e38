// What a vector does to what the model writes: curves of effect and cost against strength, and the texts side by side.

import { lineChart } from "../charts.js";
import { choice, controls } from "../controls.js";
import { foreign, h } from "../dom.js";
import { csv, download, figure, rowsOf } from "../exports.js";
import { number, words } from "../format.js";
import { chosen } from "../state.js";
import { lineStyle } from "../theme.js";
import { openTable } from "../unpack.js";
import { STRENGTHS, curves, drawable } from "./curves.js";

const CONTROLS = /random|shuffled|mean vector|other concept|identity/;

export const steering = {
  id: "steering", title: "Steering", lead: "What adding a direction does to the model as it grows stronger, what it costs, and what controls do.",
  available: ({ run }) => hasCurves(run) || drawable(run, STRENGTHS).length > 0,
  async render({ run }) {
    if (!hasCurves(run)) return curves(run, STRENGTHS);
    const table = await openTable(run.tables.curves);
    const texts = run.tables.texts && (await openTable(run.tables.texts));
    return [table.has("score") && effect(table), h("div", { class: "twin" }, cost(table, "kl", "KL from the unsteered model, nats a token"), cost(table, "perplexity", "perplexity under the unsteered model")), texts && sideBySide(texts)];
  },
};

function hasCurves({ tables: { curves: found } }) {
  const has = (name) => found.columns.some((column) => column.name === name);
  return found !== undefined && has("condition") && has("strength") && (has("score") || has("kl"));
}

function lines(table, y, low, high) {
  const names = table.distinct("condition").filter((name) => !/^(none|prompted)$/.test(name));
  return names.map((name, i) => ({ name, ...lineStyle(i, CONTROLS.test(name)), points: table.select({ condition: name }).map((row) => ({ x: table.get("strength", row), y: table.get(y, row), low: low ? table.get(low, row) : null, high: high ? table.get(high, row) : null })).sort((a, b) => a.x - b.x) })).filter((line) => line.points.some((point) => point.y !== null));
}

function effect(table) {
  const exact = table.has("score_low", "score_high");
  const note = exact ? `Share of texts that follow the rule, ${counts(table)} at each strength, with exact 95 % intervals over prompts.` : `Mean score over concepts on the ${table.get("n", 0)} texts of a strength that strengths were chosen on; no interval was saved.`;
  return figure({ title: "Effect by strength", note: `${note} Grey and dashed: controls.`, svg: lineChart({ series: lines(table, "score", exact && "score_low", exact && "score_high").map((line, i) => ({ ...line, bars: exact ? 4 * i + 1 : null })), xTitle: "strength, in units of each vector", yTitle: exact ? "share that follow the rule" : "mean score", range: [0, 1], width: 1040, height: 320, name: "effect by strength" }), data: () => rowsOf(table, table.select({})) });
}

const counts = (table) => `${table.distinct("n").join(" or ")} texts of a vector`;

function cost(table, name, title) {
  const series = table.has(name) ? lines(table, name) : [];
  return series.length ? figure({ title: `Cost by strength: ${title}`, svg: lineChart({ series, xTitle: "strength", yTitle: name === "kl" ? "KL, nats a token" : words(name), width: 620, height: 280, name: `cost ${name}` }), data: () => rowsOf(table, table.select({})) }) : null;
}

/** Every vector's text at every strength, for one prompt and concept. */
function sideBySide(table) {
  const concepts = table.distinct("concept");
  const concept = chosen("concept", concepts, concepts[0]);
  const split = (row) => (table.has("split") ? table.get("split", row) : null);
  const own = table.select({ concept }).filter((row) => split(row) === null || split(row) === "selection");
  const shown = own.length ? own : table.select({ concept });
  const prompts = [...new Set(shown.map((row) => table.get("prompt", row)))];
  const prompt = chosen("prompt", prompts, prompts[0]);
  const rows = shown.filter((row) => table.get("prompt", row) === prompt && !(table.get("seed", row) > 0));
  const plain = rows.find((row) => table.get("condition", row) === "none");
  const names = [...new Set(rows.map((row) => table.get("condition", row)))].filter((name) => name !== "none");
  const strengths = [...new Set(rows.filter((row) => table.get("condition", row) !== "none").map((row) => table.get("strength", row)).filter((v) => v !== null))].sort((a, b) => a - b);
  const cell = (name, strength) => { const row = rows.find((r) => table.get("condition", r) === name && table.get("strength", r) === strength); return h("td", null, row === undefined ? "–" : written(table, row)); };
  const line = (name) => h("tr", null, h("th", { scope: "row" }, words(name)), strengths.map((strength) => cell(name, strength)));
  const steered = names.filter((name) => strengths.some((strength) => rows.some((r) => table.get("condition", r) === name && table.get("strength", r) === strength)));
  const save = () => download("texts.csv", csv(...rowsOf(table, table.select({}))), "text/csv");
  const head = h("div", { class: "figure-head" }, h("h3", null, "Texts side by side"), h("div", { class: "exports" }, h("button", { type: "button", class: "export", onclick: save, title: "all texts and columns" }, "CSV")));
  return h("div", { class: "table" }, head, controls(choice({ label: "concept", key: "concept", options: concepts, value: concept }), choice({ label: "prompt", key: "prompt", options: prompts, value: prompt })),
    h("p", { class: "note" }, "asked: ", foreign(prompt)), plain === undefined ? null : h("p", null, h("strong", null, "unsteered: "), written(table, plain)),
    h("div", { class: "scroll", tabindex: 0 }, h("table", { class: "texts" }, h("thead", null, h("tr", null, h("th", { scope: "col" }, "vector"), strengths.map((strength) => h("th", { scope: "col" }, `strength ${strength}`)))), h("tbody", null, steered.map(line)))));
}

function written(table, row) {
  const follows = table.get("useful", row);
  const cost = [follows === null ? null : follows > 0 ? "follows" : "does not follow", table.get("kl", row) === null ? null : `KL ${number(table.get("kl", row), 2)}`].filter(Boolean).join(", ");
  return [foreign(table.get("text", row) || "(nothing)"), cost && h("span", { class: "row-id" }, ` ${cost}`)];
}
