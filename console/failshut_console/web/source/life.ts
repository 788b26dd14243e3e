// The life of a permit as a bar that shrinks: full where it lives for its whole ttl, empty where it has run out.

import { h, say } from "./dom";
import { span } from "./words";

export interface Bar {
  element: HTMLElement;
  set: (untilMs: number, ttlMs: number, nowMs: number, live: boolean) => void;
}

export function bar(): Bar {
  const rest = h("i");
  const text = h("span");
  const element = h("div", { class: "bar-of-life" }, h("div", { class: "track", "aria-hidden": "true" }, rest), text);
  return {
    element,
    set(untilMs, ttlMs, nowMs, live) {
      const left = Math.max(0, untilMs - nowMs);
      const share = ttlMs > 0 ? Math.min(1, left / ttlMs) : 0;
      rest.style.transform = `scaleX(${share.toFixed(3)})`;
      const short = untilMs > 0 && share < 0.4;
      element.classList.toggle("short", short);
      element.classList.toggle("no", untilMs === 0);
      if (!live) say(text, untilMs ? "not known" : "none");
      else if (!untilMs) say(text, "none");
      else say(text, left > 0 ? span(left) : "run out");
      element.title = untilMs ? (short ? `closes in ${span(left)} unless its evidence goes on` : "renewed while evidence is fresh") : "no permit lives";
    },
  };
}
