// Formulas, by KaTeX, which is loaded when the first one comes.

import { later } from "./base.js";

const KATEX = "/web/assets/vendor/katex";
const MOST_CHARS = 20000;
const drawn = new Map();
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

/** Returns an element for a formula; its source stands in it until it is drawn. */
export function mathsElement(source, isBlock) {
  const node = document.createElement(isBlock ? "div" : "span");
  node.className = isBlock ? "maths maths-block" : "maths";
  node.dataset.source = source;
  node.textContent = source;
  if (source.length > MOST_CHARS) return node;
  const known = drawn.get(`${isBlock}${source}`);
  if (known) node.replaceChildren(known.cloneNode(true));
  else load().then((katex) => later(() => fill(katex, node, source, isBlock)), () => {});
  return node;
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
