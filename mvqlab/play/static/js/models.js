// The models of the page, which run in a worker so that the page never stands still.
const worker = new Worker(new URL("./model_worker.js", import.meta.url), { type: "module" });
const waiting = new Map(); // by number: { resolve, reject }
const cards = new Map(); // by name: promises
let asked = 0;
let fault = null; // why the worker runs no more

worker.addEventListener("message", ({ data }) => {
  const { resolve, reject } = waiting.get(data.number);
  waiting.delete(data.number);
  if (data.error) reject(new Error(data.error));
  else resolve(data.outputs);
});
worker.addEventListener("error", (event) => {
  fault = new Error(`what runs the models did not start: ${event.message ?? "no reason was given"}`);
  for (const { reject } of waiting.values()) reject(fault);
  waiting.clear();
});

// What a model is: its card.json, as `mvqlab export` writes it.
export function card(name) {
  if (!cards.has(name)) cards.set(name, fetchJson(`models/${name}/card.json`));
  return cards.get(name);
}

// Run a graph of a model: inputs { name: { type, data, dims } } to outputs { name: data }.
export function run(name, graph, inputs) {
  if (fault) return Promise.reject(fault);
  asked += 1;
  const number = asked;
  worker.postMessage({ number, name, graph, inputs });
  return new Promise((resolve, reject) => waiting.set(number, { resolve, reject }));
}

// Fetch and open graphs before they are needed.
export function open(name, graphs) {
  for (const graph of graphs) run(name, graph, null).catch(() => {}); // said where it is needed
}

export async function fetchJson(address) {
  const answer = await fetch(address);
  if (!answer.ok)
    throw new Error(`${address} is missing (${answer.status}): is the folder of the page whole?`);
  return answer.json();
}

export const int32 = (data, dims) => ({ type: "int32", data: Int32Array.from(data), dims });
export const float32 = (data, dims) => ({ type: "float32", data, dims });
export const bool = (data, dims) => ({ type: "bool", data: Uint8Array.from(data), dims });
