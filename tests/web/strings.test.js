import assert from "node:assert/strict";
import { test } from "node:test";

import { fill, strings } from "../../web/js/strings.js";

const gaps = (/** @type {string} */ text) => [...text.matchAll(/\{\w+\}/g)].map(([gap]) => gap).sort();

test("each language says everything, with the same gaps", () => {
  const english = strings("en");
  for (const language of ["zh", "ja"]) {
    const words = strings(language);
    assert.deepEqual(Object.keys(words), Object.keys(english));
    for (const key of /** @type {(keyof typeof english)[]} */ (Object.keys(english))) {
      assert.ok(words[key].trim(), key);
      assert.deepEqual(gaps(words[key]), gaps(english[key]), key);
    }
  }
});

test("a region's variant is its language, an unknown one English", () => {
  assert.equal(strings("ja-JP"), strings("ja"));
  assert.equal(strings("fr"), strings("en"));
});

test("gaps are filled, also with zero", () => {
  assert.equal(fill("{matched} of {events}", { matched: 0, events: 3 }), "0 of 3");
});
