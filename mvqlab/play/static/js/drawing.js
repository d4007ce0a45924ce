// One image being drawn by a transformer, pair by pair, and what each draw was made from.
import { draw, guided, law, likeliest, openPlaces } from "./filters.js";
import { card, float32, int32, run } from "./models.js";
import { generator } from "./random.js";

export const N_CODES = 6; // of the likeliest, kept of every draw

// Draw with a model; `onPair(pairs)` is called after every pair and says whether to go on. A pair is
//   { code, place, codes: [{ code, share }], places: probabilities (L), or null where places are given }.
export async function drawPairs(name, { condition, temperature, guidance, seed }, onPair) {
  const known = await card(name);
  const uniform = generator(seed);
  const isGuided = guidance !== 1 && known.null !== null && known.null !== undefined;
  const told = isGuided ? [condition, known.null] : [condition];
  const conditions = known.condition === "class" ? { conditions: int32(told, [told.length]) } : {};
  const once = (logits) => (isGuided ? guided(logits, guidance) : logits);
  const rows = (numbers) => told.flatMap(() => numbers);
  const nPlaces = known.side ** 2;
  const hasPlaces = known.predicts.includes("position");
  const isRising = known.order === "raster" && known.sampling.ordered_positions;
  const pairs = [];
  while (pairs.length < known.n_pairs) {
    const [codes, places] = [pairs.map((pair) => pair.code), pairs.map((pair) => pair.place)];
    const shape = [told.length, pairs.length];
    const inputs = { codes: int32(rows(codes), shape), ...conditions };
    if (hasPlaces) inputs.positions = int32(rows(places), shape);
    const first = await run(name, "code", inputs);
    const ofCodes = law(once(first.logits).slice(0, known.codebook_size), temperature);
    const pair = { code: draw(ofCodes, uniform()), place: pairs.length, places: null };
    pair.codes = shares(ofCodes, pair.code);
    if (hasPlaces) {
      const width = first.states.length / (told.length * (pairs.length + 1));
      const second = await run(name, "position", {
        states: float32(first.states, [told.length, pairs.length + 1, width]),
        codes: int32(rows([...codes, pair.code]), [told.length, pairs.length + 1]),
      });
      const isOpen = openPlaces(nPlaces, places, known.n_pairs - 1 - pairs.length, isRising);
      pair.places = law(once(second.logits).slice(0, nPlaces), temperature, isOpen);
      pair.place = draw(pair.places, uniform());
    }
    pairs.push(pair);
    if (!onPair(pairs)) return null;
  }
  return pairs;
}

// The code that was drawn, then the likeliest others.
function shares(probabilities, drawn) {
  const others = likeliest(probabilities, N_CODES).filter((code) => code !== drawn);
  return [drawn, ...others].slice(0, N_CODES).map((code) => ({ code, share: probabilities[code] }));
}
