/** Every node in the real page: it is drawn, it speaks the page's language, and its help opens. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { openSession, picture, place, skip } from "./page.js";
import { ROOT } from "./stub_host.js";

const COLUMNS = 6;
const [WIDTH, HEIGHT] = [520, 620]; // of the place of one node

/** @type {import("./page.js").Session} */
let session;

before(async () => {
  if (!skip) session = await openSession(tmpdir());
});
after(() => session?.close());

/**
 * @param {string} language
 * @returns {Record<string, any>}
 */
function texts(language) {
  return JSON.parse(readFileSync(join(ROOT, "locales", language, "nodeDefs.json"), "utf8"));
}

const IDS = Object.keys(texts("en"));

/** All nodes in rows. */
function rows() {
  return IDS.map((id, i) => {
    /** @type {[number, number]} */
    const pos = [(i % COLUMNS) * WIDTH, Math.floor(i / COLUMNS) * HEIGHT];
    return { id, pos };
  });
}

/** @param {import("playwright-core").Page} page */
function drawn(page) {
  return page.evaluate(() =>
    /** @type {any} */ (window).app.graph.nodes.map((/** @type {any} */ node) => ({
      id: node.type,
      title: node.title,
      inputs: node.inputs.map((/** @type {any} */ input) => [
        input.name,
        input.label ?? input.localized_name,
      ]),
      outputs: node.outputs.map(
        (/** @type {any} */ output) => output.label ?? output.localized_name ?? output.name,
      ),
      widgets: node.widgets?.map((/** @type {any} */ widget) => [widget.name, widget.label]) ?? [],
    })),
  );
}

for (const [name, isVue, language] of [
  ["classic", false, "ja"],
  ["vue", true, "zh"],
]) {
  test(`${name}, ${language}: every node is drawn, with its texts`, { skip }, async () => {
    const { page, complaints } = await session.open({
      "Comfy.VueNodes.Enabled": isVue,
      "Comfy.Locale": language,
    });
    await place(page, rows());
    const nodes = await drawn(page);
    assert.deepEqual(
      nodes.map((/** @type {{id: string}} */ { id }) => id),
      IDS,
    );

    const expected = texts(String(language));
    for (const { id, title, inputs, outputs, widgets } of nodes) {
      const text = expected[id];
      assert.equal(title, text.display_name);
      assert.deepEqual(
        outputs,
        Object.values(text.outputs).map((output) => output.name),
        id,
      );
      for (const [key, label] of [...inputs, ...widgets]) {
        if (text.inputs[key]) assert.equal(label ?? key, text.inputs[key].name, `${id}.${key}`);
      }
    }
    assert.deepEqual(complaints, []);
    await page.close();
  });
}

test("the help page of a node opens beside the graph", { skip }, async () => {
  const { page, complaints } = await session.open({ "Comfy.VueNodes.Enabled": true });
  await place(page, [{ id: "HunyuanAVFoleySampler", pos: [560, 160] }]);
  await page.locator("[data-testid=node-title], .lg-node-header").first().click();
  await page.locator("[data-testid=info-button]").click();
  await page.locator("h2", { hasText: "Inputs" }).first().waitFor();
  await picture(page, "help");
  assert.deepEqual(complaints, []);
  await page.close();
});
