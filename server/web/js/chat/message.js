// One message of a chat, with what can be done with it.
import { AnswerText } from "../answer/answer-text.js";
import { count, copyText, html, useMemo, useEffect, useLayoutEffect, useRef, useState, announce } from "../base.js";
import { chat, onParts, regenerate, sendTurn, showBranch, showText, siblings } from "./chat.js";
import { GrowingText, wordCounter } from "./growing-text.js";
import { Icon } from "../icons.js";
import { loadModels, models } from "../models.js";
import { loadTools, runTool, serverTools } from "./server-tools.js";
import { textParts } from "./text-parts.js";

const LOADING_AGAIN_MS = 1500;
/** A message with more characters shows so many of them at first. */
const SHOWN_CHARS = 10000;

export function Question({ message, state }) {
  const [isEdited, setEdited] = useState(false);
  const button = useRef(null);
  const wasEdited = useRef(false);
  const text = message.content.text ?? "";
  useLayoutEffect(() => {
    if (wasEdited.current && !isEdited) button.current.focus();
    wasEdited.current = isEdited;
  }, [isEdited]);
  return html`
    <article class="message question" aria-label="You">
      ${isEdited
        ? html`<${Edit} message=${message} onEnd=${() => setEdited(false)} />`
        : html`
            <${Bubble} text=${text} />
            <div class="actions">
              <${Branches} message=${message} state=${state} />
              <${CopyButton} text=${text} what="message" />
              <button class="icon-button" aria-label="Edit this message" title="Edit" ref=${button} onClick=${() => setEdited(true)}><${Icon} name="edit" /></button>
            </div>`}
    </article>
  `;
}

function Edit({ message, onEnd }) {
  const [text, setText] = useState(message.content.text ?? "");
  const area = useRef(null);
  useLayoutEffect(() => area.current.focus(), []);
  async function send() {
    if (text.trim() && (await sendTurn(message.parent, [{ role: "user", text }]))) onEnd();
  }
  function onKeyDown(event) {
    if (event.key === "Escape") {
      event.stopPropagation();
      onEnd();
    }
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      void send();
    }
  }
  return html`
    <form class="editing" onSubmit=${(event) => { event.preventDefault(); void send(); }}>
      <label><span class="offscreen">Your message</span>
        <textarea value=${text} dir="auto" rows=${Math.min(12, text.split("\n").length + 1)} ref=${area} onInput=${(event) => setText(event.target.value)} onKeyDown=${onKeyDown}></textarea></label>
      <div class="row end">
        <button type="button" class="button" onClick=${onEnd}>Cancel</button>
        <button class="button primary" disabled=${!text.trim()}>Send as a new branch</button>
      </div>
    </form>
  `;
}

/** A very long message shows its beginning until all of it is wanted. */
function Bubble({ text }) {
  const [isWhole, setWhole] = useState(false);
  const [isScrolled, setScrolled] = useState(false); // and so must be reached by keyboard
  const node = useRef(null);
  useLayoutEffect(() => {
    const observer = new ResizeObserver(() => setScrolled(node.current.scrollHeight > node.current.clientHeight));
    observer.observe(node.current);
    return () => observer.disconnect();
  }, []);
  const isCut = text.length > SHOWN_CHARS && !isWhole;
  function showAll() {
    setWhole(true);
    node.current.focus(); // the button goes
  }
  return html`
    <div class=${`bubble ${isWhole ? "huge" : ""}`} dir="auto" ref=${node} tabindex=${isScrolled ? 0 : null}>
      ${isWhole ? textParts(text).map((part, place) => html`<div class="text-part" key=${place}>${part}</div>`) : isCut ? `${text.slice(0, SHOWN_CHARS)}…` : text}
    </div>
    ${isCut && html`<button class="button small" onClick=${showAll}>Show all ${count(text.length)} characters</button>`}
  `;
}

