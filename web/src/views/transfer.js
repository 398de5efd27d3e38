// Vectors of one model in another: how near the target's own, what they detect, what they do, and which map carried them.

import { dotChart } from "../charts.js";
import { dataTable } from "../controls.js";
import { figure, rowsOf } from "../exports.js";
import { words } from "../format.js";
import { openTable } from "../unpack.js";
import { MAPS, STEPS, STRENGTHS, bounded, curveSpec, namesOf } from "./curves.js";

const CONTROLS = /^(none|prompted|random|shuffled|mean vector|other concept)/;

export const transfer = {
  id: "transfer", title: "Transfer", lead: "Vectors of one model in another, through a map learned on other text; beside them what needs no map at all.",
  available: ({ run }) => Boolean(run.tables.closeness) || mapped(run).length > 0,
  async render({ run }) {
    if (!run.tables.closeness) return Promise.all(mapped(run).map(anyMap));
    const open = async (name) => run.tables[name] && openTable(run.tables[name]);
    const [close, cosines, conditions, maps] = [await open("closeness"), await open("cosines"), await open("conditions"), await open("maps")];
    return [cosineChart(close, cosines), aurocChart(close), conditions?.has("score") && scores(conditions), maps && mapTable(maps)];
  },
};

const isControl = (name) => CONTROLS.test(name);

/** What the bars are, or why there are none. */
const overConcepts = (table, rows, name) => (rows.some((row) => table.get(`${name}_low`, row) !== null) ? "with a 95 % interval over concepts" : `without interval (${words(table.get(`${name}_reason`, rows[0]) ?? "none was saved")})`);

/** The mean over concepts, and a tick for each concept and draw: five of them say more than an interval. */
function cosineChart(table, cosines) {
  const rows = table.select({});
  const marks = (name) => (cosines ? cosines.select({ condition: name }).map((row) => ({ x: cosines.get("cosine", row), label: cosines.get("concept", row) })) : []);
  const dots = rows.map((row) => ({ name: table.get("condition", row), value: table.get("cosine", row), control: isControl(table.get("condition", row)), marks: marks(table.get("condition", row)) }));
  const ceiling = table.get("split_half_cosine", rows[0]);
  const lines = [{ x: 0, label: "unrelated" }, ...(ceiling === null ? [] : [{ x: ceiling, label: "two halves of the data", dash: "1 0" }])];
  return figure({ title: "Cosine with the target's own vector", note: `Dot: mean over ${table.get("n_concepts", rows[0])} concepts. Ticks: single concepts and draws. Hollow: controls. Vectors of two halves of the target's own data agree no better than the solid line.`, svg: dotChart({ rows: dots, lines, xTitle: "cosine", width: 1040, name: "cosines", fine: true }), data: () => rowsOf(cosines ?? table, (cosines ?? table).select({})), name: "cosines" });
}

function aurocChart(table) {
  const rows = table.select({});
  const dots = rows.map((row) => ({ name: table.get("condition", row), value: table.get("auroc", row), low: table.get("auroc_low", row), high: table.get("auroc_high", row), control: isControl(table.get("condition", row)), reason: words(table.get("auroc_reason", row)) }));
  return figure({ title: "Does the vector find texts that show its concept?", note: `Mean AUROC over ${table.get("n_concepts", rows[0])} concepts on rows kept out of the vectors, ${overConcepts(table, rows, "auroc")}. Random vectors lie a little above 0.5 where longer texts show a concept more often.`, svg: dotChart({ rows: dots, lines: [{ x: 0.5, label: "chance" }], xTitle: "AUROC", width: 1040, name: "detection" }), data: () => rowsOf(table, rows), name: "detection" });
}

function scores(table) {
  return table.distinct("at").map((at) => {
    const rows = table.select({ at });
    const how = at === "test" ? "strength chosen on selection prompts" : `strength of ${at}`;
    const dots = rows.map((row) => ({ name: table.get("condition", row), value: table.get("score", row), low: table.get("score_low", row), high: table.get("score_high", row), control: isControl(table.get("condition", row)), reason: words(table.get("score_reason", row)) }));
    const columns = [["condition"], ["n_concepts", "concepts"], ["n_texts", "texts"], ["gain", "gain over none"], ["gain_low", "from"], ["gain_high", "to"], ["p_none_holm", "p (Holm)"], ["recovery", "share of native gain"], ["recovery_low", "from"], ["recovery_high", "to"], ["recovery_reason", "why undefined"], ["harmed", "concepts harmed"], ["kl", "KL, nats a token"], ["perplexity"]];
    return [
      figure({ title: `What steering does: test prompts, ${how}`, note: `Share of texts that follow the rule (or the judge's rating), mean over concepts, ${overConcepts(table, rows, "score")}. Hollow: controls.`, svg: dotChart({ rows: dots, xTitle: "score", width: 1040, name: `scores ${at}` }), data: () => rowsOf(table, rows) }),
      dataTable({ source: table, rows, name: `conditions_${at}`, caption: "Gain, recovery and cost", columns: columns.filter(([name]) => table.has(name)).map(([name, title]) => ({ name, title: title ?? words(name), places: 2, format: name.endsWith("_reason") ? (row) => words(table.get(name, row)) : null })) }),
    ];
  });
}

function mapTable(table) {
  const columns = [["method", "map"], ["source_layer", "from layer"], ["target_layer", "to layer"], ["layer_choice", "layer by"], ["pairing", "pairs by"], ["n_train", "pairs to fit"], ["n_heldout", "pairs held out"], ["r_squared", "held-out variance explained"], ["reason", "why not made"]];
  const rows = table.select({}).filter((row) => table.get("method", row) !== "shuffled");
  return dataTable({ source: table, rows, name: "maps", caption: "The maps, fitted on plain text", columns: columns.filter(([name]) => table.has(name)).map(([name, title]) => ({ name, title, places: 3 })) });
}

const mapped = (run) => Object.entries(run.tables).filter(([, header]) => MAPS.some((name) => namesOf(header).includes(name)) && bounded(header) && !curveSpec(header, [...STEPS, ...STRENGTHS]));

async function anyMap([name, header]) {
  const table = await openTable(header);
  const { y, low, high } = bounded(header);
  const rows = table.select({});
  const labels = [...MAPS, "null", "control", "method"].filter((n) => table.has(n) && table.distinct(n).length > 1);
  const dots = rows.slice(0, 60).map((row) => ({ name: labels.map((n) => table.get(n, row)).filter(Boolean).join(", ") || String(row + 1), value: table.get(y, row), low: table.get(low, row), high: table.get(high, row), control: /null|random|shuffled|mean/.test(labels.map((n) => table.get(n, row)).join(" ")) }));
  return figure({ title: words(name), note: rows.length > 60 ? `The first 60 of ${rows.length} rows; the CSV has all.` : null, svg: dotChart({ rows: dots, xTitle: words(y), width: 1040, name }), data: () => rowsOf(table, rows) });
}
