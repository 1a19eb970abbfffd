// The models that requests may name: what `/v1/models` says, and `/admin/models` where the server has it.
import { call, callIfThere } from "./api.js";
import { announce, createStore } from "./base.js";

/** `jobs` are the server's long ones, the newest first; null where it has none or the key may not see them. */
export const models = createStore({ list: null, isManaged: false, jobs: null, problem: null });

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

export async function loadJobs() {
  const found = mayManage ? await callIfThere("GET", "/admin/jobs") : null;
  const before = new Map((models.get().jobs ?? []).map((job) => [job.id, job.state]));
  const ended = (found?.data ?? []).filter((job) => job.state !== "running" && before.get(job.id) === "running");
  models.set({ jobs: found?.data ?? null });
  for (const job of ended) announce(outcomeOf(job));
  if (ended.length) await loadModels();
}

/** Says in a sentence how a job is, or how it ended. */
export function outcomeOf({ model, kind, state, problem, stage }) {
  if (state === "done") return `${model} is here.`;
  if (state === "running") return `${model}: ${stage ?? "waiting"}`;
  return state === "cancelled" ? `${model}: cancelled.` : `${model}: the ${kind} failed: ${problem}`;
}

/** Begins to fetch and quantize a model. */
export async function pull(reference, types) {
  await call("POST", "/admin/models/pull", { model: reference, ...(types.length ? { types } : {}) });
  await loadJobs();
}

export async function cancelJob(job) {
  await call("POST", `/admin/jobs/${encodeURIComponent(job.id)}/cancel`);
  await loadJobs();
}