export function Answer({ message, state, results, isLast }) {
  const content = message.content;
  const isRunning = message.state === "running";
  const calls = content.calls ?? [];
  return html`
    <article class="message answer" aria-label=${`Answer${content.model ? ` of ${content.model}` : ""}`} aria-busy=${String(isRunning)}>
      <p class="by">${content.model ?? "Answer"}</p>
      ${(content.thoughts || isRunning) && html`<${Thoughts} message=${message} />`}
      <${Text} key=${message.id} message=${message} />
      ${isRunning && !content.text && html`<${Waiting} message=${message} />`}
      <${Calls} message=${message} results=${results} isOpen=${isLast && !isRunning} />
      ${message.state === "failed" && html`<p class="note bad" role="alert">${content.error ?? "The answer failed."}</p>`}
      ${message.state === "stopped" && html`<p class="note">Stopped.</p>`}
      ${message.state === "interrupted" && html`<p class="note">The server ended while this was written.</p>`}
      ${content.finish_reason === "length" && html`<p class="note">Cut at the limit of tokens.</p>`}
      ${!isRunning && html`
        <div class="actions">
          <${Branches} message=${message} state=${state} />
          ${content.text && html`<${CopyButton} text=${content.text} what="answer" />`}
          <button class="icon-button" aria-label="Answer again" title="Answer again" onClick=${() => regenerate(message)}><${Icon} name="retry" /></button>
          <${Figures} content=${content} />
        </div>`}
      ${isLast && !isRunning && calls.length > 0 && html`<${ResultForm} message=${message} calls=${calls} />`}
    </article>
  `;
}

function Text({ message }) {
  const node = useRef(null);
  const text = useRef(null);
  const isRunning = message.state === "running";
  useLayoutEffect(() => {
    const written = message.content.text ?? "";
    if (!isRunning) {
      if (text.current?.text === written) text.current.finish();
      else {
        text.current ??= new AnswerText(node.current);
        text.current.show(written);
      }
      return undefined;
    }
    text.current ??= new AnswerText(node.current);
    if (written && !text.current.text) text.current.append(written);
    return showText(message.id, text.current);
  }, [isRunning]);
  useEffect(() => () => text.current?.dispose(), []);
  return html`<div class="markdown" dir="auto" ref=${node}></div>`;
}

/** Draws again when thoughts or calls grow, at most once a frame. */
function useParts(isRunning) {
  const [, draw] = useState(0);
  useEffect(() => {
    if (!isRunning) return undefined;
    let frame = 0;
    const release = onParts(() => {
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        draw((n) => n + 1);
      });
    });
    return () => {
      cancelAnimationFrame(frame);
      release();
    };
  }, [isRunning]);
}

function Thoughts({ message }) {
  const isRunning = message.state === "running";
  const words = useMemo(wordCounter, [message.id]);
  useParts(isRunning);
  const thoughts = message.content.thoughts ?? "";
  if (!thoughts) return null;
  const isThinking = isRunning && !message.content.text && !(message.content.calls ?? []).length;
  return html`
    <details class="fold thoughts">
      <summary><${Icon} name="thought" /> ${isThinking ? html`<span class="pulsing">Thinking</span>` : "Thoughts"} <span class="faint">${count(words(thoughts))} words</span></summary>
      <${GrowingText} tag="div" text=${thoughts} isGrowing=${isThinking} class="fold-body" dir="auto" tabindex="0" role="group" aria-label="Thoughts" />
    </details>
  `;
}

