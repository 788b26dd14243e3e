// The one script of the console: what each page needs.

import { gate } from "./gate";
import { gates } from "./gates";
import { health } from "./health";
import { proofs } from "./proofs";

const PAGES: Record<string, () => void> = { gates, gate, proofs, health };

PAGES[document.body.dataset["page"] ?? ""]?.();
