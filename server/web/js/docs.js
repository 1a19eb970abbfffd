// The API's documentation, drawn from the server's own /openapi.json, with requests to try.
import { call, currentKey, onKeyWanted } from "./api.js";
import { copyText, html, render, useEffect, useState } from "./base.js";
import { askForKey, KeyPrompt } from "./key-prompt.js";

onKeyWanted(askForKey);

const METHODS = ["get", "post", "put", "patch", "delete"];
/** A schema is shown so many levels deep. */
const DEPTH = 3;
const EXAMPLES = {
  "/v1/chat/completions": { messages: [{ role: "user", content: "Say hello." }], max_tokens: 64 },
  "/v1/completions": { prompt: "Once upon a time", max_tokens: 32 },
  "/v1/responses": { input: "Say hello.", max_output_tokens: 64 },
  "/v1/messages": { messages: [{ role: "user", content: "Say hello." }], max_tokens: 64 },
  "/v1/embeddings": { input: "A sentence." },
  "/v1/rerank": { query: "a question", documents: ["one answer", "another"] },
  "/tokenize": { content: "Hello world" },
  "/detokenize": { tokens: [1, 2, 3] },
  "/apply-template": { messages: [{ role: "user", content: "Hi" }] },
};

function operations(document) {
  const groups = new Map();
  for (const [path, item] of Object.entries(document.paths)) {
    for (const method of METHODS.filter((each) => item[each])) {
      const operation = item[method];
      const tag = operation.tags?.[0] ?? "Others";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push({ method, path, ...operation, parameters: [...(item.parameters ?? []), ...(operation.parameters ?? [])] });
    }
  }
  return [...groups];
}

function App() {
  const [openapi, setOpenapi] = useState(null);
  const [problem, setProblem] = useState(null);
  const [filter, setFilter] = useState("");
  useEffect(() => {
    call("GET", "/openapi.json").then(setOpenapi, (error) => setProblem(error.message));
  }, []);
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (each) => words.every((word) => `${each.method} ${each.path} ${each.summary} ${each.description}`.toLowerCase().includes(word));
  return html`
    <main class="docs">
      <header>
        <a class="home" href="/"><img src="/web/assets/icon.svg" alt="" width="26" height="26" /> Corral</a>
        <h1>The API</h1>
        ${openapi && html`<p>${openapi.info.description} Version ${openapi.info.version}.</p>`}
        <p>Point a client at <code>${location.origin}/v1</code>. <a href="/openapi.json">openapi.json</a> is the machine's form of this page.</p>
        <label class="filter">Routes with <input type="search" placeholder="chat, models …" value=${filter} onInput=${(event) => setFilter(event.target.value)} /></label>
      </header>
      ${problem && html`<p role="alert" class="bad">${problem}</p>`}
      ${openapi && operations(openapi).map(([tag, list]) => {
        const shown = list.filter(fits);
        return shown.length > 0 && html`
          <section key=${tag}><h2>${tag}</h2>${shown.map((each) => html`<${Operation} key=${each.method + each.path} operation=${each} schemas=${openapi.components?.schemas ?? {}} />`)}</section>`;
      })}
    </main>
    <${KeyPrompt} />
  `;
}

function Operation({ operation, schemas }) {
  const [isOpen, setOpen] = useState(false);
  const { method, path, parameters } = operation;
  const body = operation.requestBody?.content?.["application/json"]?.schema;
  return html`
    <details class="operation" onToggle=${(event) => setOpen(event.target.open)}>
      <summary><span class=${`method ${method}`}>${method.toUpperCase()}</span> <code>${path}</code> <span class="faint">${marked(firstLine(operation.description) || operation.summary)}</span></summary>
      ${isOpen && html`<div class="inside">
        ${(operation.description ?? "").split(/\n\n+/).slice(firstLine(operation.description) === operation.description ? 1 : 0).map((text) => html`<p>${marked(text)}</p>`)}
        ${parameters.length > 0 && html`<h3>Parameters</h3><${Fields} fields=${parameters.map((each) => ({ name: each.name, schema: each.schema ?? {}, isRequired: each.required, description: `${each.in}. ${each.description ?? ""}` }))} schemas=${schemas} depth=${0} />`}
        ${body && html`<h3>Body</h3><${Schema} schema=${body} schemas=${schemas} depth=${0} />`}
        <${Trial} operation=${operation} hasBody=${body !== undefined} />
      </div>`}
    </details>
  `;
}

const firstLine = (text) => (text ?? "").split("\n")[0];

/** Returns a text with its `code` as such. */
function marked(text) {
  return (text ?? "").split("`").map((part, place) => (place % 2 ? html`<code>${part}</code>` : part));
}

