// Run graphs with onnxruntime-web (WebAssembly): node web.mjs FOLDER. The folder contains cases.json and raw arrays.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as ort from "onnxruntime-web";

const folder = process.argv[2];
const ARRAYS = { uint8: Uint8Array, uint16: Uint16Array, float32: Float32Array };
ort.env.wasm.numThreads = 1;

for (const graph of JSON.parse(readFileSync(join(folder, "cases.json"), "utf8"))) {
  const session = await ort.InferenceSession.create(readFileSync(graph.path), { executionProviders: ["wasm"] });
  for (const each of graph.cases) {
    const feeds = {};
    for (const [name, { file, type, shape }] of Object.entries(each.inputs)) {
      const bytes = readFileSync(join(folder, file));
      const values = new ARRAYS[type](bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
      feeds[name] = new ort.Tensor(type, values, shape);
    }
    const found = await session.run(feeds, Object.keys(each.outputs));
    for (const [name, file] of Object.entries(each.outputs)) {
      writeFileSync(join(folder, file), new Uint8Array(found[name].data.buffer, found[name].data.byteOffset, found[name].data.byteLength));
    }
  }
  await session.release();
}
