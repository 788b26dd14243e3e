// Says whether a gate is open, by what stands in the store and the monitor's public keys alone. Written from docs/gateway/formats.md.
//
//     node open.mjs JWKS.json GATE RECORD SEAL
//
// RECORD and SEAL are files that hold what stands under the two keys, such as redis-cli writes it; an empty file is no key.
// Exit status: 0 open, 1 closed.
import { createHash, createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";

const TOLERANCE_MS = 500, NAME_BYTES = 12, BYTES_MAX = 320 * 1024;
const PERMIT = "failshut-permit+jwt", SEALED = "failshut-sealed-permit+jwt";
const CLOSING = "failshut-closing+jwt", SEAL = "failshut-seal+jwt";

class Closed extends Error {}

function demand(holds, why) {
  if (!holds) throw new Closed(why);
}

function readToken(file, jwks, ...types) {
  const token = readFileSync(file, "utf8").trim();
  demand(token !== "", `nothing stands in ${file}`);
  demand(token.length <= BYTES_MAX, "a token that is too long");
  const [head, body, signature, ...more] = token.split(".");
  demand(signature !== undefined && more.length === 0, "not a token");
  const header = JSON.parse(Buffer.from(head, "base64url"));
  demand(Object.keys(header).sort().join() === "alg,kid,typ", "a header with other members");
  demand(header.alg === "EdDSA" && types.includes(header.typ), `a token of type ${header.typ}`);
  const key = jwks.keys.find((one) => one.kid === header.kid && one.kty === "OKP" && one.crv === "Ed25519");
  demand(key !== undefined, "a key that is not known");
  const publicKey = createPublicKey({ key: { kty: key.kty, crv: key.crv, x: key.x }, format: "jwk" });
  demand(verify(null, Buffer.from(`${head}.${body}`), publicKey, Buffer.from(signature, "base64url")), "a wrong signature");
  const claims = JSON.parse(Buffer.from(body, "base64url"));
  demand(claims.iss === "failshut" && claims.installation === jwks.failshut_installation, "of another installation");
  return { type: header.typ, claims };
}

function nameOf(permit) {
  const said = [permit.gate, permit.epoch, permit.policy, permit.mode].join("\n");
  return createHash("sha256").update(said).digest().subarray(0, NAME_BYTES);
}

function sealedUpTo(permit, seal) {
  const name = nameOf(permit);
  for (const [time, packed] of seal.open.toReversed?.() ?? [...seal.open].reverse()) {
    const names = Buffer.from(packed, "base64");
    for (let at = 0; at < names.length; at += NAME_BYTES) {
      if (names.subarray(at, at + NAME_BYTES).equals(name)) return time;
    }
  }
  return undefined;
}

function permitOf(jwks, gate, recordFile, sealFile, now) {
  const { type, claims } = readToken(recordFile, jwks, PERMIT, SEALED, CLOSING);
  demand(claims.gate === gate, `of gate ${claims.gate}`);
  demand(type !== CLOSING, `${claims.cause}: ${claims.because}`);
  demand(Number.isSafeInteger(claims.exp_ms) && Number.isSafeInteger(claims.ttl_ms), "a permit without times");
  demand(now >= claims.nbf_ms - TOLERANCE_MS, "not yet");
  demand(now < claims.exp_ms - TOLERANCE_MS, "the permit has run out");
  if (type === SEALED) {
    const seal = readToken(sealFile, jwks, SEAL).claims;
    demand(seal.partition === claims.partition, "a seal of another partition");
    const upTo = sealedUpTo(claims, seal);
    demand(Number.isSafeInteger(upTo), "no seal names this permit");
    demand(now < upTo + claims.ttl_ms - TOLERANCE_MS, "the last seal has run out");
  }
  return claims;
}

const [jwksFile, gate, recordFile, sealFile] = process.argv.slice(2);
try {
  const jwks = JSON.parse(readFileSync(jwksFile, "utf8"));
  demand(typeof jwks.failshut_installation === "string", "the key set names no installation");
  const permit = permitOf(jwks, gate, recordFile, sealFile, Date.now());
  console.log(`open: ${gate}, epoch ${permit.epoch}, for ${permit.subjects.join(", ")}`);
} catch (error) {
  console.log(`closed: ${error instanceof Closed ? error.message : `unreadable: ${error.message}`}`);
  process.exit(1);
}
