// The models: what is here, how much room it takes, what its quantization has lost; loading and pulling.
import { bytes, count, html, useEffect, useState } from "./base.js";
import { Icon } from "./icons.js";
import { act, cancelJob, loadJobs, loadModels, models, outcomeOf, pull } from "./models.js";
import { Page } from "./page.js";

const TYPES = ["Q8_0", "Q5_K_M", "Q4_K_M"];
const AGAIN_MS = 1500;
/** So many of the latest jobs are shown. */
const JOBS_SHOWN = 6;
/** A bar of a divergence is full at this one, in nats, where none is greater: a model that has lost much. */
const FULL_BAR = 0.1;

export function ModelsView({ menu }) {
  const { list, isManaged, jobs, problem } = models.use();
  useEffect(() => {
    const look = () => loadModels().then(loadJobs).catch((error) => models.set({ problem: error.message }));
    void look();
    const timer = setInterval(() => document.hidden || look(), AGAIN_MS);
    return () => clearInterval(timer);
  }, []);
  return html`
    <${Page} title="Models" menu=${menu}>
      ${problem && html`<p class="note bad" role="alert">${problem}</p>`}
      ${list && !list.length && html`<p class="hint">No model is here yet.${isManaged ? " Bring one below." : ""}</p>`}
      <ul class="cards">${(list ?? []).map((model) => html`<${ModelCard} key=${model.id} model=${model} />`)}</ul>
      ${isManaged && jobs && html`<${Pull} jobs=${jobs.slice(0, JOBS_SHOWN)} />`}
    <//>
  `;
}

function ModelCard({ model }) {
  const [problem, setProblem] = useState(null);
  const [isBusy, setBusy] = useState(false);
  async function run(action) {
    setBusy(true);
    setProblem(null);
    try {
      await act(model, action);
    } catch (error) {
      setProblem(error.message);
    }
    setBusy(false);
  }
  const isLoaded = ["ready", "loading", "restarting"].includes(model.state);
  return html`
    <li class="card">
      <div class="row">
        <h2 class="grow">${model.id}</h2>
        <span class=${`state ${model.state}`}>${model.state}</span>
      </div>
      <dl class="facts">
        ${model.type && html`<div><dt>Type</dt><dd>${model.type}</dd></div>`}
        ${model.size != null && html`<div><dt>Size</dt><dd>${bytes(model.size)}</dd></div>`}
        ${model.context != null && html`<div><dt>Context</dt><dd>${count(model.context)} tokens</dd></div>`}
        ${model.fits != null && html`<div><dt>Fits</dt><dd>${fitOf(model.fits)}</dd></div>`}
        ${model.running != null && html`<div><dt>Requests</dt><dd>${model.running}</dd></div>`}
      </dl>
      ${model.progress != null && model.state === "loading" && html`<progress max="1" value=${model.progress} aria-label="Loading"></progress>`}
      ${(problem ?? model.problem) && html`<p class="note bad">${problem ?? model.problem}</p>`}
      ${model.loss && html`<${Loss} loss=${model.loss} type=${model.type} />`}
      ${model.isManaged && html`
        <div class="row">
          ${isLoaded
            ? html`<button class="button" disabled=${isBusy} onClick=${() => run("unload")}>Unload</button>`
            : html`<button class="button" disabled=${isBusy} onClick=${() => run("load")}>Load</button>`}
          <button class="button" aria-pressed=${String(model.pinned)} disabled=${isBusy} onClick=${() => run(model.pinned ? "unpin" : "pin")}><${Icon} name="pin" /> ${model.pinned ? "Pinned" : "Pin"}</button>
        </div>`}
    </li>
  `;
}

function fitOf(fits) {
  if (typeof fits === "boolean") return fits ? "yes" : "not in the free memory";
  return typeof fits === "string" ? fits : fits.message ?? JSON.stringify(fits);
}

