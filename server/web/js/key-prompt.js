// The prompt for an API key, where the server asks for one. The key goes into a header, never into an address.
import { setKey } from "./api.js";
import { createStore, html, useEffect, useRef, useState } from "./base.js";

const prompt = createStore({ isOpen: false, problem: null, done: null });

/** Shows the prompt; the promise is kept when there is another key to try. */
export function askForKey(problem) {
  return new Promise((done) => prompt.set({ isOpen: true, problem, done }));
}

export function KeyPrompt() {
  const { isOpen, problem, done } = prompt.use();
  const dialog = useRef(null);
  const [key, set] = useState("");
  const [isRemembered, remember] = useState(false);
  useEffect(() => {
    if (isOpen && !dialog.current.open) dialog.current.showModal();
  }, [isOpen, done]);
  // A browser closes a dialog at the second Esc, whatever the page says; without a key there is nothing behind it.
  const stay = () => prompt.get().isOpen && dialog.current.showModal();
  function use(event) {
    event.preventDefault();
    setKey(key.trim(), isRemembered);
    set("");
    prompt.set({ isOpen: false });
    dialog.current.close();
    done();
  }
  return html`
    <dialog ref=${dialog} aria-labelledby="key-title" onCancel=${(event) => event.preventDefault()} onClose=${stay}>
      <form onSubmit=${use} class="fields">
        <h2 id="key-title">This server asks for a key</h2>
        ${problem && html`<p class="note bad" role="alert">${problem}</p>`}
        <label class="field">API key
          <input type="password" autocomplete="off" required value=${key} onInput=${(event) => set(event.target.value)} /></label>
        <label class="check"><input type="checkbox" checked=${isRemembered} onChange=${(event) => remember(event.target.checked)} /> Keep it in this browser; else it is forgotten with this tab</label>
        <div class="row end"><button class="button primary" disabled=${!key.trim()}>Use it</button></div>
      </form>
    </dialog>
  `;
}
