// Making and changing elements. Text is always text: nothing here takes markup.

type Child = Node | string | null | false;
type Attributes = Record<string, string | boolean | ((event: Event) => void)>;

/** Make an element. A function is a listener for the event of that name; `true` is an attribute without a value. */
export function h(name: string, attributes: Attributes = {}, ...children: Child[]): HTMLElement {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false) made.setAttribute(key, value);
  }
  made.append(...children.filter((child): child is Node | string => child !== null && child !== false));
  return made;
}

/** A name that may be broken behind its dots, and not in a word. */
export function breakable(name: string): Child[] {
  return name.split(".").flatMap((part, place) => (place ? [".", document.createElement("wbr"), part] : [part]));
}

/** The element of an id. The page's template has it. */
export function at<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no ${id}`);
  return found as T;
}

/** Change a text only where it differs, so that nothing is drawn or read out in vain. */
export function say(where: Node, text: string): void {
  if (where.textContent !== text) where.textContent = text;
}

export function show(element: HTMLElement, shown: boolean): void {
  if (element.hidden === shown) element.hidden = !shown;
}

export interface Start {
  csrf: string;
  may_order: boolean;
  now_ms: number;
}

export const start = (): Start => JSON.parse(document.body.dataset.start ?? "{}") as Start;