/** What quantization has lost: a bar per type, from the report's figures. */
function Loss({ loss, type }) {
  const rows = rowsOf(loss, type);
  if (!rows.length) return null;
  const most = Math.max(...rows.map((row) => row.divergence ?? 0), FULL_BAR);
  return html`
    <div class="wide-table" tabindex="0" role="region" aria-label="What quantization lost"><table class="loss">
      <caption>What quantization lost, beside the 16-bit weights</caption>
      <thead><tr><th scope="col">Type</th><th scope="col">Divergence</th><th scope="col" class="right">Same token</th><th scope="col" class="right">Perplexity</th></tr></thead>
      <tbody>
        ${rows.map(
          (row) => html`
            <tr key=${row.type}>
              <th scope="row">${row.type}</th>
              <td>${row.divergence != null && html`<span class="bar"><meter min="0" max=${most} value=${row.divergence} aria-label=${`Divergence of ${row.type}`}></meter> ${row.divergence.toPrecision(2)}</span>`}</td>
              <td class="right">${row.same != null ? `${(100 * row.same).toFixed(1)} %` : ""}</td>
              <td class="right">${row.perplexity != null ? row.perplexity.toFixed(2) : ""}</td>
            </tr>`,
        )}
      </tbody>
    </table></div>
  `;
}

const first = (object, names) => names.map((name) => object[name]).find((value) => typeof value === "number");

/** Returns the figures by type. A file's own record has them flat; a model's has a record for each type. */
function rowsOf(loss, type) {
  const isOne = typeof loss.perplexity === "number" || typeof loss.kl_divergence === "number";
  const records = isOne ? [[type, loss]] : Object.entries(loss);
  return records
    .filter(([, record]) => record && typeof record === "object")
    .map(([name, record]) => ({
      type: name,
      divergence: first(record, ["kl_divergence"]),
      same: first(record, ["same_top_token"]),
      perplexity: first(record, ["perplexity"]),
    }))
    .filter((row) => row.divergence != null || row.perplexity != null);
}

function Pull({ jobs }) {
  const [reference, setReference] = useState("");
  const [types, setTypes] = useState(TYPES);
  const [problem, setProblem] = useState(null);
  const attempt = (action) => action().then(() => setProblem(null), (error) => setProblem(error.message));
  function begin(event) {
    event.preventDefault();
    void attempt(async () => {
      await pull(reference.trim(), types);
      setReference("");
    });
  }
  return html`
    <section class="card" aria-labelledby="pull-title">
      <h2 id="pull-title">Bring a model</h2>
      <form onSubmit=${begin} class="fields">
        <label class="field">Name on the Hugging Face Hub
          <input value=${reference} placeholder="org/name" required spellcheck="false" autocapitalize="off" onInput=${(event) => setReference(event.target.value)} /></label>
        <fieldset><legend class="legend">Types to make</legend>
          <div class="row">${TYPES.map((type) => html`<label class="check" key=${type}><input type="checkbox" checked=${types.includes(type)} onChange=${(event) => setTypes(event.target.checked ? [...types, type] : types.filter((each) => each !== type))} /> ${type}</label>`)}</div>
        </fieldset>
        <div class="row"><button class="button primary" disabled=${!reference.trim() || !types.length}>Pull and quantize</button></div>
        ${problem && html`<p class="note bad" role="alert">${problem}</p>`}
      </form>
      ${jobs.length > 0 && html`<ul class="jobs" aria-label="Jobs">${jobs.map((job) => html`<${Job} key=${job.id} job=${job} onCancel=${() => attempt(() => cancelJob(job))} />`)}</ul>`}
    </section>
  `;
}

function Job({ job, onCancel }) {
  const isRunning = job.state === "running";
  const types = job.types.length ? ` (${job.types.join(", ")})` : "";
  return html`
    <li class="job">
      <div class="row"><p class=${`grow ${job.state === "failed" ? "bad-text" : ""}`}>${outcomeOf(job)}<span class="faint">${types}</span></p>
        ${isRunning && html`<button class="button small" aria-label=${`Cancel ${job.model}`} onClick=${onCancel}>Cancel</button>`}</div>
      ${isRunning && html`<progress max="1" value=${job.progress ?? null} aria-label=${`Progress of ${job.model}`}></progress>`}
      ${isRunning && job.total > 0 && html`<p class="hint">${bytes(job.completed)} of ${bytes(job.total)}</p>`}
    </li>
  `;
}
