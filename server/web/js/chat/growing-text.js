// A component for text that grows while it is written: what is new is added, and nothing is laid out anew.
import { html, useLayoutEffect, useRef } from "../base.js";
import { GrowingLines } from "../answer/growing-lines.js";

/** Shows `text` in an element of the name `tag`, with the attributes `rest`.
 *
 * Text that doesn't grow any more is one piece: who selects and copies it gets no line ends of pieces. */
export function GrowingText({ tag, text, isGrowing, ...rest }) {
  const node = useRef(null);
  const lines = useRef(null);
  const shown = useRef("");
  useLayoutEffect(() => {
    if (!isGrowing) {
      if (lines.current !== null || shown.current !== text) node.current.textContent = text;
      lines.current = null;
    } else if (lines.current === null || !text.startsWith(shown.current)) {
      node.current.replaceChildren();
      lines.current = new GrowingLines(node.current);
      lines.current.append(text);
    } else lines.current.append(text.slice(shown.current.length));
    shown.current = text;
  });
  return html`<${tag} ref=${node} ...${rest}></${tag}>`;
}

/** Returns a function that counts the words of a text which grows, by looking at what is new. */
export function wordCounter() {
  let length = 0;
  let n = 0;
  return (text) => {
    if (text.length < length) length = n = 0;
    const isWithin = length > 0 && /\S/.test(text[length - 1]);
    const more = text.slice(length);
    n += (more.match(/\S+/g) ?? []).length - (isWithin && /^\S/.test(more) ? 1 : 0);
    length = text.length;
    return n;
  };
}
