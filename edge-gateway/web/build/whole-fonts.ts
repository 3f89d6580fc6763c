/** Stands for Excalidraw's subsetting of fonts: an SVG gets the whole font that its text is in. */

export const Commands = { Subset: "SUBSET" };

/** Nothing is done in a worker. */
export const WorkerUrl = undefined;

export function subsetToBase64(font: ArrayBuffer): Promise<string> {
  return toBase64(font);
}

export function subsetToBinary(font: ArrayBuffer): Promise<ArrayBuffer> {
  return Promise.resolve(font);
}

export function toBase64(font: ArrayBuffer): Promise<string> {
  const bytes = Array.from(new Uint8Array(font), (byte) => String.fromCharCode(byte));
  return Promise.resolve(`data:font/woff2;base64,${btoa(bytes.join(""))}`);
}
