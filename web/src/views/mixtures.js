// The sweep beyond its curves: sources left out, what each source adds, what gives labels away.

import { dotChart } from "../charts.js";
import { dataTable } from "../controls.js";
import { figure, rowsOf } from "../exports.js";
import { words } from "../format.js";
import { openTable } from "../unpack.js";
import { STEPS, curves, drawable } from "./curves.js";

export const mixtures = {
  id: "mixtures", title: "Mixtures", lead: "The same tests while the training mixture grows: does more variety help, or only more rows?",
  available: ({ run }) => drawable(run, STEPS).length > 0,
  async render({ run }) {
    const open = async (name, draw) => (run.tables[name] ? draw(await openTable(run.tables[name])) : null);
    return [...(await curves(run, STEPS)), await open("left_out_source", leftOut), await open("source_gains", gains), await open("training_mixtures", training), await open("near_copies", copies)];
  },
};

function leftOut(table) {
  const rows = table.select({});
  const dots = rows.map((row) => ({ name: table.get("left_out", row), value: table.get("auroc", row), low: table.get("ci_low", row), high: table.get("ci_high", row), reason: words(table.get("reason", row)) }));
  return figure({ title: "Trained on all sources but one, tried on that one", note: "Only on rows about things that no training row is about: the nearest there is to a source nobody has seen.", svg: dotChart({ rows: dots, lines: [{ x: 0.5, label: "chance" }], xTitle: "AUROC, with its 95 % interval", width: 1040, name: "left out source" }), data: () => rowsOf(table, rows) });
}

function gains(table) {
  const rows = table.select({});
  const dots = rows.map((row) => ({ name: table.get("source", row), value: table.get("on_average", row), low: table.get("lowest", row), high: table.get("highest", row) }));
  return figure({ title: "What each source adds", note: `Mean over ${table.get("mean_over", rows[0])}, over all orders in which sources could have been added. The bar goes from the worst to the best order; it is no confidence interval.`, svg: dotChart({ rows: dots, lines: [{ x: 0, label: "adds nothing" }], xTitle: "change of the mean AUROC", width: 1040, name: "source gains" }), data: () => rowsOf(table, rows) });
}

const training = (table) => dataTable({ source: table, rows: table.select({}), name: "training_mixtures", caption: "Leakage: could the source alone give the label away? (0.5 and 0: no)", columns: table.names.map((name) => ({ name, places: 3, title: { cramers_v: "Cramér's V", source_only_auroc: "AUROC of the source alone", cv_auroc: "cross-validated AUROC", sd_of_folds: "sd of folds" }[name] })) });

const copies = (table) => dataTable({ source: table, rows: table.select({}), name: "near_copies", caption: "Near-copies of test texts among training texts", columns: table.names.map((name) => ({ name })) });
