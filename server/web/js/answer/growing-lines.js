// Text that grows by the line: so many lines share one element, so that a new one moves only its own.

const LINES_PER_PART = 40;
/** A part with more characters ends with its next line. */
const CHARS_PER_PART = 4000;

/** The text in `root`, which is only added to at its end. */
export class GrowingLines {
  constructor(root) {
    this._root = root;
    this._part = null;
    this._nLines = 0;
  }

  append(text) {
    for (const line of text.split(/(?<=\n)/)) {
      if (line === "") continue;
      if (this._part === null || this._nLines >= LINES_PER_PART) {
        this._part = document.createElement("span");
        this._part.className = "line-part";
        this._part.append("");
        this._root.append(this._part);
        this._nLines = 0;
      }
      this._part.firstChild.appendData(line);
      if (line.endsWith("\n")) this._nLines += this._part.firstChild.length > CHARS_PER_PART ? LINES_PER_PART : 1;
    }
  }

  /** Takes away the last `n` characters. */
  cut(n) {
    while (n > 0 && this._root.lastChild) {
      const part = this._root.lastChild;
      const text = part.firstChild;
      const taken = Math.min(n, text.length);
      text.deleteData(text.length - taken, taken);
      n -= taken;
      if (text.length === 0) part.remove();
    }
    this._part = this._root.lastChild;
    this._nLines = this._part ? this._part.textContent.split("\n").length - 1 : 0;
  }
}
