// The box for a message: Enter sends, Shift+Enter is a new line, Esc stops the answer.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../base.js";
import { branch, chat, sendTurn, stopAnswer } from "./chat.js";
import { Icon } from "../icons.js";

const MOST_ROWS_PX = 260;
const drafts = new Map(); // by chat, while the page is open

export function Composer() {
  const state = chat.use();
  const area = useRef(null);
  const [text, setText] = useState("");
  const key = state.id ?? "new";
  useEffect(() => {
    setText(drafts.get(key) ?? "");
    if (!matchMedia("(pointer: coarse)").matches) area.current.focus();
  }, [key]);
  useLayoutEffect(() => {
    area.current.style.height = "auto";
    area.current.style.height = `${Math.min(area.current.scrollHeight, MOST_ROWS_PX)}px`;
  }, [text]);
  function write(value) {
    drafts.set(key, value);
    setText(value);
  }
  async function send() {
    const said = text.trim();
    if (!said) return;
    write("");
    const last = branch(state).at(-1);
    if (await sendTurn(last?.id ?? null, [{ role: "user", text: said }])) {
      drafts.delete("new");
      return;
    }
    drafts.set(key, said);
    if ((chat.get().id ?? "new") === key) setText(said);
  }
  function onKeyDown(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    }
  }
  return html`
    <form class="composer" onSubmit=${(event) => { event.preventDefault(); send(); }}>
      <label class="offscreen" for="message">Your message</label>
      <textarea id="message" dir="auto" ref=${area} rows="1" placeholder="Write a message" value=${text} onInput=${(event) => write(event.target.value)} onKeyDown=${onKeyDown}></textarea>
      ${state.running
        ? html`<button type="button" class="round" aria-label="Stop the answer" title="Stop (Esc)" onClick=${stopAnswer}><${Icon} name="stop" /></button>`
        : html`<button class="round primary" aria-label="Send" title="Send (Enter)" disabled=${!text.trim()}><${Icon} name="send" /></button>`}
    </form>
  `;
}
