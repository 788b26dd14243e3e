// Verifies a proof as `failshut verify` does: a C2SP tlog-proof with its leaf, against a C2SP trust policy. Everything that is
// reckoned here is WebCrypto's: SHA-256 and Ed25519. Nothing is believed before the check that makes it believable has passed.

import { Bad, bytesOf, checkName, fromBase64, hex, joined, json, number, utf8 } from "./strict";

export const CHECKS = ["form", "checkpoint", "witnesses", "inclusion", "signature", "statement"] as const;

export interface Check {
  name: string;
  passed: boolean | null;
  found: string;
}

export interface Verdict {
  checks: Check[];
  passed: boolean;
  statement: Record<string, unknown> | null;
  subject: string;
}

interface Key {
  name: string;
  id: number;
  kind: number;
  bytes: Uint8Array;
  label: string;
}

interface Policy {
  logs: Key[];
  witnesses: Map<string, Key>;
  groups: Map<string, { least: number; members: string[] }>;
  quorum: string;
}

const NOTE = 1;
const COSIGNATURE = 4;
const PROOF_BYTES_MAX = 256 * 1024 + 128 * 1024;
const NOTE_BYTES_MAX = 256 * 1024;
const HASHES_MAX = 63;
const KIND = "application/vnd.in-toto+json";

/** Why this browser cannot verify; empty where it can. */
export async function unable(): Promise<string> {
  if (!globalThis.crypto?.subtle) {
    return "This browser has no WebCrypto here, because the page came over plain HTTP from another host. Nothing can be verified. Open the console over HTTPS, or on the gateway's own host, or run failshut verify.";
  }
  try {
    // The public key of RFC 8032, test 1.
    await importKey(Uint8Array.from("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a".match(/../g)!, (one) => parseInt(one, 16)));
    return "";
  } catch {
    return "This browser knows no Ed25519. Nothing can be verified. Use a newer one, or run failshut verify.";
  }
}

const importKey = (bytes: Uint8Array): Promise<CryptoKey> => crypto.subtle.importKey("raw", joined(bytes), { name: "Ed25519" }, false, ["verify"]);

async function sha256(...parts: Uint8Array[]): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", joined(...parts)));
}

async function fits(key: Key, message: Uint8Array, signature: Uint8Array): Promise<boolean> {
  try {
    return await crypto.subtle.verify({ name: "Ed25519" }, await importKey(key.bytes), joined(signature), joined(message));
  } catch {
    return false;
  }
}

async function readKey(line: string): Promise<Key> {
  const [name, id, ...rest] = line.split("+");
  if (line.length > 1000 || id === undefined || !/^[0-9a-f]{8}$/.test(id) || !rest.length) throw new Bad("a verifier key is NAME+ID+BASE64");
  const data = fromBase64(rest.join("+"), "a verifier key");
  const kind = data[0] ?? 0;
  if (kind !== NOTE && kind !== COSIGNATURE) throw new Bad(`a key of type ${kind} cannot be used here`);
  if (data.length !== 33) throw new Bad("not an Ed25519 public key");
  const made = hex((await sha256(bytesOf(`${checkName(name!)}\n`), data)).slice(0, 4));
  if (made !== id) throw new Bad(`the id of the key ${name} is not the one of its bytes`);
  return { name: name!, id: parseInt(id, 16), kind, bytes: data.slice(1), label: `${name}+${id}` };
}

