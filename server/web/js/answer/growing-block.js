// Long blocks while they are written: what stands before their last item, row or line is drawn for good.
import { GrowingCode } from "./code.js";
import { draw } from "./markdown.js";
import { NodeTail } from "./node-tail.js";

/** Returns the part of a block whose drawn node is `node`, or null for blocks that are drawn whole each time.
 *
 * A part's text so far is `text`. What follows it is parsed behind `head`, and gives a block that goes on with
 * it. `cut` settles all but the end of a block and returns the place in `source` where that begins, or 0. */
export function partOf(block, source, node) {
  const [{ type }] = block.tokens;
  if (type === "bullet_list_open" || type === "ordered_list_open") return new ListPart(block, node);
  if (type === "table_open") return new TablePart(block, source, node);
  return type === "fence" ? new CodePart(block, source, node) : null;
}

class ListPart {
  constructor(block, node) {
    this.node = node;
    this.head = "";
    this.text = "";
    this._type = block.tokens[0].type;
    this._isLoose = isLoose(block);
    this._tail = new NodeTail(node, [...node.children]);
  }

  /** A list whose items turn out to have empty lines between them is another one from its first item on. */
  goesOnWith(block) {
    return block.tokens[0].type === this._type && (this._isLoose || !isLoose(block));
  }

  draw(block, makers, grows) {
    this._tail.replace(this._items(block, makers), grows);
  }

  cut(block, source, makers) {
    const items = block.tokens.filter((token) => token.type === "list_item_open" && token.level === 1);
    // An item whose first line isn't whole may still turn out to be something else.
    const nOpen = source.indexOf("\n", lineStart(source, items.at(-1).map[0])) < 0 ? 2 : 1;
    const nDone = items.length - nOpen;
    if (nDone < 1) return 0;
    settle(this._tail, this._items(block, makers), nDone);
    return lineStart(source, items[nDone].map[0]);
  }

  end() {
    this._tail.keep();
  }

  _items(block, makers) {
    if (this._isLoose) for (const token of paragraphs(block)) token.hidden = false;
    return [...draw(block.tokens, makers).firstChild.children];
  }
}

class TablePart {
  constructor(block, source, node) {
    this.node = node;
    this.head = source.slice(lineStart(source, block.line), lineStart(source, block.line + 2));
    this.text = "";
    const body = node.querySelector("tbody");
    this._tail = body && new NodeTail(body, [...body.children]);
  }

  goesOnWith(block) {
    return block.tokens[0].type === "table_open";
  }

  draw(block, makers, grows) {
    this._tail.replace(rowsOf(block, makers), grows);
  }

  cut(block, source, makers) {
    const rows = block.tokens.filter((token) => token.type === "tr_open" && token.map[0] >= block.line + 2);
    if (rows.length < 2 || !this._tail) return 0;
    settle(this._tail, rowsOf(block, makers), rows.length - 1);
    return lineStart(source, rows.at(-1).map[0]);
  }

  end() {
    this._tail.keep();
  }
}

class CodePart {
  constructor(block, source, node) {
    const [token] = block.tokens;
    this.node = node;
    this.head = source.slice(lineStart(source, block.line), lineStart(source, block.line + 1));
    this.text = "";
    this._kept = ""; // the code that is behind us
    this._code = GrowingCode.of(node);
    this._info = token.info.trim().split(/\s+/)[0] ?? "";
  }

  goesOnWith(block) {
    return block.tokens[0].type === "fence";
  }

  draw(block, makers, grows) {
    const [{ content }] = block.tokens;
    if (grows) this._code.set(content, this._kept.length);
    else this._end(this._kept + content, makers);
  }

  cut(block, source) {
    const [{ content, map }] = block.tokens;
    const nLines = content.split("\n").length - (content === "" || content.endsWith("\n") ? 1 : 0);
    const isClosed = map[1] - map[0] > nLines + 1;
    const begin = source.lastIndexOf("\n") + 1;
    if (isClosed || !this._code || begin <= this.head.length) return 0;
    this._kept += content.slice(0, content.lastIndexOf("\n") + 1);
    return begin;
  }

  end() {}

  _end(text, makers) {
    const whole = makers.code(text, this._info);
    this.node.replaceWith(whole);
    this.node = whole;
  }
}

/** Draws the first `n` nodes of a tail for good. */
function settle(tail, nodes, n) {
  const open = tail.nodes.slice(n);
  tail.nodes = tail.nodes.slice(0, n);
  tail.replace(nodes.slice(0, n), false);
  tail.nodes = open;
}

function rowsOf(block, makers) {
  return [...(draw(block.tokens, makers).querySelector("tbody")?.children ?? [])];
}

/** The paragraphs of a list's items, but not those of lists within. */
function paragraphs(block) {
  return block.tokens.filter((token) => token.level === 2 && token.type.startsWith("paragraph_"));
}

function isLoose(block) {
  return paragraphs(block).some((token) => !token.hidden);
}

/** Returns the place in a text where a line begins. */
export function lineStart(text, line) {
  let place = 0;
  for (let n = 0; n < line; n += 1) place = text.indexOf("\n", place) + 1;
  return place;
}