function resolved(schema, schemas) {
  const name = schema.$ref?.split("/").at(-1);
  return name ? { title: name, ...schemas[name] } : schema;
}

function typeOf(schema, schemas) {
  const found = resolved(schema, schemas);
  const variants = found.anyOf ?? found.oneOf;
  if (variants) return [...new Set(variants.map((each) => typeOf(each, schemas)))].filter((each) => each !== "null").join(" or ");
  if (found.enum) return found.enum.map((each) => JSON.stringify(each)).join(" | ");
  if (found.const !== undefined) return JSON.stringify(found.const);
  if (found.type === "array") return `list of ${found.items ? typeOf(found.items, schemas) : "anything"}`;
  return found.type ?? (found.properties ? "object" : "anything");
}

function objectsOf(schema, schemas) {
  const found = resolved(schema, schemas);
  if (found.properties) return [found];
  return [...(found.anyOf ?? []), ...(found.oneOf ?? []), ...(found.allOf ?? []), ...(found.items ? [found.items] : [])].flatMap((each) => objectsOf(each, schemas));
}

function Schema({ schema, schemas, depth }) {
  return objectsOf(schema, schemas).map((each) => html`
    <${Fields} schemas=${schemas} depth=${depth} fields=${Object.entries(each.properties).map(([name, inner]) => ({ name, schema: inner, isRequired: each.required?.includes(name), description: inner.description ?? "" }))} />`);
}

function Fields({ fields, schemas, depth }) {
  return html`
    <dl class="parameters">
      ${fields.map((field) => html`
        <div key=${field.name}>
          <dt><code>${field.name}</code>${field.isRequired && html` <span class="required">required</span>`}</dt>
          <dd><span class="type">${typeOf(field.schema, schemas)}${bounds(resolved(field.schema, schemas))}</span> ${field.description}
            ${depth < DEPTH && objectsOf(field.schema, schemas).length > 0 && html`<details class="nested"><summary>Its fields</summary><${Schema} schema=${field.schema} schemas=${schemas} depth=${depth + 1} /></details>`}
          </dd>
        </div>`)}
    </dl>
  `;
}

function bounds(schema) {
  const inner = [schema, ...(schema.anyOf ?? [])].find((each) => each.minimum !== undefined || each.maximum !== undefined) ?? {};
  const { minimum, maximum } = inner;
  if (minimum === undefined && maximum === undefined) return "";
  return `, ${minimum ?? "…"} to ${maximum ?? "…"}`;
}

/** A request to this server, as a form; what comes back is shown as it comes. */
function Trial({ operation, hasBody }) {
  const [path, setPath] = useState(operation.path);
  const [body, setBody] = useState(JSON.stringify(EXAMPLES[operation.path] ?? {}, null, 2));
  const [answer, setAnswer] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const method = operation.method.toUpperCase();
  async function send(event) {
    event.preventDefault();
    setBusy(true);
    setAnswer({ head: "…", text: "" });
    try {
      const key = currentKey();
      const response = await fetch(path, { method, headers: { ...(hasBody ? { "Content-Type": "application/json" } : {}), ...(key ? { Authorization: `Bearer ${key}` } : {}) }, body: hasBody ? body : undefined });
      const head = `${response.status} ${response.headers.get("Content-Type") ?? ""}`;
      const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (let part = await reader?.read(); part && !part.done; part = await reader.read()) {
        text += part.value;
        setAnswer({ head, text: shortened(text) });
      }
      setAnswer({ head, text: shortened(indented(text)) });
    } catch (error) {
      setAnswer({ head: "no answer", text: error.message });
    }
    setBusy(false);
  }
  const curl = `curl ${location.origin}${path}${method === "GET" ? "" : ` -X ${method}`}${hasBody ? ` -H 'Content-Type: application/json' -d '${body.replace(/\s*\n\s*/g, " ").replace(/'/g, "'\\''")}'` : ""}`;
  return html`
    <h3>Try it</h3>
    <form onSubmit=${send}>
      <label>Path <input value=${path} spellcheck="false" onInput=${(event) => setPath(event.target.value)} /></label>
      ${hasBody && html`<label>Body <textarea rows=${Math.min(14, body.split("\n").length + 1)} spellcheck="false" value=${body} onInput=${(event) => setBody(event.target.value)}></textarea></label>`}
      <div class="row"><button class="primary" disabled=${isBusy}>Send</button> <button type="button" onClick=${() => copyText(curl)}>Copy as curl</button></div>
    </form>
    ${answer && html`<pre class="response" tabindex="0" role="region" aria-label="The response" aria-live="polite"><strong>${answer.head}</strong>\n${answer.text}</pre>`}
  `;
}

const MOST_SHOWN = 50000;
const shortened = (text) => (text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}\n…` : text);

function indented(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

render(html`<${App} />`, document.getElementById("app"));
