// Bytes a token of three tokenizers on text, code and JSON of this repository: the basis of a sentence in docs/router.md.
//
//   npm install --no-save --ignore-scripts llama3-tokenizer-js@1.2.0 llama-tokenizer-js@1.2.2 gpt-tokenizer@4.0.0
//   node scripts/bytes_per_token.mjs

import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { encode as encodeO200k } from "gpt-tokenizer/encoding/o200k_base";
import llama2 from "llama-tokenizer-js";
import llama3 from "llama3-tokenizer-js";

const ROOT = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const MOST = 80_000; // characters of each kind

const COUNT = {
  "Llama 3 (128k)": (text) => llama3.encode(text, { bos: false, eos: false }).length,
  "o200k (200k)": (text) => encodeO200k(text).length,
  "Llama 2 (32k)": (text) => llama2.encode(text, false, false).length,
};

const read = (folder, ending) =>
  fs
    .readdirSync(path.join(ROOT, folder))
    .filter((name) => name.endsWith(ending))
    .sort()
    .map((name) => fs.readFileSync(path.join(ROOT, folder, name), "utf8"))
    .join("\n");

const TEXTS = {
  "English prose": read("docs/decisions", ".md"),
  Python: read("sky_melange/prices", ".py"),
  JSON: fs.readFileSync(path.join(ROOT, "tests/golden/text/plan.json"), "utf8"),
};

for (const [kind, whole] of Object.entries(TEXTS)) {
  const text = whole.slice(0, MOST);
  const found = Object.entries(COUNT).map(([name, count]) => `${name} ${(Buffer.byteLength(text) / count(text)).toFixed(2)}`);
  console.log(`${kind}: ${found.join(", ")}`);
}
