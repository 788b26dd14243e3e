// How the monitor and this gateway are: evidence by front-door partition, workers, and what is wrong.

import { at, h, say } from "./dom";
import { type News, Stream } from "./stream";
import { count, span } from "./words";

interface Partition {
  place: string;
  mark_ms: number;
  waits_since_ms: number;
}

interface Worker {
  id: string;
  group: string;
  gaps: string[];
  troubles: string[];
}

interface Witness {
  name: string;
  cosigned_seconds: number | null;
  said: string;
  why: string;
}

interface Ledger {
  words: string;
  wrong: string;
  witnesses: Witness[];
}

/** Evidence that is older than this is worth a word: marks come several times a second. */
const OLD_MS = 1500;

export function health(): void {
  const ages: [HTMLElement, Partition][] = [];
  const stream = new Stream("/console/stream?health=1", ["health"], (_, news) => draw(news), tick);

  function draw(news: News): void {
    const workers = news["workers"] as Worker[];
    const partitions = news["partitions"] as Partition[];
    const ledger = news["ledger"] as Ledger | null;
    const gateway = news["gateway"] as Record<string, unknown>;
    const troubles = workers.flatMap((one) => [...one.troubles, ...one.gaps.map((gap) => `gap: ${gap}`)].map((text) => `${one.id}: ${text}`));
    if (ledger?.wrong) troubles.push(`ledger: ${ledger.wrong}`);
    if (news["waits"]) troubles.push(String(news["waits"]));
    const age = news["evidence_age_ms"] as number | null;
    say(at("summary"), age === null ? "no monitor speaks: every gate lapses" : `evidence ${span(age)} old · ${count(workers.length, "worker")} · store ${String(news["store"])}`);
    ages.length = 0;
    at("health").replaceChildren(
      part("What is wrong", troubles.length ? h("ul", { class: "wrong" }, ...troubles.map((one) => h("li", {}, one))) : none(age === null ? "No worker speaks. Permits are not renewed, and gates close when theirs run out." : "Nothing that workers or this gateway know of.")),
      part(
        "Evidence by front-door partition",
        partitions.length
          ? table(["Partition", "Newest mark", ""], partitions.map((one) => {
              const cell = h("td");
              ages.push([cell, one]);
              return [h("th", { scope: "row" }, one.place), cell, h("td", {}, one.waits_since_ms ? "waits for an open transaction" : "")];
            }))
          : none("No partition is known: no worker speaks."),
        "Evidence time is the oldest of these. A gate closes when it is older than the ttl of its permit.",
      ),
      part("Workers", workers.length ? table(["Worker", "Group", "Gaps", "Disagreements"], workers.map((one) => [h("th", { scope: "row" }, one.id), h("td", {}, one.group), h("td", {}, String(one.gaps.length)), h("td", {}, String(one.troubles.length))])) : none("No worker speaks. Start one: failshut run.")),
      part("Ledger and witnesses", ledgerOf(ledger), ledger?.words ?? ""),
      part("This gateway", h("dl", { class: "facts wide" }, ...Object.entries(gateway).map(([name, value]) => h("div", {}, h("dt", {}, name.replaceAll("_", " ")), h("dd", {}, said(value)))))),
    );
    tick();
  }

  function tick(): void {
    for (const [cell, one] of ages) {
      const old = stream.now() - one.mark_ms;
      say(cell, `${span(old)} ago`);
      cell.className = old > OLD_MS ? "age old" : "age";
    }
  }
}

function ledgerOf(ledger: Ledger | null): HTMLElement {
  if (ledger === null) return none("This gateway was told of no ledger: failshut serve --ledger DIR --trust POLICY.");
  if (!ledger.witnesses.length) return none(ledger.wrong || "Its policy names no witness.");
  return table(["Witness", "Cosigned", "Answered last"], ledger.witnesses.map((one) => [
    h("th", { scope: "row" }, one.name),
    h("td", {}, one.cosigned_seconds === null ? "never" : `${span(one.cosigned_seconds * 1000)} ago`),
    h("td", {}, one.why === "" ? one.said : `${one.said}: ${one.why}`),
  ]));
}

function said(value: unknown): string {
  if (value !== null && typeof value === "object") return Object.entries(value).map(([name, one]) => `${name}: ${String(one)}`).join(", ") || "none";
  return value === "" || value === null ? "none" : String(value);
}

const none = (text: string): HTMLElement => h("p", { class: "none" }, text);

function part(name: string, what: HTMLElement, words = ""): HTMLElement {
  return h("section", {}, h("h2", {}, name), words !== "" && h("p", { class: "aside" }, words), what);
}

function table(heads: string[], rows: HTMLElement[][]): HTMLElement {
  return h("table", { class: "plain" }, h("thead", {}, h("tr", {}, ...heads.map((one) => (one ? h("th", { scope: "col" }, one) : h("td"))))), h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row))));
}
