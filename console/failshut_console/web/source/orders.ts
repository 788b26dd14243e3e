// Orders: what will happen is said first, then a reason is asked for, then the decision that it led to is shown.

import { h, say, show, start } from "./dom";
import { count } from "./words";

export interface Target {
  gate: string;
  epoch: string;
  breaker: string;
  state: string;
}

interface Answer {
  gate: string;
  result: string;
  because: string;
  state: string;
  breaker: string;
}

interface Kind {
  kind: string;
  verb: string;
  what: (gates: string) => string;
}

export const KINDS: Record<string, Kind> = {
  lock: {
    kind: "lock",
    verb: "Lock",
    what: (gates) => `${gates} closes at once, and stays closed until an operator unlocks it. Every execution is withheld meanwhile. No cooldown, fresh evidence or bypass reopens it.`,
  },
  unlock: {
    kind: "unlock",
    verb: "Unlock",
    what: (gates) => `The locked breaker of ${gates} proves itself. If its policy asks for probes, a few executions are admitted first, and their outcomes decide. It is refused while a cause persists.`,
  },
  reset: {
    kind: "reset",
    verb: "Reset",
    what: (gates) => `The breaker of ${gates} proves itself, in answer to the closing that you see. A later demand voids this. It is refused while the cause persists.`,
  },
  bypass: {
    kind: "bypass",
    verb: "Bypass",
    what: (gates) => `${gates} opens against the demands of the conditions that you choose, for a limited time. Nothing checks those conditions meanwhile. Lapses, locks and other conditions still close it.`,
  },
  end_bypass: {
    kind: "end_bypass",
    verb: "End bypass",
    what: (gates) => `The bypass of ${gates} ends now. Whatever still demands closes the gate at once.`,
  },
};

/** Which orders make sense for a gate as it is seen. The governor decides all the same. */
export function kindsFor(target: Target, bypassed: boolean): Kind[] {
  const names: string[] = [];
  if (target.breaker === "LOCKED") names.push("unlock");
  else names.push("lock");
  if (target.breaker === "TRIPPED") names.push("reset", "bypass");
  if (bypassed) names.push("end_bypass");
  return names.map((name) => KINDS[name]!);
}

const RESULTS: Record<string, string> = { done: "Done", refused: "Refused", unknown: "Not known", "not sent": "Not sent" };

/** Ask for what an order needs, send it, and show the answers. `seen` is when what is shown was true; `live` is asked until it is sent. */
export function ask(kind: Kind, targets: Target[], seen: () => number, live: () => boolean, conditions: { name: string; demands: boolean }[] = []): void {
  const many = targets.length > 1;
  const named = many ? `each of these ${targets.length} gates` : targets[0]!.gate;
  const why = h("input", { id: "why", name: "why", required: true, maxlength: "500", autocomplete: "off" }) as HTMLInputElement;
  const typed = h("input", { id: "count", inputmode: "numeric", required: true, autocomplete: "off", size: "6" }) as HTMLInputElement;
  const minutes = h("input", { id: "minutes", type: "number", min: "1", max: "1440", value: "10" }) as HTMLInputElement;
  const boxes = conditions.map((one) => h("input", { type: "checkbox", value: one.name, checked: one.demands }) as HTMLInputElement);
  const send = h("button", { type: "submit", class: kind.kind === "lock" ? "main danger" : "main" }, kind.verb) as HTMLButtonElement;
  const cancel = h("button", { type: "button", click: () => dialog.close() }, "Cancel");
  const note = h("p", { class: "note", role: "status" });
  const answers = h("ul", { class: "answers" });
  const form = h(
    "form",
    { method: "dialog" },
    h("h2", { id: "ask" }, many ? `${kind.verb} ${targets.length} gates` : `${kind.verb} ${named}`),
    h("p", {}, kind.what(named)),
    many && h("p", { class: "list" }, targets.map((one) => one.gate).join(", ")),
    ...(kind.kind === "bypass"
      ? [
          h("fieldset", {}, h("legend", {}, "Conditions to override"), ...boxes.map((box) => h("label", { class: "box" }, box, box.value))),
          h("label", { for: "minutes" }, "For how many minutes"),
          minutes,
        ]
      : []),
    many && h("label", { for: "count" }, `Type the number of gates (${targets.length})`),
    many && typed,
    h("label", { for: "why" }, "Reason. It stands on the log with your name"),
    why,
    note,
    answers,
    h("div", { class: "buttons" }, cancel, send),
  );
  const dialog = h("dialog", { "aria-labelledby": "ask" }, form) as HTMLDialogElement;
  let sent = false;
  const watch = setInterval(() => {
    if (sent) return;
    send.disabled = !live();
    say(note, live() ? "" : "What you see is old. Nothing can be sent until the stream is back.");
  }, 200);
  dialog.addEventListener("close", () => {
    clearInterval(watch);
    dialog.remove();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (sent) {
      dialog.close();
      return;
    }
    if (!live()) return;
    sent = true;
    send.disabled = true;
    say(note, `Sent. Waiting for the ${many ? "decisions" : "decision"} ...`);
    const order = {
      kind: kind.kind,
      why: why.value,
      seen_ms: Math.floor(seen()),
      gates: Object.fromEntries(targets.map((one) => [one.gate, one.epoch])),
      count: many ? Number(typed.value) : 1,
      conditions: boxes.filter((box) => box.checked).map((box) => box.value),
      minutes: Number(minutes.value),
    };
    void carryOut(order).then((found) => {
      send.disabled = false;
      say(send, "Close");
      show(cancel, false);
      say(note, found.refused || words(found.answers));
      note.classList.toggle("bad", found.refused !== "");
      answers.replaceChildren(...found.answers.map(answered));
      send.focus();
    });
  });
  document.body.append(dialog);
  dialog.showModal();
  why.focus();
}

async function carryOut(order: object): Promise<{ refused: string; answers: Answer[] }> {
  try {
    const reply = await fetch("/console/orders", {
      method: "POST",
      headers: { "content-type": "application/json", "x-failshut-csrf": start().csrf },
      body: JSON.stringify(order),
    });
    if (reply.ok || reply.status === 409) return (await reply.json()) as { refused: string; answers: Answer[] };
    if (reply.status === 403) return { refused: "Refused: the session has ended, or its key may not do this. Nothing was sent.", answers: [] };
  } catch {
    // Falls through: a reply that did not come says nothing of what became of the order.
  }
  return { refused: "The gateway did not answer. Whether the order counts is not known: look at the gate and its log.", answers: [] };
}

function words(answers: Answer[]): string {
  const done = answers.filter((one) => one.result === "done").length;
  if (answers.length === 1) return "";
  return `${done} of ${count(answers.length, "order")} done.`;
}

function answered(one: Answer): HTMLElement {
  const state = one.state ? ` The gate is ${one.state}, its breaker ${one.breaker}.` : "";
  return h("li", { class: one.result.replace(" ", "-") }, h("b", {}, `${RESULTS[one.result] ?? one.result}: ${one.gate}.`), `${state} ${one.because}`);
}
