// Fields to rows of embedding tables, as edgekit/features does it: the same rows for the same values, bit for bit.

const MISSING = 0;

/** FNV-1a, 32 bit, over UTF-8. */
export function fnv1a(text) {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}

/** The features of a bundle: its schema, vocabularies and tables. */
export async function readFeatures(bundle) {
  const description = JSON.parse(new TextDecoder().decode(bundle.read("features/schema.json")));
  const unpacked = new Blob([bundle.read("features/vocabularies.z")]).stream().pipeThrough(new DecompressionStream("deflate"));
  const vocabularies = await new Response(unpacked).json();
  const blob = bundle.read("features/tables.bin");
  let offset = 0;
  const fields = description.fields.field.map((field, index) => {
    const made = new Field(field, textsOf(vocabularies[index]), description.tables[index], blob, offset);
    offset += field.dimension;
    return made;
  });
  return { schema: description.fields, fields, width: offset };
}

class Field {
  constructor(plain, vocabulary, record, blob, offset) {
    Object.assign(this, { hash_buckets: 0, max_length: 16, pooling: "mean", separator: "|", mean: 0, std: 1, clip: null });
    Object.assign(this, plain, { offset });
    const first = 1 + Math.max(this.hash_buckets, 1);
    this.known = new Map(vocabulary.map((text, place) => [text, first + place]));
    this.rows = rowsOf(record, this.dimension, blob);
  }

  /** Writes the embedding of a value to a row that starts at `start` of `out`. */
  write(value, out, start) {
    const target = out.subarray(start + this.offset, start + this.offset + this.dimension);
    if (this.kind === "numerical") return this.writeNumber(value, target);
    const places = this.kind === "categorical" ? [this.place(value)] : this.places(value);
    if (places.length === 1) return target.set(this.row(places[0]));
    target.fill(0);
    for (const place of places) this.row(place).forEach((number, index) => (target[index] += number));
    if (this.pooling === "mean") target.forEach((total, index) => (target[index] = total / places.length));
  }

  row(place) {
    return this.rows.subarray(place * this.dimension, (place + 1) * this.dimension);
  }

  /** The row of one id: a text, a whole number, or true or false. */
  place(value) {
    if (isMissing(value)) return MISSING;
    if (typeof value === "number" && !Number.isInteger(value)) throw new Error(`${this.name}: ${value} is no id`);
    if (!["string", "number", "boolean"].includes(typeof value)) throw new Error(`${this.name}: that is no id`);
    const text = String(value);
    return this.known.get(text) ?? 1 + (this.hash_buckets ? fnv1a(text) % this.hash_buckets : 0);
  }

  places(value) {
    if (isMissing(value)) return [MISSING];
    const several = (typeof value === "string" ? value.split(this.separator) : value).filter((each) => !isMissing(each));
    const kept = this.kind === "multi" ? several.slice(0, this.max_length) : several.slice(-this.max_length);
    return kept.length ? kept.map((each) => this.place(each)) : [MISSING];
  }

  writeNumber(value, target) {
    const number = isMissing(value) ? NaN : Number(value);
    if (Number.isNaN(number) && !isMissing(value)) throw new Error(`${this.name}: ${value} is no number`);
    if (Number.isNaN(number)) return target.set(this.row(0));
    let scaled = (number - this.mean) / this.std;
    if (this.clip !== null) scaled = Math.min(Math.max(scaled, -this.clip), this.clip);
    if (!Number.isFinite(Math.fround(scaled))) throw new Error(`${this.name}: ${value} is no finite number`);
    const [slope, start] = [this.row(1), this.row(2)];
    slope.forEach((factor, index) => (target[index] = Math.fround(Math.fround(scaled) * factor) + start[index]));
  }
}

/** A vocabulary: texts, or integers as the first and how much each following one is more. */
function textsOf(vocabulary) {
  let number = 0;
  return vocabulary.steps ? vocabulary.steps.map((step) => String((number += step))) : vocabulary;
}

function isMissing(value) {
  return value === null || value === undefined || value === "" || Number.isNaN(value);
}

/** All rows of a table as float32. */
function rowsOf({ bits, rows, exponent, start }, dimension, blob) {
  const view = new DataView(blob.buffer, blob.byteOffset + start);
  const out = new Float32Array(rows * dimension);
  if (bits === 32) return out.map((_, index) => view.getFloat32(4 * index, true));
  const stride = bits === 8 ? dimension : (dimension + 1) >> 1;
  for (let row = 0; row < rows; row += 1) {
    const byte = view.getUint8(rows * stride + row);
    const scale = Math.fround((16 + (byte & 15)) * 2 ** ((byte >> 4) + exponent));
    for (let column = 0; column < dimension; column += 1) {
      const level =
        bits === 8
          ? view.getInt8(row * stride + column)
          : ((view.getUint8(row * stride + (column >> 1)) >> (4 * (column & 1))) & 15) - 8;
      out[row * dimension + column] = level * scale;
    }
  }
  return out;
}
