// Runs the graphs of the models by ONNX Runtime, on one thread, so that the page needs no special headers.
import * as ort from "../ort/ort.js";

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = {
  mjs: new URL("../ort/ort_wasm.js", import.meta.url).href,
  wasm: new URL("../ort/ort_wasm.wasm", import.meta.url).href,
};
ort.env.logLevel = "error";

const sessions = new Map(); // by "model/graph": promises

function session(name, graph) {
  const key = `${name}/${graph}`;
  if (!sessions.has(key)) sessions.set(key, openSession(key));
  return sessions.get(key);
}

async function openSession(key) {
  const answer = await fetch(new URL(`../models/${key}.onnx`, import.meta.url));
  if (!answer.ok)
    throw new Error(`models/${key}.onnx is missing (${answer.status}): is the folder of the page whole?`);
  return ort.InferenceSession.create(new Uint8Array(await answer.arrayBuffer()), {
    executionProviders: ["wasm"],
  });
}

async function compute({ name, graph, inputs }) {
  const opened = await session(name, graph);
  if (!inputs) return {}; // to open it was all that was asked
  const tensors = Object.entries(inputs).map(([key, { type, data, dims }]) => [
    key,
    new ort.Tensor(type, data, dims),
  ]);
  const outputs = await opened.run(Object.fromEntries(tensors));
  return Object.fromEntries(Object.entries(outputs).map(([key, tensor]) => [key, tensor.data]));
}

let before = Promise.resolve(); // runs follow one another, sessions are fetched side by side
self.addEventListener("message", ({ data }) => {
  session(data.name, data.graph).catch(() => {}); // said below
  before = before.then(async () => {
    try {
      self.postMessage({ number: data.number, outputs: await compute(data) });
    } catch (error) {
      self.postMessage({ number: data.number, error: error.message ?? String(error) });
    }
  });
});
