// An answer's Markdown on the page, also while it is written: only its last block is drawn again.
import { codeElement, GrowingCode } from "./code.js";
import { blocksOf, draw, parse } from "./markdown.js";
import { mathsElement } from "./maths.js";

const MAKERS = { code: codeElement, maths: mathsElement };
/** A frame's drawing may take this part of the time: a long last block is drawn less often. */
const SHARE = 0.25;
/** A whole answer is drawn so many characters at a time. */
const SLICE_CHARS = 3000;

/** Draws one answer into `root`. `append` while it is written, `finish` at its end; `show` for a whole one. */
export class AnswerText {
  constructor(root) {
    this._root = root;
    this._env = {};
    this._text = "";
    this._whole = null; // a text that is drawn in slices
    this._settled = 0; // so many characters are drawn for good
    this._last = null; // the nodes of the last block
    this._growing = null;
    this._frame = 0;
    this._timer = 0;
    this._notBefore = 0;
  }

  get text() {
    return this._whole ?? this._text;
  }

  /** Draws a whole answer; a long one in slices, between which the page answers to its user. */
  show(text) {
    this._stop();
    this._whole = text;
    this._text = "";
    this._settled = 0;
    this._last = this._growing = null;
    this._env = {};
    this._root.replaceChildren();
    const slice = () => {
      this._timer = 0;
      this._text = text.slice(0, this._text.length + SLICE_CHARS);
      if (this._text.length === text.length) this.finish();
      else {
        this._draw();
        this._timer = setTimeout(slice, 0);
      }
    };
    slice();
  }

  append(text) {
    this._text += text;
    if (this._frame || this._timer) return;
    const wait = this._notBefore - performance.now();
    if (wait > 8) {
      this._timer = setTimeout(() => {
        this._timer = 0;
        this._request();
      }, wait);
    } else this._request();
  }

  /** Draws what is left, for good. Links that were defined after their use need the whole text once more. */
  finish() {
    this._stop();
    this._env.isFinal = true;
    const isWhole = this._settled > 0 && Object.keys(this._env.references ?? {}).length > 0;
    if (isWhole) {
      this._root.replaceChildren();
      this._settled = 0;
      this._last = null;
    }
    this._replaceLast(draw(parse(this._text.slice(this._settled), this._env), MAKERS));
    this._settled = this._text.length;
    this._last = this._growing = null;
  }

  dispose() {
    this._stop();
  }

  // --- inside ---

  _request() {
    // A page in the background gets no frames; its text is drawn when it is looked at.
    this._frame = requestAnimationFrame(() => {
      this._frame = 0;
      const begun = performance.now();
      this._draw();
      const now = performance.now();
      this._notBefore = now + (now - begun) * (1 / SHARE - 1);
    });
  }

  _stop() {
    cancelAnimationFrame(this._frame);
    clearTimeout(this._timer);
    this._frame = this._timer = 0;
  }

  _draw() {
    const rest = this._text.slice(this._settled);
    const blocks = blocksOf(parse(rest, this._env));
    if (!blocks.length) return;
    const last = blocks.at(-1);
    if (blocks.length > 1) {
      const begin = lineStart(rest, last.line);
      // A block whose first line isn't whole may still turn out to be part of the one before.
      if (rest.indexOf("\n", begin) >= 0) {
        const before = blocks.slice(0, -1).flatMap((block) => block.tokens);
        this._replaceLast(draw(before, MAKERS));
        this._last = this._growing = null;
        this._settled += begin;
      } else {
        this._growing = null;
        this._replaceLast(draw(blocks.flatMap((block) => block.tokens), MAKERS));
        return;
      }
    }
    this._drawLast(last.tokens);
  }

  _drawLast(tokens) {
    const [token] = tokens;
    if (tokens.length === 1 && token.type === "fence") {
      const info = token.info.trim().split(/\s+/)[0] ?? "";
      const content = token.content;
      if (!this._growing || this._growing.info !== info || !this._growing.grow(content)) {
        this._growing = new GrowingCode(info);
        this._growing.grow(content);
        this._replaceLast(this._growing.node, true);
      }
      return;
    }
    this._growing = null;
    this._replaceLast(draw(tokens, { ...MAKERS, code: plainCode }));
  }

  /** Puts `made` in the place of the last block, keeping the nodes that are the same. */
  _replaceLast(made, whole = false) {
    const fresh = made instanceof DocumentFragment ? [...made.childNodes] : [made];
    const old = this._last ?? [];
    const result = [];
    fresh.forEach((node, place) => {
      const before = old[place];
      if (before === undefined) this._root.append(node);
      else if (whole || !graft(before, node)) before.replaceWith(node);
      result.push(before !== undefined && before.isConnected ? before : node);
    });
    for (const node of old.slice(fresh.length)) node.remove();
    this._last = result;
  }
}

/** A block of code within another block that is still written: colours come when it is settled. */
function plainCode(text, info) {
  const code = new GrowingCode(info);
  code.grow(text);
  return code.node;
}

function lineStart(text, line) {
  let place = 0;
  for (let n = 0; n < line; n += 1) place = text.indexOf("\n", place) + 1;
  return place;
}

const CONTAINERS = new Set(["P", "UL", "OL", "LI", "BLOCKQUOTE", "TABLE", "THEAD", "TBODY", "TR", "TD", "TH"]);

/** Makes `old` like `fresh`, changing as little as possible; returns false where it must be replaced. */
function graft(old, fresh) {
  if (old.isEqualNode(fresh)) return true;
  if (old.nodeType === Node.TEXT_NODE && fresh.nodeType === Node.TEXT_NODE) {
    if (fresh.data.startsWith(old.data)) old.appendData(fresh.data.slice(old.data.length));
    else old.data = fresh.data;
    return true;
  }
  if (old.nodeName !== fresh.nodeName || old.className !== fresh.className) return false;
  if (old.dataset?.source !== undefined) return old.dataset.source === fresh.dataset.source;
  if (!CONTAINERS.has(old.nodeName)) return false;
  const before = [...old.childNodes];
  const after = [...fresh.childNodes];
  after.forEach((node, place) => {
    const known = before[place];
    if (known === undefined) old.append(node);
    else if (!graft(known, node)) known.replaceWith(node);
  });
  for (const node of before.slice(after.length)) node.remove();
  return true;
}
