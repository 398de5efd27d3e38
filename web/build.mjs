// Bundles src/ into the Python package and records the checksum of what it was built from, which a test compares.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const bundle = process.argv[2] ?? join(here, "../src/probeshift/report/html/bundle");

const shared = { bundle: true, minify: true, charset: "ascii", legalComments: "none" };
await build({ ...shared, entryPoints: [join(here, "src/main.js")], format: "iife", target: "es2022", outfile: join(bundle, "report.js") });
await build({ ...shared, entryPoints: [join(here, "src/style.css")], outfile: join(bundle, "report.css") });

const names = ["build.mjs", "package.json", ...readdirSync(join(here, "src"), { recursive: true })
  .filter((name) => /\.(js|css)$/.test(name)).map((name) => `src/${name.replaceAll("\\", "/")}`)].sort();
const sum = createHash("sha256");
for (const name of names) sum.update(name).update("\0").update(readFileSync(join(here, name))).update("\0");
writeFileSync(join(bundle, "sources.sha256"), `${sum.digest("hex")}\n`);
