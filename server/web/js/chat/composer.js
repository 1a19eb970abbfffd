// The box for a message: Enter sends, Shift+Enter is a new line, Esc stops the answer; text files go with it.
import { LONG_PASTE_CHARS, readAttachment, withAttachments } from "./attachments.js";
import { announce, html, useEffect, useLayoutEffect, useRef, useState } from "../base.js";
import { branch, chat, sendTurn, stopAnswer } from "./chat.js";
import { draftOf, keepDraft } from "./drafts.js";
import { Icon } from "../icons.js";

const MOST_ROWS_PX = 260;
/** Without a keyboard, Enter is the only way to a new line. */
const hasKeyboard = !matchMedia("(pointer: coarse)").matches;

export function Composer() {
  const state = chat.use();
  const area = useRef(null);
  const input = useRef(null);
  const [text, setText] = useState("");
  const [files, setFiles] = useState([]);
  const key = state.id ?? "new";
  useEffect(() => {
    setText(draftOf(key));
    if (hasKeyboard) area.current.focus();
  }, [key]);
  useEffect(() => {
    // What had the focus may have gone with another branch.
    if (hasKeyboard && document.activeElement === document.body) area.current.focus();
  }, [state.head]);
  useLayoutEffect(() => {
    area.current.style.height = "auto";
    area.current.style.height = `${Math.min(area.current.scrollHeight, MOST_ROWS_PX)}px`;
  }, [text]);
  useEffect(() => {
    // A file that is dropped anywhere is attached; a browser would leave the page for it.
    const over = (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault();
    const drop = (event) => {
      if (!event.dataTransfer?.files.length) return;
      event.preventDefault();
      void attach(event.dataTransfer.files);
    };
    addEventListener("dragover", over);
    addEventListener("drop", drop);
    return () => {
      removeEventListener("dragover", over);
      removeEventListener("drop", drop);
    };
  }, []);
  function write(value) {
    keepDraft(key, value);
    setText(value);
  }
  async function attach(list) {
    for (const file of [...list]) {
      try {
        const read = await readAttachment(file);
        setFiles((known) => [...known, read]);
        announce(`Attached ${read.name}`);
      } catch (error) {
        chat.set({ problem: error.message });
      }
    }
    area.current?.focus();
  }
  async function send() {
    const said = withAttachments(text.trim(), files);
    if (!said) return;
    const before = [text, files];
    write("");
    setFiles([]);
    const last = branch(state).at(-1);
    if (await sendTurn(last?.id ?? null, [{ role: "user", text: said }])) return;
    // The chat may have been begun before its first turn was refused.
    const now = chat.get();
    const isBegun = key === "new" && now.id !== null && !now.messages.length;
    const home = isBegun ? now.id : key;
    keepDraft(home, before[0]);
    if ((now.id ?? "new") !== home) return;
    setText(before[0]);
    setFiles(before[1]);
  }
  function onKeyDown(event) {
    const isComposing = event.isComposing || event.keyCode === 229;
    if (event.key === "Enter" && !event.shiftKey && !isComposing && hasKeyboard) {
      event.preventDefault();
      void send();
    }
  }
  function onPaste(event) {
    const { files: pasted } = event.clipboardData;
    const said = event.clipboardData.getData("text/plain");
    if (pasted.length && !said) {
      event.preventDefault();
      void attach(pasted);
    } else if (said.length > LONG_PASTE_CHARS) {
      event.preventDefault();
      setFiles((known) => [...known, { name: `pasted-${known.length + 1}.txt`, text: said }]);
      announce("The pasted text is attached");
    }
  }
  return html`
    <form class="composer" onSubmit=${(event) => { event.preventDefault(); void send(); }}>
      ${files.length > 0 && html`
        <ul class="attached" aria-label="Attached">
          ${files.map((file, place) => html`
            <li key=${place}><${Icon} name="file" /><span class="title">${file.name}</span> <span class="faint">${file.text.length.toLocaleString("en")} characters</span>
              <button type="button" class="icon-button" aria-label=${`Remove ${file.name}`} onClick=${() => setFiles(files.filter((each) => each !== file))}><${Icon} name="close" /></button></li>`)}
        </ul>`}
      <div class="writing">
        <button type="button" class="icon-button" aria-label="Attach text files" title="Attach text files" onClick=${() => input.current.click()}><${Icon} name="clip" /></button>
        <input ref=${input} type="file" multiple hidden onChange=${(event) => { void attach([...event.target.files]); event.target.value = ""; }} />
        <label class="offscreen" for="message">Your message</label>
        <textarea id="message" dir="auto" ref=${area} rows="1" placeholder="Write a message" value=${text} onInput=${(event) => write(event.target.value)} onKeyDown=${onKeyDown} onPaste=${onPaste}></textarea>
        ${state.running
          ? html`<button type="button" class="round" aria-label="Stop the answer" title="Stop (Esc)" onClick=${stopAnswer}><${Icon} name="stop" /></button>`
          : html`<button class="round primary" aria-label="Send" title="Send (Enter)" disabled=${!text.trim() && !files.length}><${Icon} name="send" /></button>`}
      </div>
    </form>
  `;
}
