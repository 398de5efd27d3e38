import { choice, controls, dataTable } from "../controls.js";
import { count, words } from "../format.js";
import { h } from "../dom.js";
import { chosen } from "../state.js";
import { openTable } from "../unpack.js";

const ROWS = "all result rows";

export const tables = {
  id: "tables", title: "Tables", lead: "Every saved table, as it is. A heading sorts; CSV has all rows and columns.",
  available: () => true,
  async render({ chapters }) {
    const several = chapters.length > 1;
    const listed = chapters.flatMap(({ run }) => Object.entries({ ...run.tables, ...(run.results.rows ? { [ROWS]: run.results } : {}) }).map(([name, header]) => [several ? `${run.title}: ${name}` : name, header]));
    const headers = Object.fromEntries(listed);
    const names = Object.keys(headers);
    const name = chosen("table", names, names[0]);
    const table = await openTable(headers[name]);
    const rows = Array.from({ length: table.rows }, (_, row) => row);
    const pick = controls(choice({ label: "table", key: "table", options: names.map((n) => [n, `${words(n)} (${count(headers[n].rows)})`]), value: name }));
    return [pick, dataTable({ source: table, rows, name: name.replaceAll(/[ :]+/g, "_"), caption: words(name), columns: table.names.map((column) => ({ name: column, places: 4 })) }), h("p", { class: "note" }, "Numbers are kept to five decimals here; the files beside the report have all digits.")];
  },
};
