/** Our panels in the real page, classic and Vue, with what nodes would have returned. */

import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { SECONDS, bouncingBall, threeFaces } from "./clip.js";
import { openSession, picture, place, skip } from "./page.js";

const SYNC = "HunyuanAVFoleySyncPlot";
const FACES = "HunyuanAVFaceMask";
const RENDERERS = [
  ["classic", false],
  ["vue", true],
];

/** @type {import("./page.js").Session} */
let session;
/** @type {Map<string, Awaited<ReturnType<import("./page.js").Session["open"]>>>} */
const pages = new Map();
const saved = mkdtempSync(join(tmpdir(), "hyav-web-"));

before(async () => {
  if (!skip) session = await openSession(saved);
});
after(() => session?.close());

/**
 * A page, the same for the same settings, with one node of ours that has run.
 * @param {string} id
 * @param {string} key
 * @param {unknown} payload
 * @param {Record<string, unknown>} settings
 */
async function shown(id, key, payload, settings) {
  const name = JSON.stringify(settings);
  const opened = pages.get(name) ?? (await session.open(settings));
  pages.set(name, opened);
  const node = await place(opened.page, [{ id, pos: [360, 110] }]);
  opened.socket?.executed(node, { [key]: [payload] });
  await opened.page.locator(".hyav-note").waitFor({ state: "hidden" });
  return { ...opened, node };
}

/** @param {import("playwright-core").Page} page */
function widgets(page) {
  return page.evaluate(() => {
    const { app } = /** @type {any} */ (window);
    return Object.fromEntries(app.graph.nodes[0].widgets.map((/** @type {any} */ w) => [w.name, w.value]));
  });
}

for (const [name, isVue] of RENDERERS) {
  test(`${name}: the sync plot shows the clip and its head follows playback`, { skip }, async () => {
    const { page, complaints } = await shown(SYNC, "hyav_sync", bouncingBall(saved), {
      "Comfy.VueNodes.Enabled": isVue,
    });
    const summary = await page.locator(".hyav-plot [role=status]").textContent();
    assert.equal(summary, "4 of 5 events heard · offset +15 ms");

    await page.locator(".hyav-plot button").click();
    await page.waitForFunction(() => {
      const slider = /** @type {HTMLInputElement} */ (document.querySelector(".hyav-plot input"));
      return Number(slider.value) > 1;
    });
    const head = await page.locator(".hyav-head").evaluate((line) => new DOMMatrix(line.style.transform).e);
    const width = await page.locator(".hyav-plot canvas").evaluate((canvas) => canvas.clientWidth);
    await picture(page, `sync-plot-${name}`);
    assert.ok(head > (0.8 * width) / SECONDS && head <= width, `the head is at ${head} of ${width}`);

    await page.locator(".hyav-plot button").click();
    await page.locator(".hyav-plot button[aria-label=Play]").waitFor();
    assert.deepEqual(complaints, []);
  });

  test(`${name}: clicking the plot and arrow keys move the head`, { skip }, async () => {
    const { page, complaints } = await shown(SYNC, "hyav_sync", bouncingBall(saved), {
      "Comfy.VueNodes.Enabled": isVue,
    });
    const at = () => page.locator(".hyav-plot input").inputValue().then(Number);
    const box = await page.locator(".hyav-plot canvas").boundingBox();
    assert.ok(box);
    await page.mouse.click(box.x + box.width / 2, box.y + box.height / 2);
    assert.ok(Math.abs((await at()) - SECONDS / 2) < 0.05);
    await page.locator(".hyav-plot input").focus();
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowRight");
    assert.ok(Math.abs((await at()) - SECONDS / 2 - 0.08) < 0.05);
    assert.deepEqual(complaints, []);
  });

  test(
    `${name}: a face is chosen by a click, its box adjusted by dragging, and undone`,
    { skip },
    async () => {
      const { page, complaints } = await shown(FACES, "hyav_faces", threeFaces(saved), {
        "Comfy.VueNodes.Enabled": isVue,
      });
      const faces = page.locator(".hyav-face");
      assert.equal(await faces.count(), 3);
      assert.equal(await faces.nth(0).getAttribute("aria-checked"), "true");

      await faces.nth(2).click();
      await page.waitForFunction(() => document.querySelectorAll(".hyav-face")[2].ariaChecked === "true");
      const picked = await widgets(page);
      assert.deepEqual([picked.pick, picked.face_index], ["index", 2]);

      await drag(page, ".hyav-face[aria-checked=true]", 30, 20);
      const moved = await widgets(page);
      assert.equal(moved.pick, "box");
      assert.ok(moved.box_left > 530 / 704 + 0.01 && moved.box_top > 200 / 512 + 0.01, JSON.stringify(moved));
      assert.ok(Math.abs(moved.box_right - moved.box_left - 90 / 704) < 0.003);
      await picture(page, `face-picker-${name}`);

      await page.locator(".hyav-faces .hyav-bar button").click();
      assert.deepEqual(await widgets(page).then(({ pick, face_index }) => [pick, face_index]), ["index", 2]);
      assert.deepEqual(complaints, []);
    },
  );

  test(
    `${name}: faces are reached by keyboard, and a new box is drawn on the picture`,
    { skip },
    async () => {
      const { page, complaints } = await shown(FACES, "hyav_faces", threeFaces(saved), {
        "Comfy.VueNodes.Enabled": isVue,
      });
      await page.locator(".hyav-face").nth(1).focus();
      await page.keyboard.press("Enter");
      await page.waitForFunction(() => document.querySelectorAll(".hyav-face")[1].ariaChecked === "true");
      assert.equal((await widgets(page)).face_index, 1);
      await page.keyboard.press("ArrowRight");
      assert.ok(Math.abs((await widgets(page)).box_left - (90 / 704 + 0.005)) < 0.002);

      const area = await page.locator(".hyav-picture").boundingBox();
      assert.ok(area);
      await page.mouse.move(area.x + 0.05 * area.width, area.y + 0.05 * area.height);
      await page.mouse.down();
      await page.mouse.move(area.x + 0.25 * area.width, area.y + 0.3 * area.height, { steps: 5 });
      await page.mouse.up();
      const drawn = await widgets(page);
      assert.ok(Math.abs(drawn.box_left - 0.05) < 0.01 && Math.abs(drawn.box_right - 0.25) < 0.01);
      assert.deepEqual(complaints, []);
    },
  );
}

