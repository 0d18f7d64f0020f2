/** Our workflows and panels in a real ComfyUI: opened, run and looked at. */

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { openSession, picture, skip as noBrowser } from "./page.js";
import { noHost, startRealHost } from "./real_host.js";
import { ROOT } from "./stub_host.js";

const skip = noHost || noBrowser;
const WORKFLOWS = join(ROOT, "workflows");
const FIRST = "foley_video_to_sound.json";
const RUN = 300_000; // ms, for a run on the CPU

/** @type {Awaited<ReturnType<typeof startRealHost>>} */
let host;
/** @type {import("./page.js").Session} */
let session;

before(async () => {
  if (skip) return;
  host = await startRealHost();
  session = await openSession("", host.url);
});
after(async () => {
  await session?.close();
  await host?.stop();
});

/**
 * Opens a workflow, shows all of it, and gives back its nodes that are unknown.
 * @param {import("playwright-core").Page} page
 * @param {string} name
 */
async function openWorkflow(page, name) {
  const graph = JSON.parse(readFileSync(join(WORKFLOWS, name), "utf8"));
  const unknown = await page.evaluate(async (workflow) => {
    const { app, LiteGraph } = /** @type {any} */ (window);
    await app.loadGraphData(workflow);
    await app.extensionManager.command.execute("Comfy.Canvas.FitView");
    const known = new Set(Object.keys(LiteGraph.registered_node_types));
    const ids = app.graph.nodes.map((/** @type {any} */ node) => node.type);
    return ids.filter((/** @type {string} */ id) => !known.has(id));
  }, graph);
  await page.waitForTimeout(2500); // the view glides to its place
  return unknown;
}

for (const [name, isVue, language] of [
  ["classic", false, "en"],
  ["vue", true, "en"],
  ["vue", true, "zh"],
]) {
  test(`${name}, ${language}: a workflow opens without an unknown node`, { skip }, async () => {
    const { page, complaints } = await session.open({
      "Comfy.VueNodes.Enabled": isVue,
      "Comfy.Locale": language,
    });
    await page.setViewportSize({ width: 2400, height: 1400 });
    assert.deepEqual(await openWorkflow(page, FIRST), []);
    await picture(page, `graph-${name}-${language}`);
    assert.deepEqual(complaints, []);
    await page.close();
  });
}

test("every workflow opens without an unknown node", { skip }, async () => {
  const { page } = await session.open({ "Comfy.VueNodes.Enabled": false });
  for (const name of readdirSync(WORKFLOWS).filter((file) => file.endsWith(".json"))) {
    assert.deepEqual(await openWorkflow(page, name), [], name);
  }
  await page.close();
});

test("the template browser shows our workflows with their pictures", { skip }, async () => {
  const { page, complaints } = await session.open({ "Comfy.VueNodes.Enabled": true });
  await page.evaluate(() =>
    /** @type {any} */ (window).app.extensionManager.command.execute("Comfy.BrowseTemplates"),
  );
  await page.getByText("hunyuan_av", { exact: true }).first().dispatchEvent("click");
  await page.getByText("foley_video_to_sound").first().waitFor();
  await page.getByAltText("foley_video_to_sound").first().waitFor();
  await page.waitForTimeout(1500); // pictures fade in
  await picture(page, "templates");
  assert.deepEqual(complaints, []);
  await page.close();
});

test("the sync plot of a real run follows playback", { skip }, async () => {
  const { page, complaints } = await session.open({ "Comfy.VueNodes.Enabled": true });
  await openWorkflow(page, FIRST);
  await page.evaluate(async () => {
    const { app, LiteGraph } = /** @type {any} */ (window);
    const find = (/** @type {string} */ type) =>
      app.graph.nodes.find((/** @type {any} */ node) => node.type === type);
    const [video, decoded] = [find("LoadVideo"), find("HunyuanAVFoleyVAEDecode")];
    const plot =
      find("HunyuanAVFoleySyncPlot") ?? app.graph.add(LiteGraph.createNode("HunyuanAVFoleySyncPlot"));
    const slot = (/** @type {string} */ name) => plot.findInputSlot(name);
    if (plot.inputs[slot("video")].link === null) video.connect(0, plot, slot("video"));
    if (plot.inputs[slot("audio")].link === null) decoded.connect(0, plot, slot("audio"));
    await app.extensionManager.command.execute("Comfy.QueuePrompt");
  });
  await page.locator(".hyav-plot .hyav-note").waitFor({ state: "hidden", timeout: RUN });
  await page.locator(".hyav-plot button").evaluate((button) => /** @type {HTMLElement} */ (button).click());
  await page.waitForFunction(() => {
    const slider = /** @type {HTMLInputElement} */ (document.querySelector(".hyav-plot input"));
    return Number(slider.value) > 0.5;
  });
  await page.evaluate(() => {
    const { app } = /** @type {any} */ (window);
    const plot = app.graph.nodes.find((/** @type {any} */ node) => node.type === "HunyuanAVFoleySyncPlot");
    app.canvas.ds.scale = 1.5;
    app.canvas.ds.offset = [120 - plot.pos[0], 110 - plot.pos[1]];
    app.canvas.setDirty(true, true);
  });
  await page.waitForTimeout(500);
  await picture(page, "sync-plot-real");
  assert.deepEqual(complaints, []);
  await page.close();
});
