// Named checks in JavaScript; `report` prints each one's outcome, "ok" or the error, as one JSON object.
import { createRequire } from "node:module";

export const {
  SERVER_URL: url, SERVER_MODEL: model, SERVER_KEY: key, SERVER_EMBEDDER: embedder,
} = process.env;
export const messages = [{ role: "user", content: "Say hi." }];
export const schema = {
  type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false,
};
const require = createRequire(`${process.env.MODULES}/here.js`);
export const load = (name) => import(require.resolve(name));
const outcomes = {};

export const check = async (name, run) => {
  try {
    await run();
    outcomes[name] = "ok";
  } catch (error) {
    outcomes[name] = `${error.name}: ${error.message}`.slice(0, 500);
  }
};
export const need = (value, what) => {
  if (!value) throw new Error(what);
};
export const report = () => console.log(JSON.stringify(outcomes));
