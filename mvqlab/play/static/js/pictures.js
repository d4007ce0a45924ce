// Images as tensors (3, H, H) in [-1, 1], as bytes (H, H, 4), and on canvases.

const MEGAPIXELS = 40; // of a picture of one's own
const GREY = 200; // where nothing is known

export async function fetchPicture(address) {
  const answer = await fetch(address);
  if (!answer.ok)
    throw new Error(`${address} is missing (${answer.status}): is the folder of the page whole?`);
  return createImageBitmap(await answer.blob());
}

// The central square of an image file, H pixels an edge, over white. Says in words what cannot be read.
export async function readFile(file, resolution) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(`${file.name}: is not an image that this browser can read`);
  }
  const megapixels = (bitmap.width * bitmap.height) / 1e6;
  if (megapixels > MEGAPIXELS) {
    throw new Error(`${file.name} has ${megapixels.toFixed(0)} megapixels; a picture may have ${MEGAPIXELS}`);
  }
  return pixelsOf(bitmap, resolution);
}

// ImageData (H, H) of a bitmap's central square. Halved step by step, since browsers blur too little.
export function pixelsOf(bitmap, resolution) {
  let side = Math.min(bitmap.width, bitmap.height);
  let source = bitmap;
  let [left, top] = [(bitmap.width - side) / 2, (bitmap.height - side) / 2];
  while (true) {
    const smaller = Math.max(resolution, Math.ceil(side / 2));
    const canvas = new OffscreenCanvas(smaller, smaller);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, smaller, smaller);
    context.imageSmoothingEnabled = side !== smaller;
    context.imageSmoothingQuality = "high";
    context.drawImage(source, left, top, side, side, 0, 0, smaller, smaller);
    if (smaller === resolution) return context.getImageData(0, 0, resolution, resolution);
    [source, side, left, top] = [canvas, smaller, 0, 0];
  }
}

export function tensorOf(pixels) {
  const n = pixels.width * pixels.height;
  const tensor = new Float32Array(3 * n);
  for (let place = 0; place < n; place++) {
    for (let colour = 0; colour < 3; colour++) {
      tensor[colour * n + place] = pixels.data[4 * place + colour] / 127.5 - 1;
    }
  }
  return tensor;
}

export function pixelsFrom(tensor, resolution) {
  const n = resolution * resolution;
  const pixels = new ImageData(resolution, resolution);
  for (let place = 0; place < n; place++) {
    for (let colour = 0; colour < 3; colour++) {
      const value = Math.min(1, Math.max(-1, tensor[colour * n + place]));
      pixels.data[4 * place + colour] = Math.round((value + 1) * 127.5);
    }
    pixels.data[4 * place + 3] = 255;
  }
  return pixels;
}

// Colours without the opacity, for `psnr`.
export function colours(pixels) {
  return pixels.data.filter((_, place) => place % 4 !== 3);
}

export function nothing(resolution) {
  const pixels = new ImageData(resolution, resolution);
  pixels.data.fill(GREY);
  for (let place = 3; place < pixels.data.length; place += 4) pixels.data[place] = 255;
  return pixels;
}

// `whole` where a region is drawn, grey elsewhere: isDrawn (L).
export function uncovered(whole, isDrawn) {
  const [resolution, side] = [whole.width, Math.sqrt(isDrawn.length)];
  const pixels = nothing(resolution);
  const p = resolution / side;
  for (let place = 0; place < resolution * resolution; place++) {
    const region =
      Math.floor(Math.floor(place / resolution) / p) * side + Math.floor((place % resolution) / p);
    if (isDrawn[region]) pixels.data.set(whole.data.subarray(4 * place, 4 * place + 4), 4 * place);
  }
  return pixels;
}

// Values (L) in cividis, a pixel each, from `low` to `high`. `palette`: 256 colours, six hexadecimal digits each.
export function heatMap(values, palette, low = Math.min(...values), high = Math.max(...values)) {
  const side = Math.sqrt(values.length);
  const pixels = new ImageData(side, side);
  values.forEach((value, place) => {
    const shade = high > low ? Math.min(255, Math.floor((256 * (value - low)) / (high - low))) : 0;
    for (let colour = 0; colour < 3; colour++) {
      pixels.data[4 * place + colour] = parseInt(
        palette.slice(6 * shade + 2 * colour, 6 * shade + 2 * colour + 2),
        16,
      );
    }
    pixels.data[4 * place + 3] = 255;
  });
  return pixels;
}

export async function pngOf(pixels) {
  const canvas = new OffscreenCanvas(pixels.width, pixels.height);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return (await canvas.convertToBlob({ type: "image/png" })).arrayBuffer();
}
