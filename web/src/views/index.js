import { overview } from "./overview.js";
import { matrix } from "./matrix.js";
import { layers } from "./layers.js";
import { positions } from "./positions.js";
import { methods } from "./methods.js";
import { mixtures } from "./mixtures.js";
import { steering } from "./steering.js";
import { transfer } from "./transfer.js";
import { compare } from "./compare.js";
import { tables } from "./tables.js";
import { provenance } from "./provenance.js";

/** What a page of several kinds of runs shows of each; a page of one kind shows all it has something for. */
export const OF_KIND = { dataset: [matrix, layers, methods], mixture: [mixtures], position: [positions], model: [transfer, steering], steering: [steering] };

/** In reading order; a view that a run has nothing for is not there. */
export const VIEWS = [overview, matrix, layers, positions, methods, mixtures, transfer, steering, compare, tables, provenance];
