// Reads an EdgeKit bundle: a zip of stored members, each with its SHA-256 in manifest.json.

const END_OF_ARCHIVE = 0x06054b50;
const ENTRY = 0x02014b50;

/** Opens a bundle and checks every member against its hash. Throws where one is damaged. */
export async function openBundle(buffer) {
  const members = membersOf(buffer);
  const manifest = JSON.parse(new TextDecoder().decode(required(members, "manifest.json")));
  for (const [name, hash] of Object.entries(manifest.members)) {
    if ((await sha256(required(members, name))) !== hash) throw new Error(`${name} is not what manifest.json says`);
  }
  return { manifest, read: (name) => required(members, name) };
}

function membersOf(buffer) {
  const view = new DataView(buffer);
  let end = buffer.byteLength - 22;
  while (end >= 0 && view.getUint32(end, true) !== END_OF_ARCHIVE) end -= 1;
  if (end < 0) throw new Error("this is no bundle, or it was cut off");
  const members = new Map();
  let place = view.getUint32(end + 16, true);
  for (let count = view.getUint16(end + 10, true); count > 0; count -= 1) {
    if (view.getUint32(place, true) !== ENTRY || view.getUint16(place + 10, true) !== 0) {
      throw new Error("a member of the bundle is damaged or compressed");
    }
    const size = view.getUint32(place + 24, true);
    const lengths = [28, 30, 32].map((offset) => view.getUint16(place + offset, true));
    const local = view.getUint32(place + 42, true);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const name = new TextDecoder().decode(new Uint8Array(buffer, place + 46, lengths[0]));
    members.set(name, new Uint8Array(buffer.slice(start, start + size)));
    place += 46 + lengths[0] + lengths[1] + lengths[2];
  }
  return members;
}

function required(members, name) {
  if (!members.has(name)) throw new Error(`the bundle has no ${name}`);
  return members.get(name);
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
