// Which regions of an image are kept. Polarity as everywhere: the ratio is the share dropped, 1 is kept.
import { generator } from "./random.js";

const SMALL = 1e-3; // weight of a region's surroundings, which settle between regions that score alike

// N, the regions kept of L: (1 - ratio) L rounded, at least one.
export function nKept(ratio, nPositions) {
  return Math.max(1, Math.round((1 - ratio) * nPositions));
}

// Uint8Array (L), 1 at the n best of `scores` (L).
export function keepBest(scores, n) {
  const order = [...scores.keys()].sort((first, second) => scores[second] - scores[first]);
  const isKept = new Uint8Array(scores.length);
  for (const place of order.slice(0, n)) isKept[place] = 1;
  return isKept;
}

// Scores (L) drawn from a seed.
export function atRandom(nPositions, seed) {
  const draw = generator(seed);
  return Float32Array.from({ length: nPositions }, draw);
}

// Variance of each region's pixels, mean over colours; `image` (3, H, H) in [-1, 1], `side` regions an edge.
export function byVariance(image, resolution, side) {
  const p = resolution / side;
  const scores = new Float32Array(side * side);
  for (let place = 0; place < scores.length; place++) {
    const [top, left] = [Math.floor(place / side) * p, (place % side) * p];
    for (let colour = 0; colour < 3; colour++) {
      let [sum, squares] = [0, 0];
      for (let row = top; row < top + p; row++) {
        for (let column = left; column < left + p; column++) {
          const value = image[(colour * resolution + row) * resolution + column];
          sum += value;
          squares += value * value;
        }
      }
      scores[place] += Math.max(0, squares / (p * p) - (sum / (p * p)) ** 2) / 3;
    }
  }
  return settleTies(scores, side);
}

// `scores` and a thousandth of the mean around them.
function settleTies(scores, side) {
  return scores.map((score, place) => {
    const [row, column] = [Math.floor(place / side), place % side];
    let [sum, n] = [0, 0];
    for (let r = Math.max(0, row - 1); r <= Math.min(side - 1, row + 1); r++) {
      for (let c = Math.max(0, column - 1); c <= Math.min(side - 1, column + 1); c++) {
        sum += scores[r * side + c];
        n += 1;
      }
    }
    return score + (SMALL * sum) / n;
  });
}

// A choice as text for an address, four regions a letter, and back; null where the text is no such choice.
export function asText(isKept) {
  let text = "";
  for (let place = 0; place < isKept.length; place += 4) {
    text += [0, 1, 2, 3].reduce((number, bit) => 2 * number + (isKept[place + bit] ?? 0), 0).toString(16);
  }
  return text;
}

export function fromText(text, nPositions) {
  if (!/^[0-9a-f]+$/.test(text ?? "") || text.length !== Math.ceil(nPositions / 4)) return null;
  const isKept = new Uint8Array(nPositions);
  for (let place = 0; place < nPositions; place++) {
    isKept[place] = (parseInt(text[Math.floor(place / 4)], 16) >> (3 - (place % 4))) & 1;
  }
  return isKept.includes(1) ? isKept : null;
}
