/** A browser on ComfyUI's page, with what the page complained about; or the reason why there is none. */

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";

import { chromium } from "playwright-core";

import { ROOT, startStubHost } from "./stub_host.js";

/** @typedef {import("playwright-core").Page} Page */
/** @typedef {Awaited<ReturnType<typeof openSession>>} Session */

const BROWSERS = [
  process.env.CHROMIUM,
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
];
const PYTHONS = [process.env.PYTHON, join(ROOT, ".venv/bin/python")];
const PATIENCE = 120_000; // ms: with other work beside, the page takes its time
const SCREENSHOTS = join(ROOT, "tests/web/screenshots");
const FRONTEND = "import comfyui_frontend_package as page; print(page.__path__[0] + '/static')";

/** What the page says whatever pack is installed; it looks for help in English before it falls back. */
const ITS_OWN = [
  /\/docs\/\w+\/en\.md/,
  /ComfyApp graph accessed before initialization/,
  /legacy queue\/history menu is deprecated/,
  /ComfyApp\.open_maskeditor is deprecated/,
  /user\.css|comfy\.templates\.json|userdata/,
  /GL Driver Message|WebGL/,
];

const browser = BROWSERS.find((path) => path && existsSync(path));
const python = PYTHONS.find((path) => path && existsSync(path));
const frontend = python && frontendFolder(python);

/** Why these tests cannot run here, or false. */
export const skip =
  (!browser && "no Chromium found: install one, or name it in CHROMIUM") ||
  (!python && "no Python found that can import the pack: name it in PYTHON") ||
  (!frontend && `${python} has no comfyui-frontend-package: pip install --group web`) ||
  false;

/** @param {string} path */
function frontendFolder(path) {
  try {
    return execFileSync(path, ["-c", FRONTEND], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  } catch {
    return undefined;
  }
}

/**
 * A browser, and the stub server or the one at `url`.
 * @param {string} saved the folder of the files that nodes are said to have saved
 * @param {string} [url] of a real ComfyUI
 */
export async function openSession(saved, url) {
  const host = url ? null : await startStubHost(String(frontend), String(python), saved);
  const running = await chromium.launch({
    executablePath: browser,
    args: ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
  });
  mkdirSync(SCREENSHOTS, { recursive: true });
  return {
    /** @param {Record<string, unknown>} settings */
    open: (settings) => openPage(running, url ?? host?.url ?? "", !!url, settings),
    close: async () => {
      await running.close();
      host?.stop();
    },
  };
}

/**
 * @param {import("playwright-core").Browser} running
 * @param {string} url
 * @param {boolean} isReal
 * @param {Record<string, unknown>} settings
 */
async function openPage(running, url, isReal, settings) {
  const isLight = settings["Comfy.ColorPalette"] === "light";
  const page = await running.newPage({
    viewport: { width: 1440, height: 900 },
    colorScheme: isLight ? "light" : "dark",
  });
  page.setDefaultTimeout(PATIENCE);
  /** @type {string[]} */
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error.stack)));
  page.on("console", (message) => {
    const text = `${message.text()} (${message.location().url})`;
    const isBad = ["error", "warning"].includes(message.type());
    if (isBad && !ITS_OWN.some((own) => own.test(text))) complaints.push(text);
  });
  await page.route(
    ({ hostname }) => hostname !== "127.0.0.1",
    (route) => route.fulfill({ status: 204 }),
  );
  const socket = isReal ? null : await stubSocket(page);
  await choose(page, url, settings);
  await page.goto(url);
  await page.waitForFunction(() => /** @type {any} */ (window).app?.vueAppReady);
  await page.waitForFunction(() => !document.querySelector("#splash-loader"));
  return { page, complaints, socket };
}

/**
 * Settings as the user of this page has made them.
 * @param {Page} page
 * @param {string} url
 * @param {Record<string, unknown>} settings
 */
async function choose(page, url, settings) {
  const all = {
    "Comfy.TutorialCompleted": true,
    "Comfy.UseNewMenu": "Top",
    "Comfy.InstalledVersion": "1.49.6",
    "Comfy.Minimap.Visible": false,
    "Comfy.Graph.CanvasInfo": false,
    "Comfy.Workflow.ShowMissingNodesWarning": false, // the page begins with a workflow of core nodes
    "Comfy.Workflow.ShowMissingModelsWarning": false,
    "Comfy.Locale": "en",
    "Comfy.ColorPalette": "dark",
    ...settings,
  };
  await page.request.post(`${url}/api/settings`, { data: all });
}

/**
 * The server's voice: what is sent here arrives at the page.
 * @param {Page} page
 */
async function stubSocket(page) {
  /** @type {import("playwright-core").WebSocketRoute | undefined} */
  let route;
  await page.routeWebSocket(/\/ws/, (socket) => {
    route = socket;
    const status = { status: { exec_info: { queue_remaining: 0 } }, sid: "stub" };
    socket.send(JSON.stringify({ type: "status", data: status }));
  });
  return {
    /** A node has run. @param {string} node @param {Record<string, unknown[]>} output */
    executed(node, output) {
      const data = { node, display_node: node, output, prompt_id: "stub" };
      route?.send(JSON.stringify({ type: "executed", data }));
    },
  };
}

/**
 * An empty graph with some nodes, the last one's id given back; they are shown whole.
 * @param {Page} page
 * @param {{id: string, pos: [number, number]}[]} wanted
 * @returns {Promise<string>}
 */
export async function place(page, wanted) {
  await page.evaluate(() => /** @type {any} */ (window).app.graph.clear());
  await page.waitForFunction(() => !document.querySelector(".hyav-panel")); // an earlier node's
  const id = await page.evaluate((nodes) => {
    const { app, LiteGraph } = /** @type {any} */ (window);
    const made = nodes.map(({ id, pos }) => {
      const node = LiteGraph.createNode(id);
      node.pos = pos;
      app.graph.add(node);
      return node;
    });
    app.canvas.ds.reset();
    app.canvas.setDirty(true, true);
    return String(made.at(-1).id);
  }, wanted);
  await page.waitForTimeout(400);
  return id;
}

/**
 * @param {Page} page
 * @param {string} name
 * @param {string} [selector]
 */
export async function picture(page, name, selector) {
  const path = join(SCREENSHOTS, `${name}.png`);
  await (selector ? page.locator(selector).first() : page).screenshot({ path });
}