/** Read a trust policy. Each line of it must be understood. */
export async function readPolicy(text: string): Promise<Policy> {
  if (text.length > NOTE_BYTES_MAX) throw new Bad("a trust policy has at most 262144 bytes");
  const policy: Policy = { logs: [], witnesses: new Map(), groups: new Map(), quorum: "" };
  const members = new Set<string>();
  const defined = (name: string): boolean => policy.witnesses.has(name) || policy.groups.has(name);
  const fresh = (name: string): void => {
    if (name === "none" || defined(name)) throw new Bad(`the name ${name} is taken`);
  };
  const key = async (line: string, kind: number, others: Iterable<Key>): Promise<Key> => {
    const made = await readKey(line);
    if (made.kind !== kind) throw new Bad(`${made.label} is no ${kind === NOTE ? "log" : "witness"}'s key`);
    for (const other of others) if (hex(other.bytes) === hex(made.bytes)) throw new Bad(`${made.label} stands there twice`);
    return made;
  };
  for (const [place, line] of text.split("\n").entries()) {
    const words = line.replace(/\r$/, "").split(/[ \t]+/).filter(Boolean);
    if (!words.length || words[0]!.startsWith("#")) continue;
    const [verb, a = "", b = "", ...rest] = words;
    try {
      if (verb === "log" && words.length >= 2 && words.length <= 3) policy.logs.push(await key(a, NOTE, policy.logs));
      else if (verb === "witness" && words.length >= 3 && words.length <= 4) {
        fresh(a);
        policy.witnesses.set(a, await key(b, COSIGNATURE, policy.witnesses.values()));
      } else if (verb === "group" && rest.length) {
        fresh(a);
        for (const member of rest) {
          if (!defined(member)) throw new Bad(`no witness or group above is called ${member}`);
          if (members.has(member)) throw new Bad(`${member} is a member twice`);
          members.add(member);
        }
        if (!/^(all|any|[1-9][0-9]{0,3})$/.test(b)) throw new Bad("a group asks for all, any or a number of its members");
        const least = b === "all" ? rest.length : b === "any" ? 1 : Number(b);
        if (least > rest.length) throw new Bad(`${b} of ${rest.length} members`);
        policy.groups.set(a, { least, members: rest });
      } else if (verb === "quorum" && words.length === 2) {
        if (policy.quorum) throw new Bad("a second quorum");
        if (a !== "none" && !defined(a)) throw new Bad(`no witness or group is called ${a}`);
        policy.quorum = a;
      } else throw new Bad("not understood");
    } catch (error) {
      throw new Bad(`line ${place + 1} of the trust policy: ${(error as Error).message}`);
    }
  }
  if (!policy.quorum) throw new Bad("a trust policy says which quorum it asks for: `quorum none` for no witness");
  return policy;
}

interface Proof {
  index: bigint;
  hashes: Uint8Array[];
  checkpoint: Uint8Array;
  leaf: Uint8Array;
}

function readProof(data: Uint8Array): Proof {
  if (data.length > PROOF_BYTES_MAX) throw new Bad(`a proof has at most ${PROOF_BYTES_MAX} bytes`);
  const end = data.findIndex((one, place) => one === 10 && data[place + 1] === 10);
  const head = end < 0 ? "" : utf8(data.slice(0, end), "a proof");
  const checkpoint = data.slice(end + 2);
  const lines = head.split("\n");
  if (lines.shift() !== "c2sp.org/tlog-proof@v1" || !checkpoint.length) throw new Bad("a proof begins with c2sp.org/tlog-proof@v1, and ends with a checkpoint behind an empty line");
  if (/[^\x00-\x7f]/.test(head)) throw new Bad("a proof is ASCII up to its checkpoint");
  let leaf: Uint8Array | null = null;
  if (lines[0]?.startsWith("extra ")) leaf = fromBase64(lines.shift()!.slice(6), "extra data");
  const named = lines.shift();
  if (!named?.startsWith("index ")) throw new Bad("a proof names an index");
  const index = number(named.slice(6), "an index");
  if (lines.length > HASHES_MAX) throw new Bad(`a proof has at most ${HASHES_MAX} hashes`);
  const hashes = lines.map((line) => fromBase64(line, "a hash", 32));
  if (!leaf) throw new Bad("the proof does not carry its leaf, so nobody can read what it proves");
  return { index, hashes, checkpoint, leaf };
}

interface Note {
  text: string;
  verified: Key[];
  times: Map<Key, bigint>;
}

