// Colours of the page and of its figures, light and dark. Lines: Okabe and Ito 2008. Map: PuOr (ColorBrewer), its middle at chance.

export const LINES = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F", "#7A5BA6"];
const DARK_LINES = ["#4FA8DC", "#F08A45", "#2FC49A", "#DD9BC0", "#F0B94A", "#8ACBF0", "#C7A64A", "#AE93D6"];
/** Families of sets, as in the figures beside the run. */
export const FAMILIES = ["#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#0072B2", "#F0E442", "#D55E00"];
const DASHES = ["", "", "", "", "6 3", "6 3", "2 3", "2 3"];
const MARKS = { light: ["#8a4a05", "#c9741a", "#eda955", "#f9d9ae", "#f6f5f4", "#d5d2e6", "#a59ccb", "#6f5fa6", "#40237a"], dark: ["#f5a64a", "#d58430", "#a4622a", "#6b4630", "#2d2e33", "#48446a", "#6d62a0", "#9384cc", "#c0b1f2"] };

let forced = null;

export const isDark = () => (forced ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

export function force(theme) {
  forced = theme;
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}
export const forcedTheme = () => forced;

/** Colours for figures, which carry them in themselves so that an exported file looks as on screen. */
export function theme() {
  return isDark()
    ? { dark: true, ink: "#e9e9ec", soft: "#a3a6ae", faint: "#3a3d45", paper: "#17191d", panel: "#1e2126", empty: "#26292f", accent: "#6cb8e6", lines: DARK_LINES, map: MARKS.dark }
    : { dark: false, ink: "#1d1d20", soft: "#5f6168", faint: "#dcdcdf", paper: "#fdfdfc", panel: "#ffffff", empty: "#ececee", accent: "#0a5c92", lines: LINES, map: MARKS.light };
}

export const lineStyle = (index, control) => {
  const t = theme();
  return control ? { colour: t.soft, dash: "4 3" } : { colour: t.lines[index % t.lines.length], dash: DASHES[index % DASHES.length] };
};

/** Colour of a value: the middle of the map is chance, its ends are `low` and `high`. Undefined has the colour of nothing. */
export function colour(value, { low = 0, middle = 0.5, high = 1 } = {}) {
  const t = theme();
  if (value === null || Number.isNaN(value)) return t.empty;
  const above = value >= middle;
  const reach = above ? (value - middle) / (high - middle || 1) : (middle - value) / (middle - low || 1);
  const place = 4 + (above ? 4 : -4) * Math.min(1, Math.max(0, reach));
  const left = Math.min(7, Math.floor(place));
  return mix(t.map[left], t.map[left + 1], place - left);
}

function mix(a, b, share) {
  const [x, y] = [a, b].map((c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16)));
  return `#${x.map((v, i) => Math.round(v + (y[i] - v) * share).toString(16).padStart(2, "0")).join("")}`;
}

/** Black or white, whichever reads better on a colour. */
export function inkOn(background) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(background.slice(i, i + 2), 16) / 255).map((v) => (v <= 0.04 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.3 ? "#141416" : "#ffffff";
}
