// Reads what packing.py wrote: base64, raw deflate, one typed array per column.

const NULL = -(2 ** 31);
const TYPES = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, int32: Int32Array, float32: Float32Array, float64: Float64Array };

export async function inflate(id) {
  const node = document.getElementById(id);
  const bytes = fromBase64(node.textContent);
  node.textContent = "";
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Response(stream).arrayBuffer();
}

function fromBase64(letters) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(letters);
  const text = atob(letters);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

const opened = new Map();

/** The bytes of a blob, unpacked once. */
export function blob(number) {
  if (!opened.has(number)) opened.set(number, inflate(`blob-${number}`));
  return opened.get(number);
}

const tables = new Map();

/** The table a header describes. */
export function openTable(header) {
  if (!tables.has(header.blob)) tables.set(header.blob, blob(header.blob).then((bytes) => new Table(header, bytes)));
  return tables.get(header.blob);
}

export async function openJson(header) {
  return JSON.parse(new TextDecoder().decode(await blob(header.blob)));
}

export class Table {
  constructor(header, bytes) {
    this.rows = header.rows;
    this.names = header.columns.filter((c) => c.kind !== "vector").map((c) => c.name);
    this.columns = new Map(header.columns.map((c) => [c.name, openColumn(c, header.rows, bytes)]));
  }

  has(...names) {
    return names.every((name) => this.columns.has(name));
  }

  isNumber(name) {
    return this.columns.get(name)?.kind !== "category";
  }

  isWhole(name) {
    return this.columns.get(name)?.kind === "integer";
  }

  /** A text, a number, or null where it is undefined or the column is absent. */
  get(name, row) {
    const column = this.columns.get(name);
    return column ? column.at(row) : null;
  }

  /** The distinct values of a column, in order of first appearance; numbers ascending. */
  distinct(name) {
    const column = this.columns.get(name);
    if (!column) return [];
    if (column.values) return column.values;
    const found = new Set();
    for (let row = 0; row < this.rows; row++) found.add(column.at(row));
    found.delete(null);
    return [...found].sort((a, b) => a - b);
  }

  /** Row numbers whose columns equal the wanted values; wanted values that are null or of absent columns are left free. */
  select(wanted) {
    const tests = Object.entries(wanted)
      .filter(([name, value]) => value !== null && value !== undefined && this.columns.has(name))
      .map(([name, value]) => [this.columns.get(name).codes, this.columns.get(name).code(value)]);
    const found = [];
    search: for (let row = 0; row < this.rows; row++) {
      for (const [codes, code] of tests) if (codes[row] !== code) continue search;
      found.push(row);
    }
    return found;
  }

  vector(name, row) {
    const { codes, width } = this.columns.get(name);
    return codes.subarray(row * width, (row + 1) * width);
  }
}

function openColumn(about, rows, bytes) {
  const { kind, offset } = about;
  if (kind === "category") return category(about, new TYPES[about.type](bytes, offset, rows));
  if (kind === "vector") return { kind, width: about.width, codes: new TYPES[about.type](bytes, offset, rows * about.width) };
  if (kind === "real") return real(new Float64Array(bytes, offset, rows));
  return whole(about, new Uint8Array(bytes, offset, rows * 4), rows);
}

function category(about, codes) {
  const places = new Map(about.values.map((value, code) => [value, code]));
  return { kind: "category", codes, values: about.values, at: (row) => about.values[codes[row]] ?? null, code: (value) => places.get(String(value)) ?? -1 };
}

const real = (codes) => ({ kind: "real", codes, at: (row) => (Number.isNaN(codes[row]) ? null : codes[row]), code: (value) => value });

/** Numbers in four byte planes, joined one by one as they are read and all together only when rows are searched by them. */
function whole({ kind, places }, planes, rows) {
  const unit = 10 ** (places ?? 0);
  const join = (i) => planes[i] | (planes[rows + i] << 8) | (planes[2 * rows + i] << 16) | (planes[3 * rows + i] << 24);
  let all = null;
  return {
    kind,
    at: (row) => { const code = join(row); return code === NULL ? null : code / unit; },
    code: (value) => Math.round(value * unit),
    get codes() { if (!all) { all = new Int32Array(rows); for (let i = 0; i < rows; i++) all[i] = join(i); } return all; },
  };
}
