// The open chat: head, messages and box.
import { html, useLayoutEffect, useRef, useState } from "../base.js";
import { deleteChat, exportChat, renameChat } from "./chat-list.js";
import { branch, chat, dismissProblem, saveSettings } from "./chat.js";
import { Composer } from "./composer.js";
import { Icon } from "../icons.js";
import { Answer, Question } from "./message.js";
import { loadModels, models } from "../models.js";
import { SettingsPanel } from "./settings-panel.js";

/** So near to the end the view follows what is written. */
const NEAR_PX = 80;

export function ChatView({ menu }) {
  const state = chat.use();
  const [hasSettings, showSettings] = useState(false);
  const scroller = useRef(null);
  const column = useRef(null);
  const follows = useRef(true);
  const top = useRef(0);
  const [isBehind, setBehind] = useState(false);
  const messages = branch(state);
  const shown = messages.filter((message) => message.role !== "tool");

  function follow() {
    const node = scroller.current;
    if (!node) return;
    if (follows.current) node.scrollTop = node.scrollHeight;
    else setBehind(!isNearEnd(node));
  }
  /** Only a user moves up; what grows below isn't a wish to stay. */
  function onScroll({ target }) {
    if (isNearEnd(target)) follows.current = true;
    else if (target.scrollTop < top.current - 1) follows.current = false;
    top.current = target.scrollTop;
    setBehind(!follows.current);
  }
  function goToEnd() {
    follows.current = true;
    follow();
    document.getElementById("message")?.focus();
  }
  useLayoutEffect(() => {
    follows.current = true;
    setBehind(false);
    follow();
  }, [state.id, state.head, state.loading]);
  useLayoutEffect(() => {
    const observer = new ResizeObserver(follow); // whatever grows: text, colours, formulas
    observer.observe(column.current);
    return () => observer.disconnect();
  }, []);

  return html`
    <main class="chat" id="main" tabindex="-1">
      ${shown.length > 0 && html`<h1 class="offscreen">${state.title || "Untitled"}</h1>`}
      <${Head} state=${state} menu=${menu} onSettings=${() => showSettings(true)} />
      <div class="scroller" ref=${scroller} tabindex="-1" onScroll=${onScroll}>
        <div class="column" ref=${column}>
          ${!shown.length && !state.loading && !state.problem && html`<${Welcome} />`}
          ${shown.map((message, place) =>
            message.role === "user"
              ? html`<${Question} key=${message.id} message=${message} state=${state} />`
              : html`<${Answer} key=${message.id} message=${message} state=${state} isLast=${place === shown.length - 1}
                  results=${messages.filter((each) => each.role === "tool")} />`,
          )}
        </div>
      </div>
      <div class="column bottom">
        ${isBehind && html`<button class="round to-end" aria-label="To the end" title="To the end" onClick=${goToEnd}><${Icon} name="down" /></button>`}
        ${state.isLost && html`<p class="note bad" role="alert">The server can't be reached; trying again …</p>`}
        ${state.problem && html`<div class="note bad row" role="alert"><span class="grow">${state.problem}</span><button class="icon-button" aria-label="Dismiss" onClick=${dismissProblem}><${Icon} name="close" /></button></div>`}
        <${Composer} />
      </div>
      ${hasSettings && html`<${SettingsPanel} settings=${state.settings} onClose=${() => showSettings(false)} onSave=${saveSettings} />`}
    </main>
  `;
}

function isNearEnd({ scrollHeight, scrollTop, clientHeight }) {
  return scrollHeight - scrollTop - clientHeight < NEAR_PX;
}

function Welcome() {
  const { list } = models.use();
  return html`
    <div class="welcome">
      <img src="/web/assets/icon.svg" alt="" width="52" height="52" />
      <h1>What is on your mind?</h1>
      <p class="hint">${list && !list.length ? html`There is no model here yet. <a href="#/models">Bring one</a>.` : "Everything stays on this server."}</p>
    </div>
  `;
}

function Head({ state, menu, onSettings }) {
  return html`
    <header class="head">
      <button class="icon-button only-narrow" aria-label="Show the list of chats" aria-controls="sidebar" onClick=${menu}><${Icon} name="menu" /></button>
      <${ModelChoice} state=${state} />
      <${Title} state=${state} />
      <button class="icon-button" aria-label="Settings of this chat" title="Settings" onClick=${onSettings}><${Icon} name="sliders" /></button>
      ${state.id && html`<${ChatMenu} state=${state} />`}
    </header>
  `;
}

function ModelChoice({ state }) {
  const { list } = models.use();
  const chosen = state.settings?.model ?? "";
  const usable = list ?? [];
  const isKnown = !chosen || usable.some((model) => model.id === chosen);
  const byItself = usable[0];
  return html`
    <label class="model-choice">
      <span class="offscreen">Model</span>
      <select value=${chosen} onFocus=${loadModels} onChange=${(event) => saveSettings({ ...state.settings, model: event.target.value || null }).catch((error) => chat.set({ problem: error.message }))}>
        <option value="">${byItself ? byItself.id : "The server's model"}</option>
        ${!isKnown && html`<option value=${chosen}>${chosen} (not here)</option>`}
        ${usable.slice(1).concat(chosen && byItself?.id === chosen ? [byItself] : []).map((model) => html`<option key=${model.id} value=${model.id}>${model.id}${model.state === "ready" ? "" : ` (${model.state})`}</option>`)}
      </select>
    </label>
  `;
}

function Title({ state }) {
  const [text, setText] = useState(null);
  if (!state.id) return html`<span class="grow"></span>`;
  async function save() {
    const title = text;
    setText(null);
    if (title === null || title === state.title) return;
    try {
      chat.set({ title: (await renameChat(state.id, title)).title });
    } catch (error) {
      chat.set({ problem: error.message });
    }
  }
  return html`
    <input class="title-field grow" dir="auto" aria-label="Title of the chat" placeholder="Untitled" value=${text ?? state.title} onInput=${(event) => setText(event.target.value)} onBlur=${save}
      onKeyDown=${(event) => event.key === "Enter" && event.target.blur()} />
  `;
}

function ChatMenu({ state }) {
  const menu = useRef(null);
  function choose(action) {
    menu.current.open = false;
    return action().catch((error) => chat.set({ problem: error.message }));
  }
  function remove() {
    location.hash = "#/";
    return deleteChat(state);
  }
  return html`
    <details class="menu" ref=${menu} onFocusOut=${(event) => { if (!menu.current.contains(event.relatedTarget)) menu.current.open = false; }}
      onKeyDown=${(event) => { if (event.key === "Escape" && menu.current.open) { event.stopPropagation(); menu.current.open = false; menu.current.querySelector("summary").focus(); } }}>
      <summary class="icon-button" aria-label="More about this chat" title="More"><${Icon} name="more" /></summary>
      <div class="menu-body">
        <button onClick=${() => choose(() => exportChat(state.id, "markdown"))}><${Icon} name="download" /> Export as Markdown</button>
        <button onClick=${() => choose(() => exportChat(state.id, "json"))}><${Icon} name="download" /> Export as JSON</button>
        <button class="danger" onClick=${() => choose(remove)}><${Icon} name="trash" /> Delete</button>
      </div>
    </details>
  `;
}
