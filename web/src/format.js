// Numbers and names as the page writes them. Nothing here computes: values come from saved rows.

export function number(value, places = 3) {
  if (value === null || Number.isNaN(value)) return "–";
  if (Math.abs(value) >= 1000) return value.toLocaleString("en", { maximumFractionDigits: 0 }).replace("-", "−");
  const text = value.toFixed(places);
  return (/^-0\.?0*$/.test(text) ? text.slice(1) : text).replace("-", "−");
}

/** A p or q: small ones are said to be small, never zero. */
export const probability = (value) => (value !== null && value < 0.0005 ? "<0.001" : number(value));

/** Two digits for the cells of a matrix: .83, 1.0, −.12 */
export function brief(value) {
  if (value === null || Number.isNaN(value)) return "";
  const text = value.toFixed(2);
  if (Math.abs(value) >= 9.995) return value.toFixed(0);
  return text === "1.00" ? "1.0" : text.replace(/^(-?)0\./, "$1.").replace("-", "−");
}

export const count = (value) => (value === null ? "–" : value.toLocaleString("en"));

export const interval = (low, high, places = 3) => (low === null || high === null ? "no interval" : `[${number(low, places)}, ${number(high, places)}]`);

const WORDS = {
  per_1000: "gain per 1,000 rows added", to: "step gone to",
  accuracy: "accuracy by question", accuracy_row: "accuracy by row", auroc: "AUROC", spearman: "Spearman correlation", r2: "explained variance R²",
  strict: "strict: sign and threshold from training data", published: "published: chosen on evaluation labels",
  clopper_pearson: "exact binomial", bootstrap_questions: "bootstrap over questions", bootstrap_rows: "bootstrap over rows",
  range_over_folds: "range over folds", central_95_percent_of_draws: "central 95 % of draws", none: "none",
  degenerate_clopper_pearson_questions: "exact binomial over questions, as all resamples are equal", degenerate_clopper_pearson_pairs: "exact binomial over independent pairs, as all resamples are equal",
};

/** A name of the data as it stands, a name of ours in words. */
export const label = (name) => WORDS[name] ?? String(name ?? "–");

export const words = (name) => WORDS[name] ?? String(name ?? "–").replaceAll("_", " ");
