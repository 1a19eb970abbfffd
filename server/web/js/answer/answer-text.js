// An answer's Markdown on the page, also while it is written: only the end of its last block is drawn again.
import { codeElement, GrowingCode } from "./code.js";
import { lineStart, partOf } from "./growing-block.js";
import { blocksOf, draw, parse } from "./markdown.js";
import { mathsElement } from "./maths.js";
import { NodeTail } from "./node-tail.js";

const MAKERS = { code: codeElement, maths: mathsElement };
/** Makers for a block that is still written: colours come when it is settled. */
const GROWING = { code: (text, info) => new GrowingCode(info, text).node, maths: mathsElement };
/** A frame's drawing may take this part of the time: a long last block is drawn less often. */
const SHARE = 0.25;
/** Text is drawn in tasks of so many characters at most, between which the page answers to its user. */
const SLICE_CHARS = 3000;
/** A last block of more characters is drawn by its new lines alone, where it can be. */
const WHOLE_CHARS = 1500;

/** Draws one answer into `root`. `append` while it is written, `finish` at its end; `show` for a whole one. */
export class AnswerText {
  constructor(root) {
    this._root = root;
    this._text = "";
    this._frame = this._timer = 0;
    this._notBefore = 0;
    this.finished = null;
    this._begin();
  }

  get text() {
    return this._text;
  }

  /** Draws a whole answer in place of what is there. */
  show(text) {
    this._stop();
    this._begin();
    this._text = this._waiting = text;
    this.finish();
  }

  append(text) {
    this._text += text;
    this._waiting += text;
    if (this._frame || this._timer) return;
    const wait = this._notBefore - performance.now();
    if (wait > 8) this._after(wait, () => this._request());
    else this._request();
  }

  /** Draws what is left, for good. Links that were defined after their use need the whole text once more.
   *
   * `finished` is kept once all of it is drawn. */
  finish() {
    this._stop();
    this.finished ??= new Promise((done) => {
      this._done = done;
    });
    if (this._waiting.length > SLICE_CHARS) {
      this.draw();
      this._after(0, () => this.finish());
      return;
    }
    if (!this._knowsLinks && Object.keys(this._env.references ?? {}).length > 0) {
      this._root.style.minHeight = `${this._root.offsetHeight}px`; // nothing below it moves meanwhile
      this._begin();
      this._knowsLinks = true;
      parse(this._text.replaceAll("\r", ""), this._env);
      this._waiting = this._text;
      this.finish();
      return;
    }
    this._env.isFinal = true;
    this._rest += this._taken();
    this._settle(this._blocks());
    this._rest = "";
    this._root.style.minHeight = "";
    this._done();
  }

  /** Draws what has come, a slice of it at most. */
  draw() {
    this._rest += this._taken();
    const blocks = this._blocks();
    const source = this._source;
    if (!blocks.length) return;
    // A block whose first line isn't whole may still turn out to be part of the one before.
    const isWhole = source.indexOf("\n", lineStart(source, blocks.at(-1).line)) >= 0;
    const open = blocks.slice(isWhole ? -1 : -2);
    if (open.length < blocks.length) {
      this._settle(blocks.slice(0, -open.length));
      this._rest = source.slice(lineStart(source, open[0].line));
    }
    this._draw(open, GROWING, true);
    if (blocks.length === 1 && this._rest.length > WHOLE_CHARS) this._cut(open[0]);
  }

  dispose() {
    this._stop();
  }

  // --- inside ---

  /** What is to be parsed: the text that isn't settled, behind what it goes on with. */
  get _source() {
    return (this._part?.head ?? "") + this._rest;
  }

  /** The blocks that aren't settled, the first of which goes on with the part. */
  _blocks() {
    const blocks = blocksOf(parse(this._source, this._env));
    if (!this._part || !blocks.length || this._part.goesOnWith(blocks[0])) return blocks;
    this._giveUpPart();
    return this._blocks();
  }

  /** Begins with nothing. */
  _begin() {
    this._env = {}; // has the definitions of links
    this._waiting = ""; // has come, and isn't parsed
    this._rest = ""; // is drawn, and may still change
    this._part = null; // the last block, of which the lines before `_rest` are drawn for good
    this._knowsLinks = false;
    this._root.replaceChildren();
    this._tail = new NodeTail(this._root);
  }

  _taken() {
    const taken = this._waiting.slice(0, SLICE_CHARS);
    this._waiting = this._waiting.slice(taken.length);
    return taken.replaceAll("\r", "");
  }

  _request() {
    // A page in the background gets no frames; its text is drawn when it is looked at.
    this._frame = requestAnimationFrame(() => {
      this._frame = 0;
      const begun = performance.now();
      this.draw();
      const now = performance.now();
      this._notBefore = now + (now - begun) * (1 / SHARE - 1);
      if (this._waiting) this._after(0, () => this._request());
    });
  }

  _after(ms, action) {
    this._timer = setTimeout(() => {
      this._timer = 0;
      action();
    }, ms);
  }

  _stop() {
    cancelAnimationFrame(this._frame);
    clearTimeout(this._timer);
    this._frame = this._timer = 0;
  }

  /** Draws blocks in place of those that weren't settled; the first one goes on with the part. */
  _draw(blocks, makers, grows) {
    const rest = this._part ? blocks.slice(1) : blocks;
    this._part?.draw(blocks[0], makers, grows);
    this._tail.replace([...draw(rest.flatMap((block) => block.tokens), makers).childNodes], grows);
  }

  /** Draws blocks for good. */
  _settle(blocks) {
    if (blocks.length) this._draw(blocks, MAKERS, false);
    this._part?.end();
    this._part = null;
    this._tail.keep();
  }

  /** Settles the last block but for its last item, row or line. */
  _cut(block) {
    const source = this._source;
    const part = this._part ?? partOf(block, source, this._tail.nodes[0]);
    const place = part?.cut(block, source, MAKERS) ?? 0;
    if (!place) return;
    const nChars = place - (this._part ? part.head.length : 0);
    part.text += this._rest.slice(0, nChars);
    this._rest = this._rest.slice(nChars);
    if (!this._part) this._tail.keep();
    this._part = part;
  }

  /** Makes the last block a whole again: its beginning is not what it seemed to be. */
  _giveUpPart() {
    this._rest = this._part.text + this._rest;
    this._tail.replace([], false);
    this._part.node.remove();
    this._part = null;
  }
}
