// Markdown as DOM nodes. No HTML is ever parsed: elements are made of a fixed list, texts are texts.
import MarkdownIt from "/web/assets/vendor/markdown-it.js";
import { mathRules } from "./maths-rules.js";

const TAGS = new Set([
  "p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol", "li", "hr", "br", "em", "strong", "s",
  "code", "pre", "table", "thead", "tbody", "tr", "th", "td",
]);
const SAFE_LINK = /^(https?:\/\/|mailto:)/i;

const markdown = new MarkdownIt({ html: false, linkify: true, breaks: false }).use(mathRules);
// Others' addresses without a scheme are more often file names than links.
markdown.linkify.set({ fuzzyLink: false, fuzzyEmail: false });
markdown.disable(["html_block", "html_inline"], true);

/** Returns the tokens of a text. `env` keeps its link definitions for the texts that follow. */
export function parse(text, env) {
  return markdown.parse(text, env);
}

/** Returns the outermost blocks: each with its tokens and the line where it begins. */
export function blocksOf(tokens) {
  const blocks = [];
  let begin = 0;
  for (let place = 0; place < tokens.length; place += 1) {
    const token = tokens[place];
    if (token.level !== 0 || token.nesting === 1) continue;
    blocks.push({ tokens: tokens.slice(begin, place + 1), line: tokens[begin].map?.[0] ?? 0 });
    begin = place + 1;
  }
  return blocks;
}

/** Returns a fragment of the tokens. `code(text, language)` and `maths(source, isBlock)` make those elements. */
export function draw(tokens, makers) {
  const root = document.createDocumentFragment();
  drawInto(root, tokens, makers);
  return root;
}

function drawInto(root, tokens, makers) {
  const open = [root];
  const add = (node) => open[open.length - 1].append(node);
  for (const token of tokens) {
    if (token.type === "inline") {
      drawInto(open[open.length - 1], token.children, makers);
    } else if (token.nesting === -1) {
      if (!token.hidden) open.pop();
    } else if (token.nesting === 1) {
      if (token.hidden) continue;
      const node = elementOf(token);
      add(node);
      open.push(node);
    } else {
      const node = leafOf(token, makers);
      if (node !== null) add(node);
    }
  }
}

function elementOf(token) {
  if (token.type === "link_open") return linkOf(token.attrGet("href"));
  const node = document.createElement(TAGS.has(token.tag) ? token.tag : "span");
  if (token.tag === "ol" && token.attrGet("start")) node.start = Number(token.attrGet("start"));
  const align = /^text-align:(left|center|right)$/.exec(token.attrGet("style") ?? "");
  if (align) node.className = align[1];
  if (token.tag === "table") {
    node.className = "grid";
    node.tabIndex = 0; // it may be scrolled
  }
  return node;
}

function linkOf(address) {
  if (!SAFE_LINK.test(address ?? "")) return document.createElement("span");
  const link = document.createElement("a");
  link.href = address;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  return link;
}

function leafOf(token, makers) {
  switch (token.type) {
    case "text":
    case "text_special":
      return document.createTextNode(token.content);
    case "softbreak":
      return document.createTextNode("\n");
    case "hardbreak":
      return document.createElement("br");
    case "hr":
      return document.createElement("hr");
    case "code_inline": {
      const node = document.createElement("code");
      node.textContent = token.content;
      return node;
    }
    case "fence":
    case "code_block":
      return makers.code(token.content, token.info.trim().split(/\s+/)[0] ?? "");
    case "math_inline":
    case "math_block":
      return makers.maths(token.content, token.type === "math_block" || token.markup === "display", token.meta?.isOpen ?? false);
    case "image": {
      // Nothing foreign is loaded: an image is a link to it.
      const link = linkOf(token.attrGet("src"));
      link.textContent = token.content ? `image: ${token.content}` : "image";
      link.className = "image-link";
      return link;
    }
    default:
      return token.content ? document.createTextNode(token.content) : null;
  }
}
