// One state for the whole page, kept in the address after #: section, then what is chosen. Every view is a link.

export const state = {};
const listeners = new Set();
let section = "";

export function readHash() {
  const [name, query] = location.hash.slice(1).split("?");
  for (const key of Object.keys(state)) delete state[key];
  for (const [key, value] of new URLSearchParams(query ?? "")) state[key] = value;
  return (section = name);
}

export const hashOf = (name, changed = {}) => {
  const chosen = Object.entries({ ...state, ...changed }).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(chosen.map(([key, value]) => [key, String(value)])).toString();
  return `#${name}${query ? `?${query}` : ""}`;
};

/** Choose something: the address follows, and so does everything that shows it. With `name`, that section is where it is seen. */
export function choose(changed, name) {
  section = name ?? section;
  Object.assign(state, changed);
  for (const [key, value] of Object.entries(state)) {
    if (value === null || value === undefined) delete state[key];
    else state[key] = String(value);
  }
  history.replaceState(null, "", hashOf(section));
  for (const listener of listeners) listener(Object.keys(changed), name);
}

export const onChoice = (listener) => listeners.add(listener);

/** What is chosen, if the run has it; else the first of the candidates it has. */
export function chosen(key, available, ...candidates) {
  const wanted = [state[key], ...candidates].find((value) => value !== undefined && value !== null && available.some((a) => String(a) === String(value)));
  return wanted === undefined ? available[0] : available.find((a) => String(a) === String(wanted));
}
