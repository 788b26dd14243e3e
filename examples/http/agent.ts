// An AI agent in TypeScript that refunds only behind a gate: it acts after a 201 alone, and stops when the stream ends.
// FAILSHUT_URL and FAILSHUT_KEY say where the gateway is and who asks. Node 18 or later; no package is needed.
declare const process: { env: Record<string, string | undefined>; exitCode?: number };

const url = process.env.FAILSHUT_URL ?? "http://127.0.0.1:8181";
const gate = process.env.FAILSHUT_GATE ?? "payments.refund";
const headers = { "X-Failshut-Key": process.env.FAILSHUT_KEY ?? "", "X-Failshut-Subject": "agent:refund-7" };

async function guarded<T>(act: (epoch: string, stop: AbortSignal) => Promise<T>): Promise<T> {
  const signal = AbortSignal.timeout(2000);
  const begun = await fetch(`${url}/v1/gates/${gate}/executions`, { method: "POST", headers, signal });
  if (begun.status !== 201) throw new Error(`withheld: ${begun.status} ${await begun.text()}`);
  const { execution, epoch } = (await begun.json()) as { execution: string; epoch: string };
  const path = `${url}/v1/executions/${execution}`;
  const say = (outcome: string) => fetch(`${path}/${outcome}`, { method: "POST", headers, signal: AbortSignal.timeout(2000) });
  const stop = new AbortController(); // tells the action
  const done = new AbortController(); // tells the stream
  watch(`${path}/stream`, done.signal).then((why) => stop.abort(new Error(why)));
  try {
    const result = await act(epoch, stop.signal);
    await say("ok");
    return result;
  } catch (error) {
    await say("failed").catch(() => undefined); // after a closing this changes nothing
    throw error;
  } finally {
    done.abort();
  }
}

// Returns when the action must stop: the stream ended, broke, or was silent for five seconds.
async function watch(path: string, done: AbortSignal): Promise<string> {
  let why = "the stream ended";
  try {
    const reply = await fetch(path, { headers, signal: done });
    const reader = reply.status === 200 && reply.body ? reply.body.getReader() : undefined;
    while (reader) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const silent = new Promise<never>((_, fail) => (timer = setTimeout(() => fail(new Error("silent")), 5000)));
      const part = await Promise.race([reader.read(), silent]).finally(() => clearTimeout(timer));
      if (part.done) break;
      const text = new TextDecoder().decode(part.value);
      if (text.includes("event: end")) why = text.trim();
    }
  } catch (error) {
    why = String(error);
  }
  return why;
}

guarded(async (epoch, stop) => {
  console.log(`acting under ${epoch}`);
  for (let step = Number(process.env.STEPS ?? 3); step > 0; step--) {
    await new Promise((next) => setTimeout(next, 100));
    stop.throwIfAborted();
  }
  return `refunded, fencing token ${epoch}`;
}).then(console.log, (error) => (console.log(`not refunded: ${error}`), (process.exitCode = 1)));
