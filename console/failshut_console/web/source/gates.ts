// The list of gates: filtered, sorted, live, and moved through with the keyboard.

import { at, breakable, h, say, show, start } from "./dom";
import { type Bar, bar } from "./life";
import { ask, KINDS, kindsFor, type Target } from "./orders";
import { type News, Stream } from "./stream";
import { clock, count, span } from "./words";

interface Row extends Target {
  cause: string;
  means: string;
  because: string;
  mode: string;
  ttl_ms: number;
  bypass_until_ms: number;
  until: number;
  evidence: number;
  text: string;
}

interface Drawn {
  tr: HTMLElement;
  row: Row | null;
  box: HTMLInputElement;
  link: HTMLElement;
  state: HTMLElement;
  why: HTMLElement;
  breaker: HTMLElement;
  age: HTMLElement;
  life: Bar;
}

/** So many rows are drawn at first; more on demand. Nobody reads ten thousand. */
const STEP = 200;
const FEW = 3;
/** Evidence of a healthy monitor is younger: marks come several times a second, and a permit lives for longer. */
const OLD_MS = 2000;
const RANK: Record<string, number> = { CLOSED: 0, UNKNOWN: 1, OPEN: 2 };

export function gates(): void {
  const rows = new Map<string, Row>();
  const drawn = new Map<string, Drawn>();
  const chosen = new Set<string>();
  const body = at("gates").querySelector("tbody")!;
  const find = at<HTMLInputElement>("find");
  const order = at<HTMLSelectElement>("order");
  const pause = at("pause");
  const buttons = [...document.querySelectorAll<HTMLButtonElement>("[data-only]")];
  const mayOrder = start().may_order;
  let only = "";
  let most = STEP;
  let pausedMs = 0;
  let head: News | null = null;
  let asked = false;
  let shown: Row[] = [];

  body.replaceChildren();
  show(at("tools"), true);
  at("gates").classList.toggle("picks", mayOrder);
  const stream = new Stream("/console/stream", ["seen"], (_, news) => take(news), tick);
  const mayAct = (): boolean => mayOrder && stream.live && !pausedMs;

  function take(news: News): void {
    const first = head === null;
    head = news;
    if (news["full"]) rows.clear();
    const closings: Row[] = [];
    for (const one of news["rows"] as Row[]) {
      const before = rows.get(one.gate);
      const text = `${one.gate} ${one.state} ${one.breaker} ${one.cause} ${one.because} ${one.mode}`.toLowerCase();
      const row = { ...one, until: before?.until ?? 0, evidence: before?.evidence ?? 0, text };
      rows.set(one.gate, row);
      if (!first && before?.state === "OPEN" && one.state !== "OPEN") closings.push(row);
    }
    for (const [gate, [until, evidence]] of Object.entries(news["lives"] as Record<string, [number, number]>)) {
      const row = rows.get(gate);
      if (row) [row.until, row.evidence] = [until, evidence];
    }
    for (const gate of news["gone"] as string[]) {
      rows.delete(gate);
      chosen.delete(gate);
    }
    if (closings.length) tell(closings);
    draw();
  }

  /** A person who does not see the page hears of closings, and of many as a number. */
  function tell(closings: Row[]): void {
    const words = closings.length > FEW ? `${closings.length} gates closed` : closings.map((row) => `${row.gate} closed: ${row.because || row.means}`).join(". ");
    say(at("said"), `${clock(stream.now())}: ${words}`);
  }

  function draw(): void {
    if (asked || pausedMs) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      render();
    });
  }

  function wanted(): Row[] {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found: Row[] = [];
    for (const row of rows.values()) {
      if ((!only || row.state === only) && words.every((word) => row.text.includes(word))) found.push(row);
    }
    const by = order.value;
    const name = (a: Row, b: Row): number => (a.gate < b.gate ? -1 : 1);
    return found.sort((a, b) => {
      if (by === "state") return RANK[a.state]! - RANK[b.state]! || name(a, b);
      if (by === "life") return (a.until || Infinity) - (b.until || Infinity) || name(a, b);
      if (by === "age") return a.evidence - b.evidence || name(a, b);
      return name(a, b);
    });
  }

  function render(): void {
    shown = wanted();
    const top = shown.slice(0, most);
    const kept = new Set(top.map((row) => row.gate));
    for (const [gate, one] of drawn) {
      if (!kept.has(gate)) {
        one.tr.remove();
        drawn.delete(gate);
      }
    }
    let place: Element | null = body.firstElementChild;
    for (const row of top) {
      let one = drawn.get(row.gate);
      if (!one) drawn.set(row.gate, (one = blank(row)));
      fill(one, row);
      if (one.tr === place) place = place.nextElementSibling;
      else body.insertBefore(one.tr, place);
    }
    const left = shown.length - top.length;
    show(at("more"), left > 0);
    if (left > 0) at("more").replaceChildren(`${count(left, "more gate")}. `, h("button", { type: "button", click: () => ((most += 5 * STEP), draw()) }, "Show more"));
    none();
    tick();
  }

  function none(): void {
    const text = rows.size === 0
      ? "There is no gate yet that this access key is for. A gate appears here once a policy of it is in force: failshut policy activate DIR."
      : "No gate fits the filter.";
    show(at("none"), shown.length === 0 && head !== null);
    if (shown.length === 0) say(at("none"), text);
  }

  function blank(row: Row): Drawn {
    const box = h("input", { type: "checkbox", "aria-label": `Choose ${row.gate}` }) as HTMLInputElement;
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(row.gate);
      else chosen.delete(row.gate);
      tick();
    });
    const link = h("a", { href: `/console/gates/${row.gate}` }, ...breakable(row.gate));
    const state = h("span", { class: "state" });
    const why = h("td", { class: "why" });
    const breaker = h("td", { class: "breaker" });
    const age = h("td", { class: "age" });
    const life = bar();
    const tr = h("tr", {}, h("td", { class: "pick" }, box), h("th", { scope: "row", class: "name" }, link), h("td", { class: "is" }, state), why, breaker, age, h("td", { class: "life" }, life.element));
    return { tr, row: null, box, link, state, why, breaker, age, life };
  }

  function fill(one: Drawn, row: Row): void {
    if (one.row === row) return;
    one.row = row;
    one.tr.className = row.state.toLowerCase();
    one.state.className = `state ${row.state.toLowerCase()}`;
    say(one.state, row.state);
    say(one.why, row.mode === "bypass" ? `bypassed: ${row.because}` : row.because || row.means);
    one.why.title = row.means;
    say(one.breaker, row.breaker);
  }

  function tick(): void {
    const acts = mayAct();
    const now = pausedMs || stream.now();
    for (const one of drawn.values()) {
      const row = one.row!;
      say(one.age, row.evidence ? span(now - row.evidence) : "none");
      one.age.classList.toggle("old", now - row.evidence > Math.max(OLD_MS, 0.75 * row.ttl_ms));
      one.life.set(row.until, row.ttl_ms, now, stream.live && !pausedMs);
      if (one.box.disabled === acts) one.box.disabled = !acts;
      one.box.checked = chosen.has(row.gate);
    }
    many(acts);
    sum();
  }

  function sum(): void {
    const closed = [...rows.values()].filter((row) => row.state === "CLOSED").length;
    const open = [...rows.values()].filter((row) => row.state === "OPEN").length;
    for (const button of buttons) say(button.querySelector("b")!, String({ "": rows.size, CLOSED: closed, OPEN: open }[button.dataset["only"]!] ?? 0));
    if (!head) return;
    const age = head["age_ms"] as number | null;
    const parts = [`${closed} of ${count(rows.size, "gate")} closed`];
    parts.push(age === null ? "no monitor speaks" : `evidence ${span(age)} old`);
    parts.push(count(head["workers"] as number, "worker"));
    if (head["troubles"]) parts.push(`${count(head["troubles"] as number, "trouble")}: see Health`);
    if (head["waits"]) parts.push(String(head["waits"]));
    if (pausedMs) parts.unshift(`paused at ${clock(pausedMs)}: what is shown is as it was then`);
    say(at("summary"), parts.join(" · "));
  }

  /** What can be done with the gates that were chosen. Nothing is offered on what is old. */
  let offered = "";
  function many(acts: boolean): void {
    const targets = [...chosen].map((gate) => rows.get(gate)).filter((row): row is Row => row !== undefined);
    const box = at("many");
    const key = acts ? targets.map((one) => `${one.gate} ${one.breaker}`).join() : "";
    show(box, acts && targets.length > 0);
    if (key === offered) return;
    offered = key;
    const kinds = ["lock", "unlock", "reset"].filter((name) => targets.every((one) => kindsFor(one, false).some((kind) => kind.kind === name)));
    box.replaceChildren(
      h("span", {}, `${count(targets.length, "gate")} chosen`),
      ...kinds.map((name) => h("button", { type: "button", click: () => ask(KINDS[name]!, targets.map((one) => rows.get(one.gate) ?? one), () => stream.seenMs, mayAct) }, `${KINDS[name]!.verb} ...`)),
      h("button", { type: "button", click: () => (chosen.clear(), tick()) }, "Choose none"),
    );
  }

  function setPaused(on: boolean): void {
    pausedMs = on ? stream.now() : 0;
    pause.setAttribute("aria-pressed", String(on));
    say(pause, on ? "Go on" : "Pause");
    document.body.classList.toggle("paused", on);
    tick();
    draw();
  }

  function move(step: number): void {
    const links = [...body.querySelectorAll<HTMLElement>("th a")];
    const now = links.indexOf(document.activeElement as HTMLElement);
    const next = links[now < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, now + step))];
    next?.focus();
  }

  find.addEventListener("input", () => {
    most = STEP;
    if (pausedMs) render();
    else draw();
  });
  order.addEventListener("change", () => render());
  pause.addEventListener("click", () => setPaused(!pausedMs));
  for (const button of buttons) {
    button.addEventListener("click", () => {
      only = button.dataset["only"]!;
      for (const one of buttons) one.setAttribute("aria-pressed", String(one === button));
      render();
    });
  }
  addEventListener("keydown", (event) => {
    const target = event.target as HTMLElement;
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (target === find && event.key === "Escape") {
      find.value = "";
      draw();
      find.blur();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (target.tagName === "SELECT") return;
      event.preventDefault();
      move(event.key === "ArrowDown" ? 1 : -1);
    } else if (!["INPUT", "SELECT", "TEXTAREA"].includes(target.tagName) || target.getAttribute("type") === "checkbox") {
      if (event.key === "/") {
        event.preventDefault();
        find.focus();
      } else if (event.key === "p") setPaused(!pausedMs);
    }
  });
}
