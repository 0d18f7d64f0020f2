import assert from "node:assert/strict";
import { test } from "node:test";

import { isDark } from "../../web/js/theme.js";

test("ground colours of ComfyUI's palettes are told apart", () => {
  const [dark, light] = [
    ["#222", "#353535", "#00181c", "rgb(38, 39, 41)", "#222222ff"],
    ["#fff", "#C9C9C9", "rgba(230, 230, 230, 0.9)"],
  ];
  assert.deepEqual(
    dark.filter((colour) => !isDark(colour)),
    [],
  );
  assert.deepEqual(light.filter(isDark), []);
});

test("what cannot be read counts as dark", () => {
  for (const odd of ["", "transparent", "color-mix(in srgb, red, blue)"]) assert.ok(isDark(odd));
});
