// markdown-it rules for $…$, $$…$$, \(…\) and \[…\]. A dollar before a space or an amount is a dollar.

const BLOCKS = [["$$", "$$"], ["\\[", "\\]"]];
const INLINE = [["$$", "$$", true], ["\\[", "\\]", true], ["\\(", "\\)", false], ["$", "$", false]];

export function mathRules(markdown) {
  markdown.inline.ruler.before("escape", "math_inline", inlineRule);
  markdown.block.ruler.after("blockquote", "math_block", blockRule, {
    alt: ["paragraph", "reference", "blockquote", "list"],
  });
}

function inlineRule(state, silent) {
  const { src, pos } = state;
  const first = src[pos];
  if (first !== "$" && first !== "\\") return false;
  for (const [opening, closing, isDisplay] of INLINE) {
    if (!src.startsWith(opening, pos)) continue;
    const begin = pos + opening.length;
    const end = closingPlace(src, begin, closing, state.posMax);
    if (end < 0 || !src.slice(begin, end).trim()) continue;
    if (opening === "$" && !isAmountFree(src, begin, end)) continue;
    if (!silent) {
      const token = state.push("math_inline", "span", 0);
      token.content = src.slice(begin, end).trim();
      token.markup = isDisplay ? "display" : "";
    }
    state.pos = end + closing.length;
    return true;
  }
  return false;
}

function closingPlace(src, begin, closing, limit) {
  let place = begin;
  for (;;) {
    place = src.indexOf(closing, place);
    if (place < 0 || place + closing.length > limit) return -1;
    if (closing[0] === "\\" || src[place - 1] !== "\\") return place;
    place += 1;
  }
}

function isAmountFree(src, begin, end) {
  return !/\s/.test(src[begin]) && !/\s/.test(src[end - 1]) && !/[0-9]/.test(src[end + 1] ?? "");
}

function blockRule(state, startLine, endLine, silent) {
  const begin = state.bMarks[startLine] + state.tShift[startLine];
  const line = state.src.slice(begin, state.eMarks[startLine]);
  const pair = BLOCKS.find(([opening]) => line.startsWith(opening));
  if (!pair) return false;
  const [opening, closing] = pair;
  let text = line.slice(opening.length);
  let next = startLine;
  let end = text.trimEnd().endsWith(closing) ? text.lastIndexOf(closing) : -1;
  if (end < 0 && text.includes(closing)) return false; // a formula within a line of text
  while (end < 0) {
    next += 1;
    if (next >= endLine) {
      if (state.env.isFinal) return false;
      break; // still being written
    }
    const more = state.src.slice(state.bMarks[next] + state.tShift[next], state.eMarks[next]);
    end = more.trimEnd().endsWith(closing) ? text.length + 1 + more.lastIndexOf(closing) : -1;
    text += `\n${more}`;
  }
  if (silent) return true;
  const token = state.push("math_block", "div", 0);
  token.block = true;
  token.content = (end < 0 ? text : text.slice(0, end)).trim();
  token.meta = { isOpen: end < 0 };
  token.map = [startLine, Math.min(next + 1, endLine)];
  state.line = Math.min(next + 1, endLine);
  return true;
}
