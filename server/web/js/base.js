// What every module of the page stands on: Preact with htm, a small store, and the sizes of things as words.
export {
  html,
  render,
  useEffect,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "/web/assets/vendor/htm-preact.js";
import { useEffect, useState } from "/web/assets/vendor/htm-preact.js";

/** A value that components watch: `set` merges, `use` is the hook. */
export function createStore(first) {
  let value = first;
  const watchers = new Set();
  return {
    get: () => value,
    set(change) {
      value = { ...value, ...change };
      for (const watcher of [...watchers]) watcher(value);
    },
    use() {
      const [, draw] = useState(0);
      useEffect(() => {
        const watcher = () => draw((n) => n + 1);
        watchers.add(watcher);
        return () => watchers.delete(watcher);
      }, []);
      return value;
    },
  };
}

export function bytes(n) {
  if (n == null) return "";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let place = 0;
  while (n >= 1000 && place < units.length - 1) {
    n /= 1000;
    place += 1;
  }
  return `${n.toLocaleString("en", { maximumFractionDigits: n < 10 && place ? 1 : 0 })} ${units[place]}`;
}

export function count(n) {
  return n == null ? "" : n.toLocaleString("en");
}

export function seconds(s) {
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  return `${Math.round(s / 3600)} h`;
}

/** Copies a text. Outside of secure contexts, such as plain http in a local network, by a selection. */
export async function copyText(text) {
  if (navigator.clipboard && window.isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "offscreen";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("the browser refused to copy");
}

/** What is done later takes so long at a time, so that the page answers to its user between. */
const SLICE_MS = 8;
const waiting = [];

/** Does something soon, in its turn: for formulas and colours, of which a page may get hundreds at once. */
export function later(action) {
  if (waiting.push(action) === 1) setTimeout(work, 0);
}

function work() {
  const end = performance.now() + SLICE_MS;
  while (waiting.length && performance.now() < end) {
    try {
      waiting[0]();
    } catch (error) {
      console.error(error);
    }
    waiting.shift();
  }
  if (waiting.length) setTimeout(work, 0);
}

let speaker = null;

/** Lets screen readers say a text, when they have nothing else to say. */
export function announce(text) {
  speaker ??= document.getElementById("announcements");
  if (speaker) speaker.textContent = text;
}
