import assert from "node:assert/strict";
import { test } from "node:test";

import {
  LEAST,
  between,
  boxOf,
  chosen,
  enlarged,
  faceAt,
  fitted,
  moved,
  resized,
  widgetsOf,
} from "../../web/js/face_boxes.js";

const LARGE = { left: 0.1, top: 0.1, right: 0.5, bottom: 0.6 };
const SMALL = { left: 0.4, top: 0.4, right: 0.48, bottom: 0.5 };
const FAR = { left: 0.8, top: 0.7, right: 0.9, bottom: 0.8 };
const FACES = [LARGE, FAR, SMALL];
const CHOICE = {
  pick: "largest",
  face_index: 1,
  pick_x: 0.44,
  pick_y: 0.45,
  box_left: 0.2,
  box_top: 0.3,
  box_right: 0.6,
  box_bottom: 0.7,
};

/** Numbers that look random and are the same every time. */
function* numbers(seed = 1) {
  for (let state = seed; ;) {
    state = (state * 48271) % 2147483647;
    yield state / 2147483647;
  }
}

const inside = (/** @type {import("../../web/js/face_boxes.js").Box} */ box) =>
  box.left >= -1e-12 && box.top >= -1e-12 && box.right <= 1 + 1e-12 && box.bottom <= 1 + 1e-12;

test("pixels become fractions of the picture", () => {
  assert.deepEqual(boxOf([64, 32, 128, 64], 640, 320), { left: 0.1, top: 0.1, right: 0.2, bottom: 0.2 });
});

test("each way to pick finds the face that Face Mask takes", () => {
  assert.equal(chosen(CHOICE, FACES, 1).face, 0);
  assert.equal(chosen({ ...CHOICE, pick: "index" }, FACES, 1).face, 1);
  assert.equal(chosen({ ...CHOICE, pick: "point" }, FACES, 1).face, 2);
  const drawn = chosen({ ...CHOICE, pick: "box" }, FACES, 1);
  assert.deepEqual(drawn, { box: { left: 0.2, top: 0.3, right: 0.6, bottom: 0.7 }, face: -1 });
});

test("a number that no face has chooses nothing", () => {
  assert.equal(chosen({ ...CHOICE, pick: "index", face_index: 7 }, FACES, 1).box, null);
  assert.equal(chosen(CHOICE, [], 1).box, null);
  assert.equal(chosen({ ...CHOICE, pick: "point" }, [], 1).box, null);
});

test("of nested faces a point means the smallest, and outside all of them the nearest", () => {
  assert.equal(faceAt(FACES, 0.45, 0.45, 1), 2);
  assert.equal(faceAt(FACES, 0.15, 0.15, 1), 0);
  assert.equal(faceAt(FACES, 1, 1, 1), 1);
});

test("nearness counts pixels: a wide picture is wide", () => {
  const [beside, below] = [
    { left: 0.6, top: 0.45, right: 0.7, bottom: 0.55 },
    { left: 0.45, top: 0.65, right: 0.55, bottom: 0.75 },
  ];
  assert.equal(faceAt([beside, below], 0.5, 0.5, 1), 0);
  assert.equal(faceAt([beside, below], 0.5, 0.5, 4), 1);
});

test("moving keeps the size and stays in the picture", () => {
  const random = numbers();
  for (let i = 0; i < 200; i++) {
    const box = moved(SMALL, 4 * Number(random.next().value) - 2, 4 * Number(random.next().value) - 2);
    assert.ok(inside(box));
    assert.ok(Math.abs(box.right - box.left - (SMALL.right - SMALL.left)) < 1e-9);
    assert.ok(Math.abs(box.bottom - box.top - (SMALL.bottom - SMALL.top)) < 1e-9);
  }
});

test("no corner can turn a box inside out or leave the picture", () => {
  const random = numbers(7);
  for (const x of /** @type {const} */ (["left", "right"])) {
    for (const y of /** @type {const} */ (["top", "bottom"])) {
      for (let i = 0; i < 50; i++) {
        const to = [3 * Number(random.next().value) - 1, 3 * Number(random.next().value) - 1];
        const box = resized(LARGE, { x, y }, to[0], to[1]);
        assert.ok(inside(box));
        assert.ok(box.right - box.left >= LEAST - 1e-9 && box.bottom - box.top >= LEAST - 1e-9);
      }
    }
  }
});

test("a box is drawn from any corner, and a slip of the hand draws none", () => {
  const drawn = between({ x: 0.6, y: 0.2 }, { x: 0.2, y: 1.4 });
  assert.deepEqual(drawn, { left: 0.2, top: 0.2, right: 0.6, bottom: 1 });
  assert.equal(between({ x: 0.5, y: 0.5 }, { x: 0.505, y: 0.9 }), null);
});

test("the mask grows about the middle and ends with the picture", () => {
  const { left, top, right, bottom } = enlarged(SMALL, 3);
  assert.ok(Math.abs(right - left - 0.24) < 1e-9 && Math.abs(bottom - top - 0.3) < 1e-9);
  assert.ok(Math.abs((left + right) / 2 - 0.44) < 1e-9);
  assert.ok(inside(enlarged(LARGE, 20)));
});

test("widgets get thousandths", () => {
  assert.deepEqual(widgetsOf({ left: 1 / 3, top: 0, right: 2 / 3, bottom: 1 }), {
    box_left: 0.333,
    box_top: 0,
    box_right: 0.667,
    box_bottom: 1,
  });
});

test("a picture of any shape fits its room and touches two sides", () => {
  for (const aspect of [0.25, 1, 4]) {
    const { left, top, width, height } = fitted(aspect, 400, 300);
    assert.ok(Math.abs(width / height - aspect) < 1e-9);
    assert.ok(width <= 400 + 1e-9 && height <= 300 + 1e-9);
    assert.ok(Math.abs(width - 400) < 1e-9 || Math.abs(height - 300) < 1e-9);
    assert.ok(Math.abs(left - (400 - width) / 2) < 1e-9 && Math.abs(top - (300 - height) / 2) < 1e-9);
  }
});
