// A ranker in the browser: the features of a user and of candidates, and the bundle's own network in WebAssembly.

import { openBundle } from "./bundle.js";
import { readFeatures } from "./features.js";

export class Ranker {
  /** Loads a bundle that was compiled for ONNX Runtime. `ort` is onnxruntime-web. */
  static async load(buffer, ort) {
    const bundle = await openBundle(buffer);
    if (!bundle.manifest.features) throw new Error("this bundle is no ranker");
    const options = { executionProviders: ["wasm"], graphOptimizationLevel: "all" };
    const session = await ort.InferenceSession.create(bundle.read("engine/model.onnx"), options);
    const ranker = new Ranker(bundle.manifest, await readFeatures(bundle), session, ort);
    // The first run sets up what the others use.
    await ranker.run(ranker.userRows({}));
    return ranker;
  }

  constructor(manifest, features, session, ort) {
    Object.assign(this, { manifest, session, ort }, features);
    this.batch = manifest.input.shape[0];
  }

  /**
   * The best k candidates for a user, the best first; of equal ones the first that was given. Of candidates with the
   * same id the first one is ranked.
   *
   * Returns {place, score} for each, and with `explain` also {drops}: by field, how much lower the score would be with
   * that field missing and all others as they are.
   */
  async rank(user, candidates, k = 20, explain = false) {
    const base = this.userRows(user);
    const scores = await this.scores(base, candidates);
    const places = firstOfEach(candidates.map((candidate) => candidate[this.schema.item]));
    places.sort((one, two) => scores[two] - scores[one] || one - two);
    const best = places.slice(0, k).map((place) => ({ place, score: scores[place] }));
    if (explain) await this.explain(base, candidates, best);
    return best;
  }

  userRows(user) {
    const rows = new Float32Array(this.batch * this.width);
    for (const field of this.fields) if (field.side !== "item") field.write(user[field.name], rows, 0);
    for (let row = 1; row < this.batch; row += 1) rows.copyWithin(row * this.width, 0, this.width);
    return rows;
  }

  async scores(rows, candidates) {
    const scores = new Float32Array(candidates.length);
    for (let start = 0; start < candidates.length; start += this.batch) {
      const chunk = candidates.slice(start, start + this.batch);
      this.writeItems(rows, chunk);
      scores.set((await this.run(rows)).subarray(0, chunk.length), start);
    }
    return scores;
  }

  writeItems(rows, candidates) {
    const fields = this.fields.filter((field) => field.side === "item");
    candidates.forEach((candidate, row) => {
      for (const field of fields) field.write(candidate[field.name], rows, row * this.width);
    });
  }

  async explain(base, candidates, best) {
    for (let start = 0; start < best.length; start += this.batch) {
      const chunk = best.slice(start, start + this.batch);
      this.writeItems(base, chunk.map(({ place }) => candidates[place]));
      for (const each of chunk) each.drops = {};
      for (const field of this.fields) {
        const rows = base.slice();
        for (let row = 0; row < this.batch; row += 1) rows.set(field.row(0), row * this.width + field.offset);
        const without = await this.run(rows);
        chunk.forEach((each, row) => (each.drops[field.name] = each.score - without[row]));
      }
    }
  }

  async run(rows) {
    const input = new this.ort.Tensor("float32", rows, [this.batch, this.width]);
    const outputs = await this.session.run({ [this.manifest.input.name]: input });
    return outputs[this.manifest.outputs[0].name].data;
  }
}

function firstOfEach(ids) {
  const seen = new Set();
  return [...ids.keys()].filter((place) => {
    const id = ids[place] ?? null;
    const first = id === null || !seen.has(id);
    seen.add(id);
    return first;
  });
}
