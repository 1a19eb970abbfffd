// Blocks of code: with the language's name, a button that copies, and colours, which are loaded per language.
import { announce, copyText, later } from "../base.js";
import { GrowingLines } from "./growing-lines.js";

const VENDOR = "/web/assets/vendor/highlight";
const LANGUAGES = new Set([
  "bash", "c", "cpp", "csharp", "css", "diff", "dockerfile", "go", "haskell", "ini", "java", "javascript",
  "json", "kotlin", "latex", "lua", "makefile", "markdown", "nginx", "perl", "php", "powershell", "python", "r",
  "ruby", "rust", "scala", "shell", "sql", "swift", "typescript", "xml", "yaml",
]);
const ALIASES = {
  "c++": "cpp", "c#": "csharp", cs: "csharp", docker: "dockerfile", golang: "go", hs: "haskell", toml: "ini",
  js: "javascript", jsx: "javascript", mjs: "javascript", jsonc: "json", json5: "json", kt: "kotlin",
  tex: "latex", mk: "makefile", make: "makefile", md: "markdown", pl: "perl", ps1: "powershell", py: "python",
  py3: "python", rb: "ruby", rs: "rust", sh: "bash", zsh: "bash", console: "shell", ts: "typescript",
  tsx: "typescript", html: "xml", svg: "xml", yml: "yaml", patch: "diff",
};
const NEEDS = { markdown: ["xml"], php: ["xml"], xml: ["css", "javascript"], shell: ["bash"] };
/** Colouring takes time in proportion to the code; beyond so many characters it stays plain. */
const MOST_CHARS = 16000;
let core = null;
const loaded = new Map();

/** Makes DOM nodes of highlight.js's tokens: no HTML is parsed. */
class NodeEmitter {
  constructor() {
    this.root = document.createDocumentFragment();
    this.open = [this.root];
  }
  addText(text) {
    if (text) this.open.at(-1).append(text);
  }
  openNode(scope) {
    const node = document.createElement("span");
    node.className = `hl-${scope.split(".")[0].replace(/[^a-z_-]/gi, "")}`;
    this.open.at(-1).append(node);
    this.open.push(node);
  }
  closeNode() {
    if (this.open.length > 1) this.open.pop();
  }
  startScope(scope) {
    this.openNode(scope);
  }
  endScope() {
    this.closeNode();
  }
  __addSublanguage(emitter) {
    this.open.at(-1).append(emitter.root);
  }
  finalize() {}
  toHTML() {
    return "";
  }
}

async function grammar(name) {
  core ??= import(`${VENDOR}/core.js`).then(({ default: hljs }) => {
    hljs.configure({ __emitter: NodeEmitter });
    return hljs;
  });
  const hljs = await core;
  for (const each of [...(NEEDS[name] ?? []), name]) {
    if (!loaded.has(each)) {
      loaded.set(each, import(`${VENDOR}/languages/${each}.js`).then((found) =>
        hljs.registerLanguage(each, found.default)));
    }
    await loaded.get(each);
  }
  return hljs;
}

export function languageOf(info) {
  const name = info.toLowerCase();
  const known = ALIASES[name] ?? name;
  return LANGUAGES.has(known) ? known : null;
}

/** Returns the element of a block of code, whole. */
export function codeElement(text, info) {
  const { node, code } = shell(info);
  code.textContent = text.replace(/\n$/, "");
  const language = languageOf(info);
  if (language && text.length <= MOST_CHARS) {
    grammar(language).then(
      (hljs) => later(() => colour(hljs, code, language)),
      (error) => console.warn("no colours for", info, error),
    );
  }
  return node;
}

function colour(hljs, code, language) {
  const result = hljs.highlight(code.textContent, { language, ignoreIllegals: true });
  if (result.errorRaised) console.warn("no colours for", language, result.errorRaised);
  else code.replaceChildren(result._emitter.root);
}

const growing = new WeakMap(); // by their nodes

/** A block of code that is still being written: what is new in it moves nothing else. */
export class GrowingCode {
  constructor(info, text = "") {
    const { node, code } = shell(info);
    this.node = node;
    this.info = info;
    this.text = "";
    this._lines = new GrowingLines(code);
    growing.set(node, this);
    this.set(text);
  }

  /** Returns the one whose node this is; undefined: there is none. */
  static of(node) {
    return growing.get(node);
  }

  /** Shows `text` behind the first `from` characters. */
  set(text, from = 0) {
    const shown = this.text.slice(from);
    if (text.startsWith(shown)) this._lines.append(text.slice(shown.length));
    else {
      this._lines.cut(shown.length);
      this._lines.append(text);
    }
    this.text = this.text.slice(0, from) + text;
  }
}

/** Lets the block of code `old` show what `fresh` does; returns false where it can't. */
export function growCode(old, fresh) {
  const [block, now] = [growing.get(old), growing.get(fresh)];
  if (!block || !now || block.info !== now.info) return false;
  block.set(now.text);
  return true;
}

function shell(info) {
  const node = document.createElement("div");
  node.className = "code";
  const head = document.createElement("div");
  head.className = "code-head";
  const name = document.createElement("span");
  name.textContent = info.slice(0, 40) || "text";
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy this code");
  head.append(name, button);
  const pre = document.createElement("pre");
  pre.tabIndex = 0;
  pre.setAttribute("role", "group");
  pre.setAttribute("aria-label", info ? `Code, ${info.slice(0, 40)}` : "Code");
  const code = document.createElement("code");
  pre.append(code);
  node.append(head, pre);
  button.addEventListener("click", async () => {
    await copyText(code.textContent);
    button.textContent = "Copied";
    announce("Code copied");
    setTimeout(() => {
      button.textContent = "Copy";
    }, 1500);
  });
  return { node, code };
}
