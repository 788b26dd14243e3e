// The page's stream, and what is true when there is none: the page greys, says since when it is old, and offers no action.

import { at, say, show } from "./dom";
import { clock } from "./words";

/** A stream that said nothing for so long is as good as lost: the gateway speaks every second. */
const SILENT_MS = 3500;
/** How long after a loss the browser is left to come back by itself before the session is asked after. */
const ASK_MS = 1500;

export type News = Record<string, unknown> & { now_ms: number };

export class Stream {
  /** The gateway's clock when it last said something, and this page's clock then. */
  private serverMs = 0;
  private heardAt = -Infinity;
  private why = "";
  private over = false;
  private source: EventSource | null = null;
  private asked = -Infinity;

  constructor(
    private readonly url: string,
    private readonly events: string[],
    private readonly take: (name: string, news: News) => void,
    private readonly changed: () => void,
  ) {
    this.begin();
    setInterval(() => this.look(), 250);
    addEventListener("pageshow", (event) => {
      if (event.persisted) location.reload();
    });
  }

  /** Whether what is shown is of now. Without it nothing may be commanded. */
  get live(): boolean {
    return !this.over && !this.why && performance.now() - this.heardAt < SILENT_MS;
  }

  /** The gateway's time now, in ms: this page's own clock counts for nothing but how much has passed. */
  now(): number {
    return this.serverMs + (performance.now() - this.heardAt);
  }

  /** The gateway's time when it last said what is shown. */
  get seenMs(): number {
    return this.serverMs;
  }

  private begin(): void {
    this.source?.close();
    const source = (this.source = new EventSource(this.url));
    for (const name of this.events) {
      source.addEventListener(name, (event) => this.heard(name, JSON.parse((event as MessageEvent<string>).data) as News));
    }
    source.addEventListener("blind", (event) => {
      this.why = String((JSON.parse((event as MessageEvent<string>).data) as News)["why"]);
      this.look();
    });
    source.addEventListener("over", () => this.end());
  }

  private heard(name: string, news: News): void {
    this.why = "";
    this.serverMs = news.now_ms;
    this.heardAt = performance.now();
    this.take(name, news);
    this.look();
  }

  private end(): void {
    this.over = true;
    this.source?.close();
    this.look();
  }

  private look(): void {
    const live = this.live;
    const alarm = at("alarm");
    document.body.classList.toggle("stale", !live);
    show(alarm, !live && (this.over || this.heardAt > -Infinity || performance.now() > SILENT_MS || this.why !== ""));
    const since = this.serverMs ? ` What is shown is as it was at ${clock(this.serverMs)}.` : "";
    if (this.over) say(alarm, `Your session has ended.${since} Sign in again to go on: reload this page.`);
    else if (this.why) say(alarm, `Nothing can be known now: ${this.why}.${since} Nothing can be commanded until it is known again.`);
    else if (!live) say(alarm, `The stream from the gateway is lost.${since} Nothing can be commanded until it is back.`);
    const pulse = at("pulse");
    show(pulse, true);
    pulse.className = live ? "pulse live" : "pulse lost";
    say(pulse, live ? "live" : "not live");
    this.changed();
    if (!live && !this.over && !this.why) this.comeBack();
  }

  /** Ask after the session, and begin anew where the browser has given up. */
  private comeBack(): void {
    const now = performance.now();
    if (now - Math.max(this.asked, this.heardAt) < ASK_MS + SILENT_MS) return;
    this.asked = now;
    fetch("/console/session", { cache: "no-store" }).then(
      (reply) => {
        if (reply.status === 403) this.end();
        else if (reply.ok && !this.live) this.begin();
      },
      () => undefined,
    );
  }
}
