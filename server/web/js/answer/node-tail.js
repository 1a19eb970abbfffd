// The last nodes of an element, which are drawn again and again while their text is written.
import { growCode } from "./code.js";
import { fillMaths } from "./maths.js";

const CONTAINERS = new Set(["P", "UL", "OL", "LI", "BLOCKQUOTE", "TABLE", "THEAD", "TBODY", "TR", "TD", "TH"]);

/** The nodes at the end of `parent` that may still change. */
export class NodeTail {
  constructor(parent, nodes = []) {
    this.parent = parent;
    this.nodes = nodes;
  }

  /** Makes the nodes like `fresh`, changing as little as possible. `grows`: blocks of code get what is new in them. */
  replace(fresh, grows) {
    const old = this.nodes;
    this.nodes = fresh.map((node, place) => {
      const before = old[place];
      if (before === undefined) this.parent.append(node);
      else if (graft(before, node, grows)) return before;
      else before.replaceWith(node);
      return node;
    });
    for (const node of old.slice(fresh.length)) node.remove();
    fillMaths(this.nodes);
  }

  /** Leaves the first `n` nodes, or all, as they are from now on. */
  keep(n = this.nodes.length) {
    this.nodes = this.nodes.slice(n);
  }
}

/** Makes `old` like `fresh`; returns false where it must be replaced. */
function graft(old, fresh, grows) {
  if (old.isEqualNode(fresh)) return old.className !== "code"; // its button copies what it was made of
  if (old.nodeType === Node.TEXT_NODE && fresh.nodeType === Node.TEXT_NODE) {
    if (fresh.data.startsWith(old.data)) old.appendData(fresh.data.slice(old.data.length));
    else old.data = fresh.data;
    return true;
  }
  if (old.nodeName !== fresh.nodeName || old.className !== fresh.className) return false;
  if (old.className === "code") return grows && growCode(old, fresh);
  if (old.dataset?.source !== undefined) return old.dataset.source === fresh.dataset.source;
  if (!CONTAINERS.has(old.nodeName) || old.start !== fresh.start) return false;
  const before = [...old.childNodes];
  const after = [...fresh.childNodes];
  after.forEach((node, place) => {
    const known = before[place];
    if (known === undefined) old.append(node);
    else if (!graft(known, node, grows)) known.replaceWith(node);
  });
  for (const node of before.slice(after.length)) node.remove();
  return true;
}
