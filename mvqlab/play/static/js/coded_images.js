// Held-out images as one sheet, coded once, so that a code can be shown by the regions nearest to it.
import { fetchJson, card } from "./models.js";
import { fetchPicture } from "./pictures.js";

const atlases = new Map(); // by name: promises

// { codes: [{ x, y, count, near: [[row, place, tookIt]], neighbours: [[code, distance]] }], seen, drawn, side, ... }
export function codedImages(name) {
  if (!atlases.has(name)) atlases.set(name, fetchCodedImages(name));
  return atlases.get(name);
}

async function fetchCodedImages(name) {
  const [atlas, known, seen, drawn] = await Promise.all([
    fetchJson(`atlas/${name}.json`),
    card(name),
    fetchPicture(`atlas/${name}_seen.webp`),
    fetchPicture(`atlas/${name}_drawn.webp`),
  ]);
  return { ...atlas, seen, drawn, side: known.side, resolution: known.resolution };
}

// A region and `context` regions around it, cut out of a sheet ("seen" or "drawn") as ImageData.
export function cutRegion(coded, sheet, row, place, context = 1) {
  const { resolution, side, columns } = coded;
  const p = resolution / side;
  const edge = (1 + 2 * context) * p;
  const canvas = new OffscreenCanvas(edge, edge);
  const drawing = canvas.getContext("2d");
  drawing.fillStyle = "#808080"; // beyond the image
  drawing.fillRect(0, 0, edge, edge);
  const [top, left] = [(Math.floor(place / side) - context) * p, ((place % side) - context) * p];
  const [y0, x0] = [Math.max(0, top), Math.max(0, left)];
  const [height, width] = [Math.min(resolution, top + edge) - y0, Math.min(resolution, left + edge) - x0];
  const [ofRow, ofColumn] = [Math.floor(row / columns) * resolution, (row % columns) * resolution];
  drawing.drawImage(
    coded[sheet],
    ofColumn + x0,
    ofRow + y0,
    width,
    height,
    x0 - left,
    y0 - top,
    width,
    height,
  );
  return drawing.getImageData(0, 0, edge, edge);
}
