// The settings of a chat: system prompt, sampling, tools, and any other parameter of chat completions.
import { html, useEffect, useRef, useState } from "../base.js";
import { Icon } from "../icons.js";
import { keepDefaultSettings } from "../preferences.js";
import { loadTools, serverTools } from "./server-tools.js";

const NUMBERS = [
  ["temperature", "Temperature", "0 is greedy; higher is more varied", { min: 0, max: 5, step: 0.05 }],
  ["top_p", "Top-p", "The likeliest tokens that make up this share", { min: 0, max: 1, step: 0.01 }],
  ["top_k", "Top-k", "So many of the likeliest tokens; 0: all", { min: 0, step: 1 }],
  ["min_p", "Min-p", "Tokens at least this likely beside the likeliest", { min: 0, max: 1, step: 0.01 }],
  ["repeat_penalty", "Repeat penalty", "1 is none", { min: 0, max: 5, step: 0.05 }],
  ["max_tokens", "Most tokens", "The answer ends after so many", { min: 1, step: 1 }],
  ["seed", "Seed", "The same one gives the same answer", { min: 0, step: 1 }],
];
const EFFORTS = ["", "none", "minimal", "low", "medium", "high"];
const OWN = new Set([...NUMBERS.map(([name]) => name), "stop", "reasoning_effort", "tools"]);

export function SettingsPanel({ settings, onSave, onClose }) {
  const dialog = useRef(null);
  const [form, setForm] = useState(() => formOf(settings));
  const [problem, setProblem] = useState(null);
  const [isKept, setKept] = useState(false);
  const tools = serverTools.use().list ?? [];
  useEffect(() => {
    dialog.current.showModal();
    void loadTools();
  }, []);
  const set = (change) => setForm({ ...form, ...change });
  async function save(event) {
    event.preventDefault();
    try {
      const made = settingsOf(form, settings.model);
      await onSave(made);
      if (isKept) keepDefaultSettings({ system: made.system, parameters: made.parameters });
      dialog.current.close();
    } catch (error) {
      setProblem(error.message);
    }
  }
  return html`
    <dialog class="panel" ref=${dialog} aria-labelledby="settings-title" onClose=${onClose}>
      <form onSubmit=${save}>
        <header class="row"><h2 id="settings-title" class="grow">Settings of this chat</h2>
          <button type="button" class="icon-button" aria-label="Close the settings" onClick=${() => dialog.current.close()}><${Icon} name="close" /></button></header>
        <div class="fields">
          <label class="field">System prompt
            <textarea rows="4" placeholder="How the model shall answer" value=${form.system} onInput=${(event) => set({ system: event.target.value })}></textarea></label>
          <fieldset>
            <legend>Sampling</legend>
            <p class="hint">What is left empty is the model's own.</p>
            <div class="two">
              ${NUMBERS.map(
                ([name, title, hint, bounds]) => html`
                  <label class="field" key=${name}>${title}
                    <input type="number" inputmode="decimal" ...${bounds} step="any" value=${form[name]} placeholder="default" aria-describedby=${`hint-${name}`} onInput=${(event) => set({ [name]: event.target.value })} />
                    <span class="hint" id=${`hint-${name}`}>${hint}</span></label>`,
              )}
              <label class="field">Thinking
                <select value=${form.reasoning_effort} onChange=${(event) => set({ reasoning_effort: event.target.value })}>
                  ${EFFORTS.map((effort) => html`<option key=${effort} value=${effort}>${effort || "default"}</option>`)}
                </select>
                <span class="hint">For models that think before they answer</span></label>
            </div>
            <label class="field">Stop strings, one on a line
              <textarea rows="2" value=${form.stop} onInput=${(event) => set({ stop: event.target.value })}></textarea></label>
          </fieldset>
          ${tools.length > 0 && html`<${ServerTools} tools=${tools} chosen=${form.tools} onChange=${(made) => set({ tools: made })} />`}
          <label class="field">Tools, as JSON
            <textarea rows="4" class="mono" spellcheck="false" placeholder='[{"type": "function", "function": {"name": "…", "parameters": {…}}}]' value=${form.tools} onInput=${(event) => set({ tools: event.target.value })}></textarea>
            <span class="hint">The page runs none by itself: it shows a call, and you say what it gave, or let the server run its own.</span></label>
          <label class="field">Other parameters, as a JSON object
            <textarea rows="3" class="mono" spellcheck="false" placeholder='{"top_n_sigma": 1}' value=${form.others} onInput=${(event) => set({ others: event.target.value })}></textarea></label>
          <label class="check"><input type="checkbox" checked=${isKept} onChange=${(event) => setKept(event.target.checked)} /> Use these for new chats too, in this browser</label>
        </div>
        ${problem && html`<p class="note bad" role="alert">${problem}</p>`}
        <footer class="row end">
          <button type="button" class="button" onClick=${() => dialog.current.close()}>Cancel</button>
          <button class="button primary">Save</button>
        </footer>
      </form>
    </dialog>
  `;
}

/** The tools that the server has: those that are ticked stand among the tools below. */
function ServerTools({ tools, chosen, onChange }) {
  let known = null;
  try {
    known = parsed(chosen, "The tools") ?? [];
  } catch {
    // half-written JSON: nothing can be ticked until it is whole
  }
  const isKnown = Array.isArray(known);
  const has = ({ tool }) => isKnown && known.some((each) => each?.function?.name === tool);
  const others = ({ tool }) => known.filter((each) => each?.function?.name !== tool);
  const written = (list) => (list.length ? JSON.stringify(list, null, 2) : "");
  return html`
    <fieldset><legend>Tools of this server</legend>
      ${tools.map((tool) => html`
        <label class="check" key=${tool.tool}>
          <input type="checkbox" disabled=${!isKnown} checked=${has(tool)} onChange=${(event) => onChange(written([...others(tool), ...(event.target.checked ? [tool.definition] : [])]))} />
          <span><code>${tool.tool}</code> <span class="hint">${tool.definition.function.description}${tool.permissions?.write ? " (may change things)" : ""}</span></span></label>`)}
    </fieldset>
  `;
}

function formOf({ system, parameters }) {
  const others = Object.fromEntries(Object.entries(parameters).filter(([name]) => !OWN.has(name)));
  const stop = parameters.stop ?? [];
  return {
    system: system ?? "",
    ...Object.fromEntries(NUMBERS.map(([name]) => [name, parameters[name] ?? ""])),
    stop: (Array.isArray(stop) ? stop : [stop]).join("\n"),
    reasoning_effort: parameters.reasoning_effort ?? "",
    tools: parameters.tools ? JSON.stringify(parameters.tools, null, 2) : "",
    others: Object.keys(others).length ? JSON.stringify(others, null, 2) : "",
  };
}

function settingsOf(form, model) {
  const parameters = parsed(form.others, "The other parameters") ?? {};
  if (Array.isArray(parameters) || typeof parameters !== "object") throw new Error("The other parameters are no JSON object");
  for (const [name] of NUMBERS) if (form[name] !== "") parameters[name] = Number(form[name]);
  const stop = form.stop.split("\n").filter((line) => line !== "");
  if (stop.length) parameters.stop = stop;
  if (form.reasoning_effort) parameters.reasoning_effort = form.reasoning_effort;
  const tools = parsed(form.tools, "The tools");
  if (tools !== null) parameters.tools = tools;
  return { model, system: form.system, parameters };
}

function parsed(text, name) {
  if (!text.trim()) return null;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${name} are no JSON: ${error.message}`);
  }
}
