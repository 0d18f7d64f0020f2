import assert from "node:assert/strict";
import { test } from "node:test";

import { Timeline, clock, perColumn, signed, withRoom } from "../../web/js/timeline.js";

test("a place on the line and its time are each other's inverse", () => {
  const line = new Timeline(8, 10, 400);
  for (const time of [0, 0.04, 3.3, 8]) assert.ok(Math.abs(line.time(line.x(time)) - time) < 1e-9);
});

test("a pointer beyond the ends means the ends", () => {
  const line = new Timeline(8, 10, 400);
  assert.equal(line.time(-50), 0);
  assert.equal(line.time(9000), 8);
});

test("ticks are round, within the clip and far enough apart", () => {
  for (const [seconds, width] of [
    [0.3, 300],
    [8, 480],
    [61, 480],
    [600, 200],
    [7200, 300],
  ]) {
    const line = new Timeline(seconds, 0, width);
    const ticks = line.ticks(64);
    assert.equal(ticks[0], 0);
    assert.ok(ticks.every((time) => time <= seconds + 1e-6));
    assert.ok(ticks.length < 2 || line.x(ticks[1]) >= 64 - 1e-6);
    assert.ok(ticks.length >= 2, `${seconds} s on ${width} px has only one tick`);
  }
});

test("a line without width is still a line", () => {
  assert.equal(new Timeline(1, 0, 0).width, 1);
});

test("a column keeps the strongest of what falls into it", () => {
  const values = Array(1000).fill(0);
  values[517] = 1;
  assert.equal(Math.max(...perColumn(values, 90)), 1);
  assert.equal(perColumn([3, 1, 2], 1, Math.min)[0], 1);
});

test("more columns than values repeat the values", () => {
  assert.deepEqual(perColumn([1, 2], 4), [1, 1, 2, 2]);
});

test("labels that would touch are left out, in their order from the left", () => {
  const labels = [
    { x: 100, width: 40 },
    { x: 20, width: 40 },
    { x: 60, width: 40 },
    { x: 141, width: 40 },
  ];
  assert.deepEqual(
    withRoom(labels, 4).map((label) => label.x),
    [20, 100],
  );
  assert.deepEqual(
    withRoom(labels, 0).map((label) => label.x),
    [20, 60, 100, 141],
  );
});

test("times are written with minutes only where there are any, and never with 60 seconds", () => {
  assert.equal(clock(3.5), "3.50");
  assert.equal(clock(75.25), "1:15.25");
  assert.equal(clock(65, 0), "1:05");
  assert.equal(clock(59.999), "1:00.00");
});

test("an offset has its sign, and none at zero", () => {
  assert.equal(signed(12.4), "+12 ms");
  assert.equal(signed(-3), "−3 ms");
  assert.equal(signed(-0.2), "0 ms");
});
