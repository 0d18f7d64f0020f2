/**
 * A real ComfyUI with this pack: the one that runs at COMFYUI_URL, or one on the CPU in a folder of its own,
 * from COMFYUI_PATH, run by COMFYUI_PYTHON.
 */

import { spawn } from "node:child_process";
import {
  createWriteStream,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { ROOT } from "./stub_host.js";

const { COMFYUI_URL, COMFYUI_PATH, COMFYUI_PYTHON } = process.env;
const PATIENCE = 240; // seconds

/** Why there is no real host, or false. */
export const noHost =
  !COMFYUI_URL &&
  (!COMFYUI_PATH || !COMFYUI_PYTHON) &&
  "COMFYUI_PATH and COMFYUI_PYTHON name no ComfyUI to run in";

/** Starts it, with the files that our workflows read in its input folder. */
export async function startRealHost() {
  if (COMFYUI_URL) return { url: COMFYUI_URL, stop: async () => {} };
  const base = mkdtempSync(join(tmpdir(), "hyav-comfyui-"));
  mkdirSync(join(base, "custom_nodes"));
  symlinkSync(ROOT, join(base, "custom_nodes", "hunyuan_av"));
  cpSync(join(ROOT, "workflows", "inputs"), join(base, "input"), { recursive: true });
  const port = await freePort();
  const options = [
    "--cpu",
    "--base-directory",
    base,
    "--database-url",
    "sqlite:///:memory:",
    "--port",
    `${port}`,
  ];
  const process = spawn(String(COMFYUI_PYTHON), ["main.py", ...options], { cwd: COMFYUI_PATH });
  const log = join(base, "log");
  const file = createWriteStream(log);
  process.stdout.pipe(file);
  process.stderr.pipe(file);

  const url = `http://127.0.0.1:${port}`;
  await untilUp(url, () => process.exitCode, log);
  return {
    url,
    async stop() {
      const ended = new Promise((resolve) => process.once("exit", resolve));
      process.kill();
      await ended;
      rmSync(base, { recursive: true, force: true });
    },
  };
}

/** @returns {Promise<number>} */
function freePort() {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.listen(0, "127.0.0.1", () => {
      const { port } = /** @type {import("node:net").AddressInfo} */ (probe.address());
      probe.close(() => resolve(port));
    });
  });
}

/**
 * @param {string} url
 * @param {() => number | null} exitCode
 * @param {string} log
 */
async function untilUp(url, exitCode, log) {
  for (let second = 0; second < PATIENCE; second++) {
    if (exitCode() !== null) break;
    const answer = await fetch(`${url}/system_stats`).catch(() => null);
    if (answer?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  throw new Error(`ComfyUI did not come up:\n${readFileSync(log, "utf8").slice(-3000)}`);
}
