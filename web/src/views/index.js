import { overview } from "./overview.js";
import { matrix } from "./matrix.js";
import { layers } from "./layers.js";
import { positions } from "./positions.js";
import { methods } from "./methods.js";
import { mixtures, steering, transfer } from "./curves.js";
import { compare } from "./compare.js";
import { tables } from "./tables.js";
import { provenance } from "./provenance.js";

/** In reading order; a view that a run has nothing for is not there. */
export const VIEWS = [overview, matrix, layers, positions, methods, mixtures, steering, transfer, compare, tables, provenance];
