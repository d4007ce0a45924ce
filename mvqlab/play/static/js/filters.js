// From logits to one choice: guidance, temperature, and what is allowed at all.

// Classifier-free guidance: logits of two rows, told and not told, to one (Ho and Salimans 2022).
export function guided(logits, scale) {
  const n = logits.length / 2;
  return Float32Array.from(
    { length: n },
    (_, place) => logits[n + place] + scale * (logits[place] - logits[n + place]),
  );
}

// Probabilities of `logits` at a temperature; 0 takes the likeliest. isAllowed says which may be drawn.
export function law(logits, temperature, isAllowed = () => true) {
  let best = -1;
  for (let place = 0; place < logits.length; place++) {
    if (isAllowed(place) && (best < 0 || logits[place] > logits[best])) best = place;
  }
  if (temperature === 0) return logits.map((_, place) => (place === best ? 1 : 0));
  const weights = logits.map((logit, place) =>
    isAllowed(place) ? Math.exp((logit - logits[best]) / temperature) : 0,
  );
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

// An index, by its probability, for `u` in [0, 1).
export function draw(probabilities, u) {
  let last = 0;
  for (let place = 0; place < probabilities.length; place++) {
    if (probabilities[place] === 0) continue;
    last = place;
    u -= probabilities[place];
    if (u < 0) break;
  }
  return last;
}

// Where the next pair may go: a free place; where positions rise, after `last`, and so that the pairs to come fit.
export function openPlaces(nPlaces, taken, nToCome, isRising) {
  const last = isRising ? Math.max(-1, ...taken) : -1;
  const isTaken = new Set(taken);
  return (place) => !isTaken.has(place) && (!isRising || (place > last && place < nPlaces - nToCome));
}

// The n likeliest indices, likeliest first.
export function likeliest(probabilities, n) {
  const order = [...probabilities.keys()].sort(
    (first, second) => probabilities[second] - probabilities[first],
  );
  return order.slice(0, n);
}
