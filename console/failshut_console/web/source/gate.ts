// One gate: what it does now and why, what can be done, what happened to it, and its policy.

import { at, h, say, show, start } from "./dom";
import { bar } from "./life";
import { ask, kindsFor } from "./orders";
import { Stream } from "./stream";
import { clock, dateAndClock, span } from "./words";

interface Found {
  gate: string;
  state: string;
  breaker: string;
  cause: string;
  means: string;
  because: string;
  mode: string;
  epoch: string;
  ttl_ms: number;
  until_ms: number;
  evidence_ms: number;
  policy: string;
  refused: string;
  readings: [string, string, string][];
  bypass: { by: string; why: string; conditions: string[]; until_ms: number } | null;
}

interface Entry {
  time_ms: number;
  what: string;
  state: string;
  breaker: string;
  cause: string;
  because: string;
  who: string;
  key: string;
  why: string;
  epoch: string;
  evidence_partition: number;
  evidence_offset: number;
  evidence_ms: number;
  origin: { topic: string; partition: number; offset: number } | null;
  readings: [string, string, string][];
  bypass: { by: string; why: string; conditions: string[]; until_ms: number } | null;
}

const SAYS: Record<string, string> = { holds: "holds", demands: "demands a trip", learning: "not enough evidence yet" };

export function gate(): void {
  const name = at("gate").dataset["gate"]!;
  const mayOrder = start().may_order;
  const life = bar();
  const state = h("span", { class: "state" });
  const because = h("p", { class: "because" });
  const facts = h("dl", { class: "facts" });
  const age = h("dd");
  const soon = h("p", { class: "soon", hidden: true });
  const buttons = h("div", { class: "buttons acts" });
  const readings = h("ul", { class: "readings" });
  const bypass = h("p", { class: "bypass", hidden: true });
  const live = h("div", { class: "live-part" }, h("p", { class: "is" }, state), because, soon, bypass, facts, buttons, h("h2", {}, "Conditions"), readings);
  let found: Found | null = null;
  let epoch = "";
  let offered = "";

  const stream = new Stream(`/console/stream?gate=${encodeURIComponent(name)}`, ["gate"], (_, news) => take(news["gate"] as Found | null), tick);
  const mayAct = (): boolean => mayOrder && stream.live;

  function take(now: Found | null): void {
    const before = found;
    found = now;
    if (!now) {
      at("now").replaceChildren(h("p", { class: "none" }, "The store names no such gate. If the store was emptied, the log still tells what happened: look below."));
      return;
    }
    if (!live.isConnected) at("now").replaceChildren(live);
    if (before && before.state === "OPEN" && now.state !== "OPEN") say(at("said"), `${clock(stream.now())}: ${name} closed: ${now.because || now.means}`);
    state.className = `state ${now.state.toLowerCase()}`;
    say(state, now.state);
    const words = now.because || now.means;
    say(because, now.means && words !== now.means ? `${words} (${now.means})` : words);
    show(bypass, now.bypass !== null);
    if (now.bypass) say(bypass, `Bypassed by ${now.bypass.by}: ${now.bypass.why}. It overrides ${now.bypass.conditions.join(", ")}, until ${dateAndClock(now.bypass.until_ms)}.`);
    facts.replaceChildren(
      ...fact("Breaker", now.breaker),
      ...fact("Permit", life.element),
      h("div", {}, h("dt", {}, "Evidence"), age),
      ...fact("Epoch", now.epoch || "none"),
      ...fact("Mode", now.mode || "none"),
      ...fact("Policy", now.policy.slice(0, 19) || "none", now.policy),
    );
    readings.replaceChildren(
      ...now.readings.map(([condition, status, text]) =>
        h("li", { class: status }, h("b", {}, condition), h("span", { class: "status" }, SAYS[status] ?? status), h("span", {}, text)),
      ),
    );
    if (!now.readings.length) readings.replaceChildren(h("li", {}, "No reading of a condition is known."));
    if (epoch !== now.epoch) {
      if (epoch) void log();
      epoch = now.epoch;
    }
  }

  function tick(): void {
    if (!found) return;
    say(age, found.evidence_ms ? `${span(stream.now() - found.evidence_ms)} old` : "none");
    life.set(found.until_ms, found.ttl_ms, stream.now(), stream.live);
    const left = found.until_ms - stream.now();
    show(soon, stream.live && left > 0 && left < 0.4 * found.ttl_ms);
    say(soon, `Closes in ${span(left)} unless its evidence goes on.`);
    const kinds = mayAct() ? kindsFor(found, found.bypass !== null) : [];
    const key = kinds.map((kind) => kind.kind).join();
    if (key === offered) return;
    offered = key;
    buttons.replaceChildren(
      ...kinds.map((kind) =>
        h(
          "button",
          {
            type: "button",
            click: () => {
              const conditions = kind.kind === "bypass" ? found!.readings : [];
              ask(kind, [{ ...found! }], () => stream.seenMs, mayAct, conditions.map(([one, status]) => ({ name: one, demands: status === "demands" })));
            },
          },
          `${kind.verb} ...`,
        ),
      ),
    );
  }

  let reading = 0;
  async function log(): Promise<void> {
    const mine = ++reading;
    const box = at("log");
    if (!box.querySelector("ol")) box.replaceChildren(h("p", { class: "none" }, "Reading the log ..."));
    const said = await fetched<{ entries: Entry[]; trouble: string; cut: string[] }>(`decisions?hours=${at<HTMLSelectElement>("hours").value}`);
    if (mine !== reading) return;
    if (!said || said.trouble) box.replaceChildren(h("p", { class: "none" }, said?.trouble ?? "The log could not be read."));
    else if (!said.entries.length) box.replaceChildren(h("p", { class: "none" }, "Nothing happened to this gate in this time."));
    else box.replaceChildren(h("ol", { class: "log" }, ...said.entries.map(entry)), ...said.cut.map((line) => h("p", { class: "aside" }, line)));
  }

  async function policy(): Promise<void> {
    const box = at("policy");
    box.replaceChildren(h("p", { class: "none" }, "Reading the policy ..."));
    const said = await fetched<{ text: string; trouble: string; file?: string }>("policy");
    box.replaceChildren(
      ...(!said || said.trouble ? [h("p", { class: "none" }, said?.trouble ?? "The policy could not be read.")] : []),
      ...(said?.text ? [h("p", { class: "aside" }, said.file ?? ""), h("pre", { tabindex: "0" }, said.text)] : []),
    );
  }

  async function fetched<T>(part: string): Promise<T | null> {
    try {
      const reply = await fetch(`/console/gates/${encodeURIComponent(name)}/${part}`, { cache: "no-store" });
      return reply.ok ? ((await reply.json()) as T) : null;
    } catch {
      return null;
    }
  }

  at("hours").addEventListener("change", () => void log());
  void log();
  void policy();
}