test("panels say nothing to the workflow or the prompt", { skip }, async () => {
  const { page } = await shown(FACES, "hyav_faces", threeFaces(saved), { "Comfy.VueNodes.Enabled": false });
  const { workflow, output } = await page.evaluate(() => /** @type {any} */ (window).app.graphToPrompt());
  assert.equal(workflow.nodes[0].widgets_values.length, 9);
  assert.ok(!Object.keys(output[1].inputs).includes("hyav_faces"));
});

test("an earlier run's plot is back when its workflow is", { skip }, async () => {
  const { page, node } = await shown(SYNC, "hyav_sync", bouncingBall(saved), {
    "Comfy.VueNodes.Enabled": false,
  });
  await page.evaluate(async (id) => {
    const { app } = /** @type {any} */ (window);
    const [outputs, graph] = [structuredClone(app.nodeOutputs), app.graph.serialize()];
    await app.loadGraphData(graph);
    app.nodeOutputs = outputs;
    if (!outputs[id]) throw new Error("the page has forgotten the run");
  }, node);
  await page.locator(".hyav-plot [role=status]", { hasText: "4 of 5" }).waitFor();
});

test("panels suit a light page and speak Chinese", { skip }, async () => {
  const { page, complaints } = await shown(SYNC, "hyav_sync", bouncingBall(saved), {
    "Comfy.VueNodes.Enabled": true,
    "Comfy.ColorPalette": "light",
    "Comfy.Locale": "zh",
  });
  await page.locator(".hyav-plot [role=status]", { hasText: "5 个画面事件中有 4 个听得到声音" }).waitFor();
  await picture(page, "sync-plot-light-zh");
  assert.deepEqual(complaints, []);
});

/**
 * @param {import("playwright-core").Page} page
 * @param {string} selector
 * @param {number} dx
 * @param {number} dy
 */
async function drag(page, selector, dx, dy) {
  const box = await page.locator(selector).boundingBox();
  assert.ok(box);
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  await page.mouse.move(x, y);
  await page.mouse.down();
  await page.mouse.move(x + dx, y + dy, { steps: 5 });
  await page.mouse.up();
}
