// Text from strangers: one form for each value, and nothing else. The rules of `failshut verify`, in this browser.

/** What a proof cannot be over: the words are for a person. */
export class Bad extends Error {}

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function utf8(data: Uint8Array, what: string): string {
  try {
    return UTF8.decode(data);
  } catch {
    throw new Bad(`${what} is not UTF-8`);
  }
}

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function fromBase64(text: string, what: string, length = -1): Uint8Array {
  let data: string;
  try {
    data = atob(text);
  } catch {
    throw new Bad(`${what} is not base64`);
  }
  if (btoa(data) !== text) throw new Bad(`${what} is not base64 in its one form`);
  if (length >= 0 && data.length !== length) throw new Bad(`${what} has ${data.length} bytes and must have ${length}`);
  return Uint8Array.from(data, (one) => one.charCodeAt(0));
}

export function number(text: string, what: string): bigint {
  if (!/^(0|[1-9][0-9]{0,18})$/.test(text) || BigInt(text) >= 1n << 63n) throw new Bad(`${what} is no number`);
  return BigInt(text);
}

export function checkName(name: string): string {
  if (!name || name.length > 255 || /[+\p{C}\p{Z}]/u.test(name)) throw new Bad("not the name of a key");
  return name;
}

export function joined(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) {
    whole.set(part, place);
    place += part.length;
  }
  return whole;
}

export const hex = (data: Uint8Array): string => [...data].map((one) => one.toString(16).padStart(2, "0")).join("");

const DEPTH_MAX = 60;

/** Read JSON in which no object has a name twice: of two, nobody can tell which one counts. */
export function json(data: Uint8Array, what: string): Record<string, unknown> {
  const text = utf8(data, what);
  const token = /\s*(?:([{}[\],:])|("(?:[^"\\]|\\.)*")|(-?[0-9][0-9.eE+-]*|true|false|null))/y;
  const bad = (): never => {
    throw new Bad(`${what} is not JSON, or holds a name twice`);
  };
  let mark = "";
  let value: unknown;
  const is = (one: string): boolean => mark === one;
  const next = (): void => {
    const found = token.exec(text) ?? bad();
    mark = found[1] ?? "";
    value = mark ? undefined : JSON.parse(found[2] ?? found[3]!);
  };
  const read = (depth: number): unknown => {
    if (depth > DEPTH_MAX) bad();
    if (is("{")) {
      const made: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
      for (next(); !is("}"); ) {
        if (typeof value !== "string" || mark || value in made) bad();
        const name = value as string;
        next();
        if (!is(":")) bad();
        next();
        made[name] = read(depth + 1);
        next();
        if (is(",")) {
          next();
          if (is("}")) bad();
        } else if (!is("}")) bad();
      }
      return made;
    }
    if (is("[")) {
      const made: unknown[] = [];
      for (next(); !is("]"); ) {
        made.push(read(depth + 1));
        next();
        if (is(",")) {
          next();
          if (is("]")) bad();
        } else if (!is("]")) bad();
      }
      return made;
    }
    return mark ? bad() : value;
  };
  try {
    next();
    const found = read(0);
    if (/\S/.test(text.slice(token.lastIndex)) || typeof found !== "object" || found === null || Array.isArray(found)) bad();
    return found as Record<string, unknown>;
  } catch (error) {
    if (error instanceof Bad) throw error;
    return bad();
  }
}
