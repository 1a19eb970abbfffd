// Activity: the requests that are being answered, with cancel, and who used what.
import { call, callIfThere } from "./api.js";
import { count, html, seconds, useEffect, useState } from "./base.js";
import { Page } from "./page.js";

const AGAIN_MS = 1000;
const USAGE_DAYS = 30;

export function ActivityView({ menu }) {
  const [live, setLive] = useState(undefined);
  const [usage, setUsage] = useState(null);
  const [problem, setProblem] = useState(null);
  async function look() {
    try {
      setLive(await callIfThere("GET", "/admin/requests"));
      setProblem(null);
    } catch (error) {
      setProblem(error.message);
    }
  }
  useEffect(() => {
    void look();
    usageOf().then(setUsage, (error) => setProblem(error.message));
    const timer = setInterval(() => document.hidden || look(), AGAIN_MS);
    return () => clearInterval(timer);
  }, []);
  async function cancel(id) {
    try {
      await call("POST", `/admin/requests/${encodeURIComponent(id)}/cancel`);
    } catch (error) {
      if (error.status !== 404) setProblem(error.message); // 404: it has ended meanwhile
    }
    await look();
  }
  return html`
    <${Page} title="Activity" menu=${menu}>
      ${problem && html`<p class="note bad" role="alert">${problem}</p>`}
      ${live === null && html`<p class="hint">This key may not see other requests.</p>`}
      ${live && html`<${Live} requests=${live.data} onCancel=${cancel} />`}
      ${usage && html`<${Usage} rows=${usage.data} isOwn=${usage.isOwn} />`}
    <//>
  `;
}

/** Everybody's usage of the last days, or one's own where the key may not see others'; null: nothing is counted. */
async function usageOf() {
  const found = await callIfThere("GET", `/admin/usage?since=${USAGE_DAYS}d`);
  if (found) return { data: found.data, isOwn: false };
  const own = await callIfThere("GET", `/v1/usage?since=${USAGE_DAYS}d`);
  return own && { data: own.data, isOwn: true };
}

function Live({ requests, onCancel }) {
  return html`
    <section class="card" aria-labelledby="live-title">
      <h2 id="live-title">Now</h2>
      ${!requests.length
        ? html`<p class="hint">No request is being answered.</p>`
        : html`
            <div class="wide-table" tabindex="0" role="region" aria-labelledby="live-title"><table>
              <thead><tr><th scope="col">Model</th><th scope="col">Route</th><th scope="col">State</th><th scope="col" class="right">Prompt</th><th scope="col" class="right">Answer</th><th scope="col" class="right">Rate</th><th scope="col" class="right">Time</th><th scope="col"><span class="offscreen">Cancel</span></th></tr></thead>
              <tbody>
                ${requests.map(
                  (each) => html`
                    <tr key=${each.id}>
                      <td>${each.model}</td><td><code>${routeOf(each.path)}</code></td><td>${each.phase}</td>
                      <td class="right">${count(each.prompt_tokens)}</td><td class="right">${count(each.completion_tokens)}</td>
                      <td class="right">${each.tokens_per_second ? `${each.tokens_per_second}/s` : ""}</td><td class="right">${seconds(each.seconds)}</td>
                      <td class="right"><button class="button small" aria-label=${`Cancel the request of ${each.model}`} onClick=${() => onCancel(each.id)}>Cancel</button></td>
                    </tr>`,
                )}
              </tbody>
            </table></div>`}
    </section>
  `;
}

function routeOf(path) {
  return path?.startsWith("/web/chats/") ? "this page" : path ?? "";
}

function Usage({ rows, isOwn }) {
  const most = Math.max(1, ...rows.map((row) => (row.prompt_tokens ?? 0) + (row.completion_tokens ?? 0)));
  return html`
    <section class="card" aria-labelledby="usage-title">
      <h2 id="usage-title">${isOwn ? "Your usage" : "Usage"} <span class="faint">of the last ${USAGE_DAYS} days</span></h2>
      ${!rows.length
        ? html`<p class="hint">Nothing has been used yet.</p>`
        : html`<div class="wide-table" tabindex="0" role="region" aria-labelledby="usage-title"><table>
            <thead><tr><th scope="col">Day</th>${!isOwn && html`<th scope="col">Key</th>`}<th scope="col">Model</th><th scope="col" class="right">Requests</th><th scope="col" class="right">Prompt</th><th scope="col" class="right">Answer</th><th scope="col">Share</th></tr></thead>
            <tbody>${rows.map(
              (row, place) => html`<tr key=${place}><td>${row.day}</td>${!isOwn && html`<td>${row.key || "none"}</td>`}<td>${row.model}</td><td class="right">${count(row.requests)}</td>
                <td class="right">${count(row.prompt_tokens)}</td><td class="right">${count(row.completion_tokens)}</td>
                <td><meter min="0" max=${most} value=${(row.prompt_tokens ?? 0) + (row.completion_tokens ?? 0)} aria-label="Share of the most"></meter></td></tr>`,
            )}</tbody>
          </table></div>`}
    </section>
  `;
}
