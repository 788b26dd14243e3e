// Times, spans and numbers as people read them.

export function clock(ms: number): string {
  return new Date(ms).toISOString().slice(11, 19);
}

export function dateAndClock(ms: number): string {
  return new Date(ms).toISOString().slice(0, 19).replace("T", " ");
}

export function span(ms: number): string {
  const s = Math.max(0, ms) / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} d`;
}

export function count(n: number, one: string, many = `${one}s`): string {
  return `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
}
