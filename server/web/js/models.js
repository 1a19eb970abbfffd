// The models that requests may name: what `/v1/models` says, and `/admin/models` where the server has it.
import { call, callIfThere, readEvents, request } from "./api.js";
import { createStore } from "./base.js";

export const models = createStore({ list: null, isManaged: false, problem: null });

let mayManage = true; // until the server says that it has no such route, or the key no right to it

export async function loadModels() {
  try {
    const [plain, managed] = await Promise.all([
      call("GET", "/v1/models"),
      mayManage ? callIfThere("GET", "/admin/models") : null,
    ]);
    mayManage = managed !== null;
    const known = new Map((managed?.data ?? []).map((model) => [model.id, model]));
    const list = plain.data.map((model) => {
      const more = known.get(model.id);
      known.delete(model.id);
      return merged(model, more);
    });
    for (const model of known.values()) list.push(merged({ id: model.id, status: {} }, model));
    models.set({ list, isManaged: managed !== null, problem: null });
  } catch (error) {
    models.set({ problem: error.message });
  }
}

function merged(plain, managed) {
  return {
    id: plain.id,
    type: managed?.type ?? plain.type,
    state: managed?.state ?? plain.status?.value ?? "available",
    progress: plain.status?.progress ?? null,
    problem: plain.status?.problem ?? null,
    context: plain.context_length ?? null,
    size: managed?.size_bytes ?? plain.meta?.size ?? null,
    fits: managed?.fits ?? null,
    pinned: managed?.pinned ?? false,
    running: managed?.n_running ?? null,
    lastUsed: managed?.last_used ?? null,
    loss: managed?.loss ?? null,
    isManaged: managed !== undefined,
    parent: plain.parent ?? null,
  };
}

export async function act(model, action) {
  await call("POST", `/admin/models/${model.id.split("/").map(encodeURIComponent).join("/")}/${action}`);
  await loadModels();
}

/** Pulls and quantizes a model; calls `onProgress` with each event's data until the job ends. */
export async function pull(reference, types, onProgress, signal) {
  let response = await request("POST", "/admin/models/pull", {
    body: { model: reference, ...(types.length ? { types } : {}) },
    headers: { Accept: "text/event-stream, application/json" },
    signal,
  });
  if (!(response.headers.get("Content-Type") ?? "").startsWith("text/event-stream")) {
    const job = await response.json();
    onProgress(job);
    response = await request("GET", `/admin/jobs/${encodeURIComponent(job.id)}/events`, { signal });
  }
  for await (const { event, data } of readEvents(response)) {
    if (data === "[DONE]") return;
    const body = JSON.parse(data);
    if (body.error || event === "error") throw new Error(body.error?.message ?? body.message ?? "the pull failed");
    onProgress(body);
  }
}
