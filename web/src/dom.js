// Elements from words. Text always becomes a text node, so nothing in the data is ever parsed as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && typeof value === "boolean") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false).map((child) => (child instanceof Node ? child : String(child))));
  return node;
}

export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** Text of a dataset or model: kept apart from its surroundings whatever its direction. */
export const foreign = (text, className = "foreign") => h("bdi", { class: className, dir: "auto" }, text);

let measuring = null;

/** Width in pixels of a text in the page's font. */
export function textWidth(text, size = 12, weight = 400) {
  measuring ??= document.createElement("canvas").getContext("2d");
  measuring.font = `${weight} ${size}px system-ui, sans-serif`;
  return measuring.measureText(text).width;
}

export function shorten(text, longest = 32) {
  const letters = [...String(text)];
  return letters.length > longest ? `${letters.slice(0, longest - 1).join("")}…` : String(text);
}