async function openNote(data: Uint8Array, keys: Key[]): Promise<Note> {
  if (data.length > NOTE_BYTES_MAX) throw new Bad("a note has at most 262144 bytes");
  const whole = utf8(data, "a note");
  if (/[\x00-\x09\x0b-\x1f]/.test(whole)) throw new Bad("a note holds no control characters but newlines");
  const cut = whole.lastIndexOf("\n\n");
  if (cut < 0 || !whole.endsWith("\n") || cut + 2 >= whole.length) throw new Bad("a note is a text, an empty line and lines of signatures");
  const text = whole.slice(0, cut + 1);
  const lines = whole.slice(cut + 2, -1).split("\n");
  if (lines.length > 64) throw new Bad("a note has at most 64 signatures");
  const note: Note = { text, verified: [], times: new Map() };
  for (const line of lines) {
    const parts = line.split(" ");
    if (parts.length !== 3 || parts[0] !== "\u2014") throw new Bad("a line of a note that is no signature");
    const made = fromBase64(parts[2]!, "a signature");
    if (made.length <= 4) throw new Bad("a signature without any bytes");
    checkName(parts[1]!);
    const id = parseInt(hex(made.slice(0, 4)), 16);
    const key = keys.find((one) => one.name === parts[1] && one.id === id);
    if (!key) continue;
    let signature = made.slice(4);
    let message = bytesOf(text);
    if (key.kind === COSIGNATURE) {
      const time = BigInt(`0x${hex(signature.slice(0, 8))}`);
      message = bytesOf(`cosignature/v1\ntime ${time}\n${text}`);
      signature = signature.slice(8);
      note.times.set(key, time);
    }
    if (note.verified.includes(key) || signature.length !== 64 || !(await fits(key, message, signature))) throw new Bad(`a signature by ${key.label} does not fit`);
    note.verified.push(key);
  }
  if (!note.verified.length) throw new Bad(`none of ${keys.map((one) => one.label).join(", ") || "no keys"} has signed`);
  return note;
}

function quorum(policy: Policy, note: Note): string {
  const met = new Map<string, boolean>();
  for (const [name, key] of policy.witnesses) met.set(name, note.verified.includes(key));
  for (const [name, group] of policy.groups) met.set(name, group.members.filter((one) => met.get(one)).length >= group.least);
  const said = [...policy.witnesses].filter(([, key]) => note.verified.includes(key)).map(([name, key]) => `${name} at ${when(note.times.get(key)!)}`);
  const words = said.join(", ") || "no witness";
  if (policy.quorum === "none") return "the policy asks for none";
  if (!met.get(policy.quorum)) throw new Bad(`the policy asks for ${policy.quorum}, and ${words} has cosigned`);
  return `${policy.quorum} is met: ${words}`;
}

const when = (seconds: bigint): string => (seconds < 253402300799n ? `${new Date(Number(seconds) * 1000).toISOString().slice(0, 19)}Z` : `second ${seconds}`);

/** RFC 9162, section 2.1.3.2. */
async function included(leaf: Uint8Array, index: bigint, size: bigint, proof: Uint8Array[], root: Uint8Array): Promise<void> {
  if (index >= size) throw new Bad(`a tree of ${size} leaves has no leaf ${index}`);
  let at = index;
  let last = size - 1n;
  let found = await sha256(Uint8Array.of(0), leaf);
  for (const one of proof) {
    if (last === 0n) throw new Bad("the proof is longer than the tree is high");
    if (at & 1n || at === last) {
      found = await sha256(Uint8Array.of(1), one, found);
      while (!(at & 1n) && at) [at, last] = [at >> 1n, last >> 1n];
    } else found = await sha256(Uint8Array.of(1), found, one);
    [at, last] = [at >> 1n, last >> 1n];
  }
  if (last !== 0n) throw new Bad("the proof is shorter than the tree is high");
  if (hex(found) !== hex(root)) throw new Bad("the hashes do not lead from the leaf to the root of the checkpoint");
}

async function openEnvelope(data: Uint8Array, keys: Key[]): Promise<{ payload: Uint8Array; signed: Key[] }> {
  const said = json(data, "an envelope");
  if (Object.keys(said).sort().join() !== "payload,payloadType,signatures" || said["payloadType"] !== KIND) throw new Bad(`an envelope holds payload, payloadType ${KIND} and signatures`);
  const { payload, signatures } = said;
  if (typeof payload !== "string" || !Array.isArray(signatures) || !signatures.length || signatures.length > 8) throw new Bad("an envelope has a payload, and 1 to 8 signatures");
  const data64 = fromBase64(payload, "a payload");
  const message = joined(bytesOf(`DSSEv1 ${KIND.length} ${KIND} ${data64.length} `), data64);
  const signed: Key[] = [];
  for (const one of signatures as Record<string, unknown>[]) {
    if (Object.keys(one ?? {}).sort().join() !== "keyid,sig" || typeof one["keyid"] !== "string" || typeof one["sig"] !== "string") throw new Bad("a signature of an envelope holds keyid and sig");
    const signature = fromBase64(one["sig"], "a signature", 64);
    const key = keys.find((known) => known.label === one["keyid"]);
    if (!key) continue;
    if (!(await fits(key, message, signature))) throw new Bad(`an envelope's signature by ${key.label} does not fit`);
    signed.push(key);
  }
  if (!signed.length) throw new Bad("an envelope is signed by none of these keys");
  return { payload: data64, signed };
}

