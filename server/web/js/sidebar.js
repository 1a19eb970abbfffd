// The left side: the chats with a search, and the way to the other views.
import { currentKey, forgetKey } from "./api.js";
import { html, useEffect, useRef, useState } from "./base.js";
import { chatList, grouped, importChat, loadChats } from "./chat/chat-list.js";
import { chat } from "./chat/chat.js";
import { Icon } from "./icons.js";
import { setTheme, theme } from "./preferences.js";

const SEARCH_AFTER_MS = 150;

export function Sidebar({ view, onClose }) {
  const { chats, query, problem } = chatList.use();
  const { id } = chat.use();
  return html`
    <nav class="sidebar" id="sidebar" aria-label="Chats and views">
      <div class="brand">
        <a class="mark" href="#/" aria-label="Corral, a new chat"><img src="/web/assets/icon.svg" alt="" width="26" height="26" /> Corral</a>
        <button class="icon-button only-narrow" onClick=${onClose} aria-label="Close the list of chats"><${Icon} name="close" /></button>
      </div>
      <a class="button primary wide" href="#/" onClick=${onClose}><${Icon} name="plus" /> New chat</a>
      <${Search} query=${query} />
      <div class="chats">
        ${problem && html`<p class="hint">${problem}</p>`}
        ${chats && !chats.length && html`<p class="hint">${query ? "No chat has all of these words." : "Your chats will be listed here."}</p>`}
        ${chats && grouped(chats).map(
          (group) => html`
            <section key=${group.name}>
              <h2>${group.name}</h2>
              <ul>
                ${group.chats.map(
                  (each) => html`
                    <li key=${each.id}>
                      <a href=${`#/chat/${each.id}`} aria-current=${view === "chat" && each.id === id ? "page" : null} onClick=${onClose}>
                        <span class="title" dir="auto">${each.title || "Untitled"}</span>
                        ${each.running && html`<span class="dot" title="An answer is being made"><span class="offscreen">answering</span></span>`}
                        ${query && each.snippet && html`<span class="snippet">${each.snippet}</span>`}
                      </a>
                    </li>
                  `,
                )}
              </ul>
            </section>
          `,
        )}
      </div>
      <ul class="views">
        <li><a href="#/models" aria-current=${view === "models" ? "page" : null} onClick=${onClose}><${Icon} name="chip" /> Models</a></li>
        <li><a href="#/activity" aria-current=${view === "activity" ? "page" : null} onClick=${onClose}><${Icon} name="pulse" /> Activity</a></li>
        <li><a href="/docs"><${Icon} name="book" /> API</a></li>
      </ul>
      <div class="foot"><span><${Import} />${currentKey() && html`<${Forget} />`}</span><${Theme} /></div>
    </nav>
  `;
}

function Search({ query }) {
  const [text, setText] = useState(query);
  const timer = useRef(0);
  function search(value) {
    setText(value);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => loadChats(value), SEARCH_AFTER_MS);
  }
  return html`
    <label class="search">
      <${Icon} name="search" />
      <span class="offscreen">Search the chats</span>
      <input type="search" id="search" placeholder="Search" autocomplete="off" value=${text} onInput=${(event) => search(event.target.value)} />
      <kbd aria-hidden="true">/</kbd>
    </label>
  `;
}

function Forget() {
  function forget() {
    forgetKey();
    location.reload();
  }
  return html`<button class="icon-button" title="Forget the key" aria-label="Forget the key" onClick=${forget}><${Icon} name="key" /></button>`;
}

function Theme() {
  const { name } = theme.use();
  const options = [["light", "sun", "Light"], ["dark", "moon", "Dark"], ["system", "system", "As the system"]];
  return html`
    <div class="segments" role="group" aria-label="Colours">
      ${options.map(
        ([each, icon, title]) => html`
          <button key=${each} class="icon-button" aria-pressed=${String(name === each)} aria-label=${title} title=${title} onClick=${() => setTheme(each)}>
            <${Icon} name=${icon} />
          </button>
        `,
      )}
    </div>
  `;
}

function Import() {
  const input = useRef(null);
  const [problem, setProblem] = useState(null);
  useEffect(() => {
    if (problem) setTimeout(() => setProblem(null), 8000);
  }, [problem]);
  async function take(event) {
    const [file] = event.target.files;
    event.target.value = "";
    if (!file) return;
    try {
      location.hash = `#/chat/${(await importChat(file)).id}`;
    } catch (error) {
      setProblem(error.message);
    }
  }
  return html`
    <button class="icon-button" title="Bring back an exported chat" aria-label="Bring back an exported chat" onClick=${() => input.current.click()}><${Icon} name="upload" /></button>
    <input ref=${input} type="file" accept="application/json,.json" hidden onChange=${take} />
    ${problem && html`<p class="toast" role="alert">${problem}</p>`}
  `;
}
