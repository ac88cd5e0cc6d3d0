"use strict";
// The page's data: base64 of gzip, read when it is needed. Text becomes text nodes alone, never markup.

const GLYPHS = {
  AGREES: "≈", INCONCLUSIVE: "?", UNSUPPORTED: "–", REFUSED: "R", LOW_PRECISION: "↓", FELL_BACK: "↩", UNSTABLE: "~",
  DIFFERS: "≠", ACCEPTED_INVALID: "!", TIMED_OUT: "T", CRASHED: "×",
};
const WAYS = ["", "=", "≈", "⊘", "∼"];
const WAY_NAMES = ["", "exact", "within bound", "refused, as expected", "within norm-wise bound"];
const STANDINGS = ["", "on file", "stale", "unexpected"];

function el(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "class") node.className = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

// Drawings are written by the report itself; as XML they can hold nothing that was not drawn.
function drawing(text) {
  const parsed = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
  return document.importNode(parsed, true);
}

async function inflate(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

const embedded = (id) => document.getElementById(id).textContent;
const opened = new Map();

async function openIndex() {
  return JSON.parse(new TextDecoder().decode(await inflate(embedded("index"))));
}

// The text of a chunk: within the page, or in a script beside it that calls `conformanceDetails`.
const awaited = new Map();
globalThis.conformanceDetails = (name, text) => { if (awaited.has(name)) awaited.get(name)(text); };

function chunkText(name) {
  const inside = document.getElementById(`chunk-${name}`);
  if (inside) return Promise.resolve(inside.textContent);
  return new Promise((resolve, reject) => {
    const missing = () => reject(new Error(`details/${name}.js`));
    awaited.set(name, resolve);
    document.head.append(el("script", { src: `details/${name}.js`, onerror: missing, onload: missing }));
  });
}

async function openChunk(name) {
  const buffer = await inflate(await chunkText(name));
  const length = new DataView(buffer).getUint32(0, true);
  const plain = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return { cases: plain.cases, arrays: new Arrays(plain.arrays, new Uint8Array(buffer, 4 + length)) };
}

// The details of a case, out of the chunk that holds it; what could not be read is asked for anew the next time.
async function openCase(index, place) {
  let chunk = index.starts.length - 1;
  while (index.starts[chunk] > place) chunk--;
  const name = index.chunks[chunk];
  if (!opened.has(name)) opened.set(name, openChunk(name));
  try {
    const content = await opened.get(name);
    return { ...content.cases[place - index.starts[chunk]], store: content.arrays };
  } catch (error) {
    opened.delete(name);
    throw new Error(`details/${name}.js`, { cause: error });
  }
}

class Arrays {
  constructor(table, bytes) {
    this.table = table;
    this.bytes = bytes;
    this.known = new Map();
  }

  // {shape, values: Float32Array}; `format` in payload.py says how they are written.
  get(place) {
    if (this.known.has(place)) return this.known.get(place);
    const [shape, kind, offset, base] = this.table[place];
    const count = shape.reduce((a, b) => a * b, 1);
    const width = kind === "h" ? 2 : 4;
    const words = new Uint32Array(count);
    for (let byte = 0; byte < width; byte++)
      for (let i = 0; i < count; i++) words[i] |= this.bytes[offset + byte * count + i] << (8 * byte);
    if (kind === "h") for (let i = 0; i < count; i++) words[i] <<= 16;
    if (kind === "d") {
      const near = new Uint32Array(this.get(base).values.slice().buffer);
      for (let i = 0; i < count; i++) {
        const step = words[i] & 1 ? -((words[i] >>> 1) + 1) : words[i] >>> 1;
        const from = near[i] >= 0x80000000 ? 0x7fffffff - near[i] : near[i];
        const to = (from + step) | 0;
        words[i] = to < 0 ? 0x7fffffff - to : to;
      }
    }
    const found = { shape, values: new Float32Array(words.buffer) };
    this.known.set(place, found);
    return found;
  }
}

// Numbers that JSON lacks are strings.
function num(value) {
  return typeof value === "string" ? { inf: Infinity, "-inf": -Infinity, nan: NaN }[value] : value;
}

function show(value, digits = 6) {
  value = num(value);
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (Object.is(value, -0)) return "−0";
  const size = Math.abs(value);
  const plain = size === 0 || (size >= 1e-3 && size < 1e7);
  return (plain ? String(Number(value.toPrecision(digits))) : String(Number(value.toPrecision(digits)).toExponential())).replaceAll("-", "−");
}

function showBits(bits) {
  return bits === -1 ? "exact" : bits < 0 ? "" : bits.toFixed(1);
}

function mark(sign, outcome, title) {
  return el("span", { class: `mark o-${outcome}`, title }, sign);
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}
