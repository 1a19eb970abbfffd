// What this browser remembers: the colours, and the settings of new chats.
import { createStore } from "./base.js";

const SETTINGS = "corral.settings";
const THEME = "corral.theme";

function stored(name, fallback) {
  try {
    return JSON.parse(localStorage.getItem(name)) ?? fallback;
  } catch {
    return fallback;
  }
}

export const EMPTY = { model: null, system: "", parameters: {} };

export function defaultSettings() {
  return { ...EMPTY, ...stored(SETTINGS, {}) };
}

export function keepDefaultSettings(settings) {
  localStorage.setItem(SETTINGS, JSON.stringify(settings));
}

export const theme = createStore({ name: localStorage.getItem(THEME) ?? "system" });

export function setTheme(name) {
  if (name === "system") {
    localStorage.removeItem(THEME);
    delete document.documentElement.dataset.theme;
  } else {
    localStorage.setItem(THEME, name);
    document.documentElement.dataset.theme = name;
  }
  theme.set({ name });
}
