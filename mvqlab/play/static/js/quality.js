// What a choice of regions costs, and how good it is.

// Peak signal-to-noise ratio in dB of two images in bytes, 100 at most.
export function psnr(first, second) {
  let sum = 0;
  for (let place = 0; place < first.length; place++) sum += (first[place] - second[place]) ** 2;
  return sum === 0 ? 100 : Math.min(100, 10 * Math.log10((255 ** 2 * first.length) / sum));
}

// Bits of N codes and of their places: N log2 K + log2 C(L, N), nothing learned.
export function bits(n, nPositions, codebookSize) {
  let ofPlaces = 0;
  for (let k = 1; k <= n; k++) ofPlaces += Math.log2((nPositions - n + k) / k);
  return n * Math.log2(codebookSize) + ofPlaces;
}