function fact(name: string, value: string | Node, title = ""): HTMLElement[] {
  return [h("div", {}, h("dt", {}, name), h("dd", title ? { title } : {}, value))];
}

function entry(one: Entry): HTMLElement {
  const who = one.who || one.key ? `${one.who || "key"}${one.key ? ` (${one.key})` : ""}${one.why ? `: ${one.why}` : ""}` : "";
  const evidence = `epoch ${one.epoch} · evidence ${one.evidence_partition}:${one.evidence_offset}, judged up to ${clock(one.evidence_ms)}`;
  const origin = one.origin ? ` · over ${one.origin.topic} ${one.origin.partition}:${one.origin.offset}` : "";
  return h(
    "li",
    { class: one.state.toLowerCase() || "said" },
    h("time", { datetime: new Date(one.time_ms).toISOString(), title: dateAndClock(one.time_ms) }, dateAndClock(one.time_ms)),
    h(
      "div",
      {},
      h("p", {}, h("b", {}, one.what), one.cause ? ` over ${one.cause}` : "", ` · breaker ${one.breaker}`),
      h("p", {}, one.because),
      who !== "" && h("p", { class: "by" }, `by ${who}`),
      h(
        "details",
        {},
        h("summary", {}, "Evidence"),
        h("p", { class: "small" }, evidence + origin),
        h("ul", { class: "readings" }, ...one.readings.map(([name, status, text]) => h("li", { class: status }, h("b", {}, name), h("span", { class: "status" }, SAYS[status] ?? status), h("span", {}, text)))),
      ),
    ),
  );
}
