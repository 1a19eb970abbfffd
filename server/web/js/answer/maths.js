// Formulas, by KaTeX, which is loaded when the first one comes.

import { later } from "../base.js";

const KATEX = "/web/assets/vendor/katex";
const MOST_CHARS = 20000;
const drawn = new Map();
const asked = new WeakSet(); // the elements that are drawn, or never will be
let loading = null;

function load() {
  loading ??= (async () => {
    const styles = document.createElement("link");
    styles.rel = "stylesheet";
    styles.href = `${KATEX}/katex.min.css`;
    document.head.append(styles);
    await import(`${KATEX}/katex.min.js`);
    return self.katex;
  })();
  return loading;
}

/** Returns an element for a formula, with its source in it until `fillMaths` draws it. */
export function mathsElement(source, isBlock, isOpen) {
  const node = document.createElement(isBlock ? "div" : "span");
  node.className = isBlock ? "maths maths-block" : "maths";
  node.dataset.source = source;
  node.textContent = source;
  if (isBlock) node.tabIndex = 0; // it may be scrolled
  if (isOpen || source.length > MOST_CHARS) asked.add(node); // it is still written, or stays as it is
  return node;
}

/** Draws the formulas in nodes that are on the page. */
export function fillMaths(nodes) {
  for (const parent of nodes) {
    if (parent.nodeType !== Node.ELEMENT_NODE) continue;
    const found = parent.matches(".maths") ? [parent] : parent.querySelectorAll(".maths");
    for (const node of found) {
      if (asked.has(node)) continue;
      asked.add(node);
      const isBlock = node.classList.contains("maths-block");
      const { source } = node.dataset;
      const known = drawn.get(`${isBlock}${source}`);
      if (known) node.replaceChildren(known.cloneNode(true));
      else load().then((katex) => later(() => node.isConnected && fill(katex, node, source, isBlock)), () => {});
    }
  }
}

function fill(katex, node, source, isBlock) {
  const made = document.createElement("span");
  try {
    katex.render(source, made, {
      displayMode: isBlock,
      throwOnError: true,
      trust: false,
      maxSize: 20,
      maxExpand: 500,
      strict: "ignore",
    });
  } catch {
    return; // not maths, or not yet: the source stays
  }
  if (drawn.size > 2000) drawn.clear();
  drawn.set(`${isBlock}${source}`, made.cloneNode(true));
  node.replaceChildren(made);
}