function Calls({ message, results, isOpen }) {
  const isRunning = message.state === "running";
  useParts(isRunning);
  return (message.content.calls ?? []).map((call) => {
    const result = results.find((each) => each.content.call_id === call.id);
    return html`
      <details class="fold call" key=${call.id} open=${isOpen && !result}>
        <summary><${Icon} name="tool" /> <span>Call of <code>${call.name}</code></span> <span class="faint">${result ? "answered" : isRunning ? "being written" : "no result yet"}</span></summary>
        <div class="fold-body">
          <h3>Arguments</h3>
          <${GrowingText} tag="pre" text=${isRunning ? call.arguments : pretty(call.arguments)} isGrowing=${isRunning} tabindex="0" role="group" aria-label=${`Arguments of ${call.name}`} />
          ${result && html`<h3>Result</h3><pre tabindex="0" role="group" aria-label=${`Result of ${call.name}`}>${pretty(result.content.text ?? "")}</pre>`}
        </div>
      </details>
    `;
  });
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** The page runs no tools by itself: the user says what a call gave, or lets the server run a tool that it has. */
function ResultForm({ message, calls }) {
  const [values, setValues] = useState({});
  const [running, setRunning] = useState(null);
  const tools = serverTools.use().list ?? [];
  useEffect(() => void loadTools(), []);
  const set = (call, value) => setValues((known) => ({ ...known, [call.id]: value }));
  async function send(event) {
    event.preventDefault();
    await sendTurn(message.id, calls.map((call) => ({ role: "tool", call_id: call.id, text: values[call.id] ?? "" })));
  }
  async function run(call) {
    setRunning(call.id);
    try {
      set(call, await runTool(call));
    } catch (error) {
      chat.set({ problem: error.message });
    }
    setRunning(null);
  }
  return html`
    <form class="results" onSubmit=${send}>
      ${calls.map(
        (call) => html`
          <div key=${call.id}>
            <label>Result of <code>${call.name}</code>
              <textarea rows=${Math.min(10, (values[call.id] ?? "").split("\n").length + 1)} value=${values[call.id] ?? ""} onInput=${(event) => set(call, event.target.value)}></textarea>
            </label>
            ${tools.some((tool) => tool.tool === call.name) && html`<button type="button" class="button small" disabled=${running !== null} onClick=${() => run(call)}>${running === call.id ? "Running …" : `Run ${call.name} on the server`}</button>`}
          </div>`,
      )}
      <div class="row end"><button class="button primary">Send ${calls.length > 1 ? "the results" : "the result"}</button></div>
    </form>
  `;
}

function Waiting({ message }) {
  useParts(true);
  const { list } = models.use();
  const content = message.content;
  const isRead = Boolean(content.prompt_tokens);
  useEffect(() => {
    if (isRead) return undefined;
    const timer = setInterval(loadModels, LOADING_AGAIN_MS); // the model may be loading
    return () => clearInterval(timer);
  }, [isRead]);
  if (content.thoughts || (content.calls ?? []).length) return null;
  const model = list?.find((each) => each.id === content.model);
  const progress = model?.progress == null ? "" : `, ${Math.round(100 * model.progress)} %`;
  const text = isRead
    ? `Reading ${count(content.prompt_tokens)} tokens`
    : model && model.state !== "ready" ? `Loading the model${progress}` : "Waiting for the model";
  return html`<p class="waiting"><span class="dots" aria-hidden="true"><i></i><i></i><i></i></span> <span class="faint">${text}</span></p>`;
}

let chosen = null; // the message whose versions are being gone through, and the button that does

function Branches({ message, state }) {
  const group = useRef(null);
  useLayoutEffect(() => {
    // Another version is another message, with buttons of its own: the focus goes along.
    if (chosen?.id !== message.id) return;
    const buttons = [...group.current.querySelectorAll("button")];
    (buttons[chosen.place].disabled ? buttons[1 - chosen.place] : buttons[chosen.place]).focus();
    chosen = null;
  }, []);
  const all = siblings(state, message);
  if (all.length < 2) return null;
  const place = all.findIndex((each) => each.id === message.id);
  function show(next, button) {
    chosen = { id: next.id, place: button };
    void showBranch(next);
  }
  return html`
    <span class="branches" role="group" aria-label="Versions" ref=${group}>
      <button class="icon-button" aria-label="Version before" disabled=${place === 0} onClick=${() => show(all[place - 1], 0)}><${Icon} name="left" /></button>
      <span>${place + 1} / ${all.length}</span>
      <button class="icon-button" aria-label="Next version" disabled=${place === all.length - 1} onClick=${() => show(all[place + 1], 1)}><${Icon} name="right" /></button>
    </span>
  `;
}

function CopyButton({ text, what }) {
  const [isDone, setDone] = useState(false);
  async function copy() {
    try {
      await copyText(text);
    } catch (error) {
      chat.set({ problem: error.message });
      return;
    }
    announce(`Copied the ${what}`);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  }
  return html`<button class="icon-button" aria-label=${`Copy this ${what}`} title=${isDone ? "Copied" : "Copy"} onClick=${copy}><${Icon} name="copy" />${isDone && html`<span class="done">Copied</span>`}</button>`;
}

function Figures({ content }) {
  if (!content.completion_tokens) return null;
  const rate = content.tokens_per_second ? `, ${content.tokens_per_second.toFixed(content.tokens_per_second < 20 ? 1 : 0)}/s` : "";
  const cached = content.cached_tokens ? `, ${count(content.cached_tokens)} of them cached` : "";
  const title = `Prompt: ${count(content.prompt_tokens)} tokens${cached}. First token after ${Math.round(content.first_token_ms ?? 0)} ms.`;
  return html`<span class="figures" title=${title}>${count(content.completion_tokens)} tokens${rate}</span>`;
}
