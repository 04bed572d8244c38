/** The button for light, dark, or what the system says; theme.js applies the choice at the next visit. */

import { $, safeStorage, setText } from "./dom.js";

const NEXT = { system: "light", light: "dark", dark: "system" };

export function nextTheme() {
  const next = NEXT[document.documentElement.dataset.theme ?? "system"];
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    safeStorage()?.setItem("pbrl.theme", next);
  } catch {
    // full: it holds for this page only
  }
  drawTheme();
}

export function drawTheme() {
  setText($("theme"), `Theme: ${document.documentElement.dataset.theme ?? "system"}`);
}