function readStatement(payload: Uint8Array): { subject: string; predicate: Record<string, unknown> } {
  const said = json(payload, "a statement");
  const type = "https://in-toto.io/Statement/v1";
  if (Object.keys(said).sort().join() !== "_type,predicate,predicateType,subject" || said["_type"] !== type) throw new Bad(`a statement is of type ${type}`);
  const predicate = said["predicate"] as Record<string, unknown> | null;
  const known = said["predicateType"] === "urn:failshut:decision:1" || said["predicateType"] === "urn:failshut:ledger-key:1";
  if (!known || typeof predicate !== "object" || predicate === null || typeof predicate["kind"] !== "string") throw new Bad("a statement of the ledger has a predicate type of ours, and a kind");
  const subjects = said["subject"] as { name?: unknown; digest?: { sha256?: unknown } }[];
  const first = Array.isArray(subjects) && subjects.length === 1 ? subjects[0] : undefined;
  if (typeof first?.name !== "string" || typeof first.digest?.sha256 !== "string" || !/^[0-9a-f]{64}$/.test(first.digest.sha256)) throw new Bad("a statement of the ledger has one subject, with its SHA-256");
  return { subject: first.name, predicate };
}

/** Verify a proof against a policy. Whatever is wrong with the proof stands in the verdict; a policy that is none is thrown. */
export async function verify(data: Uint8Array, policy: Policy): Promise<Verdict> {
  const checks: Check[] = [];
  const passed = (found: string): void => void checks.push({ name: CHECKS[checks.length]!, passed: true, found });
  try {
    const proof = readProof(data);
    passed(`a C2SP tlog-proof of leaf ${proof.index}, with the leaf itself (${proof.leaf.length} bytes)`);
    const note = await openNote(proof.checkpoint, [...policy.logs, ...policy.witnesses.values()]);
    const lines = note.text.split("\n");
    if (lines.length < 4 || !lines[0]) throw new Bad("a checkpoint has an origin, a size and a root, a line each");
    const origin = lines[0];
    const more = lines.slice(3, -1);
    if (/[\p{C}]/u.test(origin) || more.length > 16 || more.includes("")) throw new Bad("a checkpoint names its origin, and has at most 16 extension lines");
    const size = number(lines[1]!, "a size");
    const root = fromBase64(lines[2]!, "a root", 32);
    const logs = note.verified.filter((one) => policy.logs.includes(one));
    if (!logs.length) throw new Bad("witnesses have signed, and no log that is trusted");
    const own = logs.filter((one) => one.name === origin);
    if (!own.length) throw new Bad(`${logs[0]!.name} has signed a checkpoint of ${origin}`);
    passed(`${size} leaves of ${origin}, signed by ${own.map((one) => one.label).join(", ")}`);
    passed(quorum(policy, note));
    await included(proof.leaf, proof.index, size, proof.hashes, root);
    passed(`${proof.hashes.length} hashes lead from the leaf to the root of that checkpoint`);
    const { payload, signed } = await openEnvelope(proof.leaf, policy.logs.filter((one) => one.name === origin));
    passed(`the leaf is signed by ${signed.map((one) => one.label).join(", ")}`);
    const { subject, predicate } = readStatement(payload);
    passed(`an in-toto statement about ${subject}`);
    return { checks, passed: true, statement: predicate, subject };
  } catch (error) {
    if (!(error instanceof Bad)) throw error;
    checks.push({ name: CHECKS[checks.length]!, passed: false, found: error.message });
    for (const name of CHECKS.slice(checks.length)) checks.push({ name, passed: null, found: "not checked" });
    return { checks, passed: false, statement: null, subject: "" };
  }
}
