// The page that verifies a proof in the browser, step by step.

import { at, h, say } from "./dom";
import { Bad, bytesOf } from "./strict";
import { type Check, readPolicy, unable, type Verdict, verify } from "./tlog";
import { dateAndClock } from "./words";

const STEPS: Record<string, string> = {
  form: "Form",
  checkpoint: "Checkpoint",
  witnesses: "Witnesses",
  inclusion: "Inclusion",
  signature: "Signature of the leaf",
  statement: "Statement",
};
const FILE_BYTES_MAX = 512 * 1024;

export function proofs(): void {
  const form = at<HTMLFormElement>("verify");
  const button = form.querySelector("button")!;
  const result = at("verdict");
  /** A file's own bytes: a text area would change what is no UTF-8. */
  let given: Uint8Array | null = null;

  void unable().then((why) => {
    if (why) result.replaceChildren(h("p", { class: "verdict failed" }, why));
    else button.disabled = false;
  });
  take("proof", (data) => (given = data));
  take("policy", () => undefined);
  at("proof-text").addEventListener("input", () => (given = null));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    button.disabled = true;
    say(button, "Verifying ...");
    void run().finally(() => {
      button.disabled = false;
      say(button, "Verify");
    });
  });

  async function run(): Promise<void> {
    try {
      const policy = await readPolicy(at<HTMLTextAreaElement>("policy-text").value);
      const data = given ?? bytesOf(at<HTMLTextAreaElement>("proof-text").value);
      if (!data.length) throw new Bad("There is no proof: choose a file, or paste it");
      result.replaceChildren(...shown(await verify(data, policy)));
    } catch (error) {
      const why = error instanceof Bad ? error.message : `this browser failed over it: ${String(error)}`;
      result.replaceChildren(h("p", { class: "verdict failed" }, `Nothing was verified. ${why}.`));
    }
    result.scrollIntoView({ block: "nearest" });
  }

  function take(name: string, taken: (data: Uint8Array) => void): void {
    const file = at<HTMLInputElement>(`${name}-file`);
    file.addEventListener("change", () => {
      const one = file.files?.[0];
      if (!one) return;
      if (one.size > FILE_BYTES_MAX) {
        result.replaceChildren(h("p", { class: "verdict failed" }, `Nothing was verified. ${one.name} is larger than any file of this kind.`));
        return;
      }
      void one.arrayBuffer().then((buffer) => {
        const data = new Uint8Array(buffer);
        at<HTMLTextAreaElement>(`${name}-text`).value = new TextDecoder().decode(data);
        taken(data);
      });
    });
  }
}

function shown(verdict: Verdict): HTMLElement[] {
  const failed = verdict.checks.find((one) => one.passed === false);
  const head = verdict.passed
    ? h("p", { class: "verdict passed" }, "Verified: each step passed.")
    : h("p", { class: "verdict failed" }, `Not verified: the step “${STEPS[failed?.name ?? ""] ?? failed?.name}” failed. Believe nothing of what it says.`);
  return [head, h("ol", { class: "steps" }, ...verdict.checks.map(step)), ...(verdict.statement ? decision(verdict.statement, verdict.subject) : [])];
}

function step(one: Check): HTMLElement {
  const state = one.passed === null ? "skipped" : one.passed ? "passed" : "failed";
  return h("li", { class: state }, h("b", {}, STEPS[one.name] ?? one.name), h("span", { class: "status" }, state === "skipped" ? "not checked" : state), h("span", {}, one.passed === null ? "" : one.found));
}

function decision(said: Record<string, unknown>, subject: string): HTMLElement[] {
  const text = (name: string): string => (said[name] === null || said[name] === undefined ? "" : String(said[name]));
  const rows: [string, string][] = [
    ["Gate", text("gate")],
    ["Decision", text("does")],
    ["Breaker", text("state")],
    ["Cause", text("cause")],
    ["Because", text("because")],
    ["By", text("by")],
    ["Judged up to", typeof said["time_ms"] === "number" ? `${dateAndClock(said["time_ms"])} UTC` : ""],
    ["Epoch", text("epoch")],
    ["Policy", text("policy")],
    ["Subject", subject],
  ];
  return [
    h("h2", {}, "What it proves"),
    h("dl", { class: "facts wide" }, ...rows.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
    h("details", {}, h("summary", {}, "The whole statement"), h("pre", { tabindex: "0" }, JSON.stringify(said, null, 1))),
  ];
}
