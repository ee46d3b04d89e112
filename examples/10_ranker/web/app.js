// The page: who asks on the left, what the ranker shows on the right. Nothing leaves the browser.

import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";
import { Ranker } from "./ranker.js";

const SHOWN = 20;
const TOLD = 3;
const find = (id) => document.getElementById(id);

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = new URL("./node_modules/onnxruntime-web/dist/", import.meta.url).href;

async function main() {
  const started = performance.now();
  const [bundle, data] = await Promise.all([
    fetch("data/ranker.edge").then((answer) => answer.arrayBuffer()),
    fetch("data/shop.json").then((answer) => answer.json()),
  ]);
  const ranker = await Ranker.load(bundle, ort);
  const inputs = showUser(ranker, data.users);
  const columns = showHead(ranker);
  const loaded = performance.getEntriesByType("resource").length;
  const { target } = ranker.manifest;
  find("about").textContent =
    `${data.items.length.toLocaleString("en")} candidates, a bundle of ${(bundle.byteLength / 1024).toFixed(0)} KB ` +
    `for ${target.name}, ready after ${(performance.now() - started).toFixed(0)} ms.`;
  const update = async () => {
    const user = Object.fromEntries([...inputs].map(([name, input]) => [name, input.value.trim()]));
    const start = performance.now();
    const best = await ranker.rank(user, data.items, SHOWN);
    const took = performance.now() - start;
    await ranker.explain(ranker.userRows(user), data.items, best);
    showList(best, data.items, columns);
    const sent = performance.getEntriesByType("resource").length - loaded;
    find("status").textContent =
      `Ranked ${data.items.length.toLocaleString("en")} candidates in ${took.toFixed(1)} ms, one thread of this browser. ` +
      `Requests since the page was loaded: ${sent}.`;
    // For whoever tests the page, and for the console.
    window.ranked = { user, best, sent };
  };
  find("user").addEventListener("input", update);
  find("user").addEventListener("submit", (event) => event.preventDefault());
  await update();
  window.ranker = ranker;
  window.items = data.items;
}

function showUser(ranker, users) {
  const inputs = new Map();
  for (const field of ranker.fields.filter((each) => each.side !== "item")) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    label.textContent = field.name;
    input.placeholder = "missing";
    if (field.kind === "categorical" && field.known.size <= 100) {
      const options = document.createElement("datalist");
      options.id = `known-${field.name}`;
      options.append(...[...field.known.keys()].map((text) => new Option(text)));
      input.setAttribute("list", options.id);
      label.append(options);
    }
    label.append(input);
    find("fields").append(label);
    inputs.set(field.name, input);
  }
  const choice = find("somebody");
  choice.append(...users.map((user, place) => new Option(user.name, place)));
  const fill = () => inputs.forEach((input, name) => (input.value = users[choice.value].fields[name] ?? ""));
  choice.addEventListener("input", fill);
  fill();
  return inputs;
}

function showHead(ranker) {
  const columns = ranker.fields.filter((field) => field.side === "item");
  const titles = [["", "number"], ...columns.map((field) => [field.name, align(field)]), ["score", "number"]];
  for (const [title, kind] of [...titles, ["without it, the score would fall by", ""]]) {
    const cell = document.createElement("th");
    cell.textContent = title;
    cell.className = kind;
    find("head").append(cell);
  }
  return columns;
}

function align(field) {
  return field.kind === "numerical" ? "number" : "";
}

function showList(best, items, columns) {
  find("list").replaceChildren(
    ...best.map(({ place, score, drops }, index) => {
      const row = document.createElement("tr");
      row.append(cell(index + 1, "number"));
      for (const field of columns) row.append(cell(written(field, items[place][field.name]), align(field)));
      row.append(cell(score.toFixed(3), "number"), told(drops));
      return row;
    }),
  );
}

function written(field, value) {
  if (value === null || value === undefined || value === "") return "–";
  if (field.kind === "numerical") return Number(value).toFixed(2);
  return typeof value === "string" ? value.split(field.separator).join(", ") : String(value);
}

function cell(text, kind = "") {
  const made = document.createElement("td");
  made.textContent = text;
  made.className = kind;
  return made;
}

function told(drops) {
  const made = document.createElement("td");
  const list = document.createElement("div");
  list.className = "drops";
  const largest = Object.entries(drops).sort((one, two) => Math.abs(two[1]) - Math.abs(one[1])).slice(0, TOLD);
  for (const [name, drop] of largest) {
    const one = document.createElement("span");
    const number = document.createElement("b");
    number.textContent = `${drop < 0 ? "−" : ""}${Math.abs(drop).toFixed(2)}`;
    number.className = drop < 0 ? "down" : "";
    one.append(`${name} `, number);
    list.append(one);
  }
  made.append(list);
  return made;
}

main().catch((error) => {
  find("about").textContent = `The ranker does not run here: ${error.message}`;
  find("about").className = "failed";
  window.failed = String(error.stack ?? error);
});
